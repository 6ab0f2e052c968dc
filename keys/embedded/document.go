package embedded

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// versionSize is the length of a document's version before its value.
const versionSize = 8

// Document returns a document and its version.
func (c *Custodian) Document(ctx context.Context, name string) (value []byte, v keys.Version, err error) {
	err = c.view(ctx, func(t tx) error {
		if value, v, err = t.document(name); err == nil && v == 0 {
			err = domain.ErrNotFound
		}
		return err
	})
	return value, v, err
}

// PutDocument writes from exactly the version read.
func (c *Custodian) PutDocument(ctx context.Context, name string, from keys.Version, value []byte) (v keys.Version, err error) {
	err = c.update(ctx, func(t tx) error {
		_, stands, err := t.document(name)
		if err != nil {
			return err
		}
		if stands != from {
			return domain.ErrConflict
		}
		if v, err = t.nextVersion(); err != nil {
			return err
		}
		record := binary.BigEndian.AppendUint64(make([]byte, 0, versionSize+len(value)), uint64(v))
		record = append(record, value...)
		defer clear(record)
		return t.put(keyOf(prefixDocument, []byte(name)), record)
	})
	if err != nil {
		return 0, err
	}
	return v, nil
}

// RemoveDocument destroys from exactly the version read.
func (c *Custodian) RemoveDocument(ctx context.Context, name string, from keys.Version) error {
	return c.update(ctx, func(t tx) error {
		_, stands, err := t.document(name)
		if err != nil || stands == 0 {
			return err
		}
		if stands != from {
			return domain.ErrConflict
		}
		return t.remove(keyOf(prefixDocument, []byte(name)))
	})
}

// EachDocument calls each for every document whose name begins with prefix.
func (c *Custodian) EachDocument(ctx context.Context, prefix string, each func(string, []byte) bool) error {
	return c.view(ctx, func(t tx) error {
		return t.scan(keyOf(prefixDocument, []byte(prefix)), func(rest, value []byte) (bool, error) {
			if len(value) < versionSize {
				return false, errRecord
			}
			return each(prefix+string(rest), bytes.Clone(value[versionSize:])), nil
		})
	})
}

// document returns version 0 for what is not there.
func (t tx) document(name string) ([]byte, keys.Version, error) {
	raw, ok, err := t.get(keyOf(prefixDocument, []byte(name)))
	if err != nil || !ok {
		return nil, 0, err
	}
	if len(raw) < versionSize {
		return nil, 0, errRecord
	}
	return raw[versionSize:], keys.Version(binary.BigEndian.Uint64(raw)), nil
}

// nextVersion gives each write of any document a version of its own, so that a
// document that was removed and made again never has one it had before.
func (t tx) nextVersion() (keys.Version, error) {
	raw, ok, err := t.get([]byte{prefixVersion})
	if err != nil {
		return 0, err
	}
	if ok && len(raw) != versionSize {
		return 0, errRecord
	}
	next := uint64(1)
	if ok {
		next = binary.BigEndian.Uint64(raw) + 1
	}
	return keys.Version(next), t.put([]byte{prefixVersion}, binary.BigEndian.AppendUint64(nil, next))
}
