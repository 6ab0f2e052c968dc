package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// Retention returns a record and, while it lives, its key: two calls, or none
// where this process read it a moment before.
func (c *Custodian) Retention(ctx context.Context, k domain.RetentionKey) (keys.RetentionRecord, seal.Secret, error) {
	p, err := pageFor(k)
	if err != nil {
		return keys.RetentionRecord{}, seal.Secret{}, err
	}
	release, err := c.recent.turns.take(ctx, k.String())
	if err != nil {
		return keys.RetentionRecord{}, seal.Secret{}, err
	}
	defer release()
	if rec, key, ok := c.recent.get(k); ok && !c.client.closed.Load() {
		return rec, key, nil
	}
	for before := keyName(""); ; {
		rec, key, name, err := c.readRetained(ctx, p, k)
		if !errors.Is(err, errNoKey) || name == before {
			return rec, key, inner(err)
		}
		before = name // destroyed between the page and the key: look again
	}
}

func (c *Custodian) readRetained(ctx context.Context, p page, k domain.RetentionKey) (rec keys.RetentionRecord, key seal.Secret, name keyName, err error) {
	age := c.recent.age()
	s, err := c.pageOrEmpty(p)(ctx, p.path())
	if err != nil {
		return rec, key, "", err
	}
	raw, ok := s.table[string(k.Bucket)]
	if !ok {
		return rec, key, "", c.found(ctx, errAbsent)
	}
	r, err := decodeRetained(k, raw)
	if err != nil {
		return rec, key, "", err
	}
	rec, key, err = c.openRetained(ctx, r, age)
	return rec, key, r.Key, err
}

// openRetained reads R out of a record and remembers it. Errors: errNoKey.
func (c *Custodian) openRetained(ctx context.Context, r retained, age uint64) (rec keys.RetentionRecord, key seal.Secret, err error) {
	if r.Destroyed {
		return r.RetentionRecord, key, nil
	}
	entries, wrapping, err := c.vessels.open(ctx, retentionPlace(r.RetentionKey), r.box)
	if err != nil {
		return rec, key, err
	}
	wrapping.plain.Zero()
	defer clear(entries)
	if copy(key[:], entries) != len(entries) || len(entries) != len(key) {
		return rec, key, errRecord
	}
	c.recent.put(r.RetentionRecord, key, age)
	return r.RetentionRecord, key, nil
}

// IssueRetention makes the key if there is no record. The bucket's place in the
// index comes first, its Transit key second, the record last. Where this process
// knows the page that is three calls: what is not there is proved by the write.
func (c *Custodian) IssueRetention(ctx context.Context, k domain.RetentionKey, due time.Time) (keys.RetentionRecord, seal.Secret, error) {
	p, err := pageFor(k)
	if err != nil {
		return keys.RetentionRecord{}, seal.Secret{}, err
	}
	var stands, fresh retained
	age := c.recent.age()
	err = c.updatePage(ctx, p, func(t table, _ uint64) (bool, error) {
		if raw, ok := t[string(k.Bucket)]; ok {
			stands, err = decodeRetained(k, raw)
			return false, err
		}
		if fresh.Key == "" {
			if fresh, err = c.newRetained(ctx, k, due); err != nil {
				return false, err
			}
		}
		stands = fresh
		t[string(k.Bucket)] = fresh.encode()
		return true, c.vessels.timely(fresh.Key)
	})
	if err != nil {
		return keys.RetentionRecord{}, seal.Secret{}, err
	}
	rec, key, err := c.openRetained(ctx, stands, age)
	if errors.Is(err, errNoKey) {
		return c.Retention(ctx, k) // destroyed meanwhile
	}
	return rec, key, inner(err)
}

// newRetained makes R under a Transit key of its own.
func (c *Custodian) newRetained(ctx context.Context, k domain.RetentionKey, due time.Time) (r retained, err error) {
	p := retentionPlace(k)
	wrapping, err := c.transit.issue(ctx, newKeyName(c.ledger, p.kind, []byte(k.String()), c.clock()))
	if err != nil {
		return r, inner(err)
	}
	defer wrapping.plain.Zero()
	secret := newSecret()
	defer secret.Zero()
	r.RetentionRecord = keys.RetentionRecord{RetentionKey: k, Due: due.UTC()}
	r.box, err = c.vessels.seal(p, wrapping, secret[:])
	return r, err
}

