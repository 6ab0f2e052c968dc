package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// A documentID names where a document stands: random, and used once, while its
// name may be used again.
type documentID = domain.ID[documentKind]

type documentKind struct{}

// A listing is what the index says of a document's name. The epoch is the version
// that the index had when the name was put there: versions of the document itself
// begin anew under every id.
type listing struct {
	id    documentID
	epoch uint64
}

func (l listing) encode() []byte { return binary.BigEndian.AppendUint64(l.id[:], l.epoch) }

func decodeListing(raw []byte) (l listing, err error) {
	r := reader{rest: raw}
	copy(l.id[:], r.take(len(l.id)))
	l.epoch = r.u64()
	if r.failed || len(r.rest) > 0 {
		return l, errRecord
	}
	return l, nil
}

// version joins the epoch with the version that Vault gave, so that none is
// given twice.
func (l listing) version(stored uint64) (keys.Version, error) {
	if l.epoch > math.MaxUint32 || stored > math.MaxUint32 {
		return 0, fmt.Errorf("a document was written too often: %w", ErrFull)
	}
	return keys.Version(l.epoch<<32 | stored), nil
}

func (c *Custodian) listing(ctx context.Context, name string) (l listing, there bool, err error) {
	raw, err := c.indexed(ctx, indexDocument+name)
	if err != nil || raw == nil {
		return l, false, err
	}
	l, err = decodeListing(raw)
	return l, err == nil, err
}

