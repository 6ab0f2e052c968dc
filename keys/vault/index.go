package vault

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The index names what there is of blocks, documents and retention pages, so that
// going over them needs no right to list. Keys of its tables begin with a letter:
const (
	indexBlock     = "b" // ‖ block id[16]           time issued
	indexDocument  = "o" // ‖ name                   document id[16] ‖ epoch u64
	indexRetention = "r" // ‖ class/tier/page        pageBegun or pageWritten
)

func indexPath(n uint32) string { return fmt.Sprintf("records/%04x", n) }

func (c *Custodian) index(key string) string {
	sum := sha256.Sum256([]byte(key))
	return indexPath(shardOf(sum[:], c.layout.Records))
}

// indexed reads what the index says of a key; nil where it has none.
func (c *Custodian) indexed(ctx context.Context, key string) ([]byte, error) {
	s, err := c.tables.must(ctx, c.index(key))
	if err != nil {
		return nil, inner(err)
	}
	return s.table[key], nil
}

// enlist puts a key into the index, unless it is there; may is asked before each
// try.
func (c *Custodian) enlist(ctx context.Context, key string, value []byte, may func() error) error {
	_, err := c.tables.update(ctx, c.index(key), c.tables.must, func(t table, _ uint64) (bool, error) {
		if _, ok := t[key]; ok {
			return false, nil
		}
		t[key] = value
		return true, may()
	})
	return err
}

// strike takes a key out of the index if its value begins as given.
func (c *Custodian) strike(ctx context.Context, key string, value []byte) error {
	return c.tables.remove(ctx, c.index(key), c.tables.must, func(t table, _ uint64) (bool, error) {
		if have, ok := t[key]; !ok || !strings.HasPrefix(string(have), string(value)) {
			return false, nil
		}
		delete(t, key)
		return true, nil
	})
}

// eachIndexed calls each for every key that begins with prefix, sorted.
func (c *Custodian) eachIndexed(ctx context.Context, prefix string, each func(rest string, value []byte) (more bool, err error)) error {
	paths := make([]string, c.layout.Records)
	for i := range paths {
		paths[i] = indexPath(uint32(i)) //nolint:gosec // below a uint32
	}
	all := table{}
	err := c.eachTable(ctx, paths, func(t table) (bool, error) {
		for key, value := range t {
			if strings.HasPrefix(key, prefix) {
				all[key] = value
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if more, err := each(key[len(prefix):], all[key]); err != nil || !more {
			return err
		}
	}
	return nil
}