// SetDue brings a due date forward.
func (c *Custodian) SetDue(ctx context.Context, k domain.RetentionKey, due time.Time) error {
	p, err := pageFor(k)
	if err != nil {
		return err
	}
	defer c.recent.drop(k)
	_, err = c.tables.update(ctx, p.path(), c.pageOrEmpty(p), func(t table, _ uint64) (bool, error) {
		raw, ok := t[string(k.Bucket)]
		if !ok {
			return false, domain.ErrNotFound
		}
		r, err := decodeRetained(k, raw)
		if err != nil || r.Destroyed || !due.Before(r.Due) {
			return false, err
		}
		r.Due = due.UTC()
		t[string(k.Bucket)] = r.encode()
		return true, nil
	})
	if isAbsent(err) {
		return c.found(ctx, errAbsent)
	}
	return err
}

// DestroyRetention destroys keys, page by page: the records are marked in one
// write, then the Transit keys die, then their names go.
func (c *Custodian) DestroyRetention(ctx context.Context, ks []domain.RetentionKey, journal uint64) error {
	if err := c.mayDestroy(); err != nil {
		return err
	}
	byPage := map[page][]domain.RetentionKey{}
	for _, k := range ks {
		p, err := pageFor(k)
		if err != nil {
			return err
		}
		byPage[p] = append(byPage[p], k)
	}
	for p, ks := range byPage {
		if err := c.destroyPage(ctx, p, ks, journal); err != nil {
			return fmt.Errorf("destroying retention keys: %w", err)
		}
	}
	return nil
}

func (c *Custodian) destroyPage(ctx context.Context, p page, ks []domain.RetentionKey, journal uint64) error {
	defer c.recent.drop(ks...)
	var doomed []keyName
	err := c.updatePage(ctx, p, func(t table, _ uint64) (changed bool, err error) {
		doomed = nil
		for _, k := range ks {
			name, marked, err := mark(t, k, journal)
			if err != nil {
				return false, err
			}
			if name != "" {
				doomed = append(doomed, name)
			}
			changed = changed || marked
		}
		return changed, nil
	})
	if err != nil || len(doomed) == 0 {
		return err
	}
	c.recent.drop(ks...)
	if err := c.transit.destroy(ctx, doomed...); err != nil {
		return err
	}
	_, err = c.tables.update(ctx, p.path(), c.pageOrEmpty(p), func(t table, _ uint64) (bool, error) {
		return unname(t, ks)
	})
	return err
}

// mark marks one record as destroyed and returns the Transit key that is to die.
func mark(t table, k domain.RetentionKey, journal uint64) (name keyName, changed bool, err error) {
	r := retained{RetentionRecord: keys.RetentionRecord{RetentionKey: k}}
	if raw, ok := t[string(k.Bucket)]; ok {
		if r, err = decodeRetained(k, raw); err != nil || r.Destroyed {
			return r.Key, false, err
		}
	}
	r.Destroyed, r.Journal = true, journal
	t[string(k.Bucket)] = r.encode()
	return r.Key, true, nil
}

// unname takes the names of Transit keys that are gone out of their records.
func unname(t table, ks []domain.RetentionKey) (changed bool, err error) {
	for _, k := range ks {
		r, err := decodeRetained(k, t[string(k.Bucket)])
		if err != nil {
			return false, err
		}
		if r.Key != "" {
			r.Key, changed = "", true
			t[string(k.Bucket)] = r.encode()
		}
	}
	return changed, nil
}

// EachRetention calls each for every record in order.
func (c *Custodian) EachRetention(ctx context.Context, each func(keys.RetentionRecord) bool) error {
	var pages []page
	err := c.eachIndexed(ctx, indexRetention, func(name string, _ []byte) (bool, error) {
		p, err := parsePage(name)
		pages = append(pages, p)
		return true, err
	})
	if err != nil {
		return err
	}
	tables := make([]snapshot, len(pages))
	for i := 0; i < len(pages); i += readers {
		err := together(min(readers, len(pages)-i), func(n int) (err error) {
			tables[i+n], err = c.pageOrEmpty(pages[i+n])(ctx, pages[i+n].path())
			return err
		})
		if err != nil {
			return inner(err)
		}
	}
	return eachRecord(pages, tables, each)
}

func eachRecord(pages []page, tables []snapshot, each func(keys.RetentionRecord) bool) error {
	var all []keys.RetentionRecord
	for i, p := range pages {
		for bucket, raw := range tables[i].table {
			r, err := decodeRetained(domain.RetentionKey{Class: p.class, Tier: p.tier, Bucket: domain.Bucket(bucket)}, raw)
			if err != nil {
				return err
			}
			all = append(all, r.RetentionRecord)
		}
	}
	slices.SortFunc(all, func(a, b keys.RetentionRecord) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Bucket, b.Bucket))
	})
	for _, rec := range all {
		if !each(rec) {
			return nil
		}
	}
	return nil
}