// Document returns a document and its version: three calls.
func (c *Custodian) Document(ctx context.Context, name string) ([]byte, keys.Version, error) {
	o, v, err := c.document(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	defer o.zero()
	return bytes.Clone(o.entries), v, nil
}

// document finds and opens. Where the document went meanwhile it looks again.
func (c *Custodian) document(ctx context.Context, name string) (*opened, keys.Version, error) {
	var before documentID
	for {
		l, there, err := c.listing(ctx, name)
		if err != nil {
			return nil, 0, err
		}
		if !there {
			return nil, 0, domain.ErrNotFound
		}
		o, err := c.openListed(ctx, l)
		switch {
		case errors.Is(err, errAbsent) && l.id != before:
			before = l.id
		case err != nil:
			return nil, 0, inner(err)
		case o == nil:
			return nil, 0, domain.ErrNotFound
		default:
			v, err := l.version(o.version)
			return o, v, err
		}
	}
}

// openListed opens a document; nil where it is being removed. Errors: errAbsent.
func (c *Custodian) openListed(ctx context.Context, l listing) (*opened, error) {
	p := documentPlace(l.id)
	d, version, err := c.vessels.read(ctx, p)
	if err != nil || d.Closed {
		return nil, err
	}
	entries, key, err := c.vessels.open(ctx, p, d.box)
	if errors.Is(err, errNoKey) {
		return nil, errAbsent // its id is used once, so it is on its way out
	}
	if err != nil {
		return nil, err
	}
	return &opened{vessel: d, at: p, version: version, entries: entries, key: key}, nil
}

// PutDocument writes from exactly the version read.
func (c *Custodian) PutDocument(ctx context.Context, name string, from keys.Version, value []byte) (keys.Version, error) {
	release, err := c.changing.take(ctx, indexDocument+name)
	if err != nil {
		return 0, err
	}
	defer release()
	l, there, err := c.listing(ctx, name)
	switch {
	case err != nil:
		return 0, err
	case there:
		return c.putListed(ctx, name, l, from, value)
	case from != 0:
		return 0, domain.ErrConflict
	}
	return c.putNew(ctx, name, value)
}

func (c *Custodian) putListed(ctx context.Context, name string, l listing, from keys.Version, value []byte) (keys.Version, error) {
	o, err := c.openListed(ctx, l)
	switch {
	case err == nil && o == nil, errors.Is(err, errAbsent):
		return c.putBehind(ctx, name, l, from, value)
	case err != nil:
		return 0, inner(err)
	}
	defer o.zero()
	stands, err := l.version(o.version)
	if err != nil {
		return 0, err
	}
	if stands != from {
		return 0, domain.ErrConflict
	}
	err = c.vessels.rewrite(ctx, o, o.State, value)
	if errors.Is(err, errConflict) {
		return 0, domain.ErrConflict
	}
	if err != nil {
		return 0, inner(err)
	}
	return l.version(o.version)
}

// putBehind writes where a removal was begun and not ended.
func (c *Custodian) putBehind(ctx context.Context, name string, l listing, from keys.Version, value []byte) (keys.Version, error) {
	if from != 0 {
		return 0, domain.ErrConflict
	}
	if err := c.endRemoval(ctx, name, l); err != nil {
		return 0, err
	}
	return c.putNew(ctx, name, value)
}

// putNew writes the document and then its name: the commit point.
func (c *Custodian) putNew(ctx context.Context, name string, value []byte) (keys.Version, error) {
	l := listing{id: domain.New[documentID]()}
	p := documentPlace(l.id)
	wrapping := c.newKeyName(p)
	stored, err := c.vessels.create(ctx, p, wrapping, []byte(name), value)
	if err != nil {
		return 0, inner(err)
	}
	key := indexDocument + name
	_, err = c.tables.update(ctx, c.index(key), c.tables.must, func(t table, next uint64) (bool, error) {
		if _, ok := t[key]; ok {
			return false, domain.ErrConflict
		}
		l.epoch = next
		t[key] = l.encode()
		return true, c.vessels.timely(wrapping)
	})
	if err != nil {
		return 0, err
	}
	return l.version(stored)
}

// RemoveDocument destroys from exactly the version read.
func (c *Custodian) RemoveDocument(ctx context.Context, name string, from keys.Version) error {
	if err := c.mayDestroy(); err != nil {
		return err
	}
	release, err := c.changing.take(ctx, indexDocument+name)
	if err != nil {
		return err
	}
	defer release()
	l, there, err := c.listing(ctx, name)
	if err != nil || !there {
		return err
	}
	p := documentPlace(l.id)
	d, stored, err := c.vessels.read(ctx, p)
	if errors.Is(err, errAbsent) || d.Closed {
		return c.endRemoval(ctx, name, l)
	}
	if err != nil {
		return inner(err)
	}
	if v, err := l.version(stored); err != nil || v != from {
		return errors.Join(err, domain.ErrConflict)
	}
	closed := vessel{Version: vesselVersion, Doomed: append(d.Doomed, d.Key), Closed: true}
	_, err = c.vessels.write(ctx, p.path, stored, closed)
	if errors.Is(err, errConflict) {
		return domain.ErrConflict
	}
	if err != nil {
		return inner(err)
	}
	return c.endRemoval(ctx, name, l)
}

// endRemoval destroys the key of a closed document, takes its name away, by which
// the next call would go on, and forgets it.
func (c *Custodian) endRemoval(ctx context.Context, name string, l listing) error {
	p := documentPlace(l.id)
	d, _, err := c.vessels.read(ctx, p)
	if err != nil && !errors.Is(err, errAbsent) {
		return inner(err)
	}
	if err == nil && !d.Closed {
		return fmt.Errorf("a document that was to be removed is not closed: %w", ErrDamaged)
	}
	if err := c.transit.destroy(ctx, d.Doomed...); err != nil {
		return err
	}
	if err := c.strike(ctx, indexDocument+name, l.id[:]); err != nil {
		return err
	}
	return inner(c.vessels.forget(ctx, p.path))
}

// EachDocument calls each for every document whose name begins with prefix.
func (c *Custodian) EachDocument(ctx context.Context, prefix string, each func(string, []byte) bool) error {
	return c.eachIndexed(ctx, indexDocument+prefix, func(rest string, _ []byte) (bool, error) {
		value, _, err := c.Document(ctx, prefix+rest)
		if isAbsent(err) {
			return true, nil // removed meanwhile
		}
		return err == nil && each(prefix+rest, value), err
	})
}
