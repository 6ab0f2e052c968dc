package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// A retention record: version ‖ due ‖ journal u64 ‖ the key, or nothing where it
// was destroyed.
func encodeRetention(rec keys.RetentionRecord, key seal.Secret) []byte {
	out := appendTime(append(make([]byte, 0, 64), recordVersion), rec.Due)
	out = binary.BigEndian.AppendUint64(out, rec.Journal)
	if rec.Destroyed {
		return out
	}
	return append(out, key[:]...)
}

func decodeRetention(k domain.RetentionKey, raw []byte) (rec keys.RetentionRecord, key seal.Secret, err error) {
	r := reader{rest: raw}
	version := r.byte()
	rec = keys.RetentionRecord{RetentionKey: k, Due: r.time(), Journal: r.u64()}
	rec.Destroyed = len(r.rest) == 0
	if !rec.Destroyed {
		copy(key[:], r.take(len(key)))
	}
	if r.failed || len(r.rest) > 0 || version != recordVersion {
		return keys.RetentionRecord{}, seal.Secret{}, errRecord
	}
	return rec, key, nil
}

var errRetentionKey = errors.New("class, tier and bucket must not hold a zero byte")

// retentionKey orders records by class, tier and bucket.
func retentionKey(k domain.RetentionKey) ([]byte, error) {
	out := []byte{prefixRetention}
	out = append(append(out, k.Class...), 0)
	out = append(append(out, k.Tier...), 0)
	out = append(out, k.Bucket...)
	if bytes.Count(out, []byte{0}) != 2 {
		return nil, errRetentionKey
	}
	return out, nil
}

func parseRetentionKey(key []byte) (domain.RetentionKey, error) {
	parts := bytes.Split(key, []byte{0})
	if len(parts) != 3 {
		return domain.RetentionKey{}, errRecord
	}
	return domain.RetentionKey{Class: domain.Class(parts[0]), Tier: domain.Tier(parts[1]), Bucket: domain.Bucket(parts[2])}, nil
}

// Retention returns a record and, while it lives, its key.
func (c *Custodian) Retention(ctx context.Context, k domain.RetentionKey) (rec keys.RetentionRecord, key seal.Secret, err error) {
	err = c.view(ctx, func(t tx) error {
		var ok bool
		if rec, key, ok, err = t.retention(k); err == nil && !ok {
			err = domain.ErrNotFound
		}
		return err
	})
	return rec, key, err
}

// IssueRetention makes the key if there is no record.
func (c *Custodian) IssueRetention(ctx context.Context, k domain.RetentionKey, due time.Time) (rec keys.RetentionRecord, key seal.Secret, err error) {
	err = c.update(ctx, func(t tx) error {
		var ok bool
		if rec, key, ok, err = t.retention(k); err != nil || ok {
			return err
		}
		rec = keys.RetentionRecord{RetentionKey: k, Due: due.UTC()}
		_, _ = rand.Read(key[:]) // never fails, see crypto/rand
		return t.putRetention(rec, key)
	})
	if err != nil {
		key.Zero()
		return keys.RetentionRecord{}, key, err
	}
	return rec, key, nil
}

// SetDue brings a due date forward.
func (c *Custodian) SetDue(ctx context.Context, k domain.RetentionKey, due time.Time) error {
	return c.update(ctx, func(t tx) error {
		rec, key, ok, err := t.retention(k)
		defer key.Zero()
		if err != nil {
			return err
		}
		if !ok {
			return domain.ErrNotFound
		}
		if rec.Destroyed || !due.Before(rec.Due) {
			return nil
		}
		rec.Due = due.UTC()
		return t.putRetention(rec, key)
	})
}

// DestroyRetention destroys keys in one commit.
func (c *Custodian) DestroyRetention(ctx context.Context, ks []domain.RetentionKey, journal uint64) error {
	return c.update(ctx, func(t tx) error {
		for _, k := range ks {
			rec, key, ok, err := t.retention(k)
			key.Zero()
			if err != nil {
				return err
			}
			if ok && rec.Destroyed {
				continue
			}
			rec.RetentionKey, rec.Destroyed, rec.Journal = k, true, journal
			if err := t.putRetention(rec, seal.Secret{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// EachRetention calls each for every record in order.
func (c *Custodian) EachRetention(ctx context.Context, each func(keys.RetentionRecord) bool) error {
	return c.view(ctx, func(t tx) error {
		return t.scan([]byte{prefixRetention}, func(key, value []byte) (bool, error) {
			k, err := parseRetentionKey(key)
			if err != nil {
				return false, err
			}
			rec, secret, err := decodeRetention(k, value)
			secret.Zero()
			return err == nil && each(rec), err
		})
	})
}

func (t tx) retention(k domain.RetentionKey) (keys.RetentionRecord, seal.Secret, bool, error) {
	name, err := retentionKey(k)
	if err != nil {
		return keys.RetentionRecord{}, seal.Secret{}, false, err
	}
	raw, ok, err := t.get(name)
	if err != nil || !ok {
		return keys.RetentionRecord{}, seal.Secret{}, false, err
	}
	defer clear(raw)
	rec, key, err := decodeRetention(k, raw)
	return rec, key, err == nil, err
}

func (t tx) putRetention(rec keys.RetentionRecord, key seal.Secret) error {
	name, err := retentionKey(rec.RetentionKey)
	if err != nil {
		return err
	}
	raw := encodeRetention(rec, key)
	defer clear(raw)
	return t.put(name, raw)
}
