package embedded

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// timeSize is the length of a time in a record.
const timeSize = 12

// AddBlock adds a block. Its id is random and new; the same one again is a retry
// and changes nothing.
func (c *Custodian) AddBlock(ctx context.Context, id domain.BlockID, issued time.Time, b *seal.Block) error {
	record := encodeBlock(issued, b)
	defer clear(record)
	return c.update(ctx, func(t tx) error {
		_, ok, err := t.get(keyOf(prefixBlock, id[:]))
		if err != nil || ok {
			return err
		}
		return t.put(keyOf(prefixBlock, id[:]), record)
	})
}

// Block returns a block.
func (c *Custodian) Block(ctx context.Context, id domain.BlockID) (b *seal.Block, err error) {
	err = c.view(ctx, func(t tx) error {
		var raw []byte
		if b, raw, err = t.block(id); err == nil {
			clear(raw)
		}
		return err
	})
	return b, err
}

// ChangeBlock edits a block in one commit.
func (c *Custodian) ChangeBlock(ctx context.Context, id domain.BlockID, change func(*seal.Block) error) error {
	return c.update(ctx, func(t tx) error {
		b, raw, err := t.block(id)
		if err != nil {
			return err
		}
		defer clear(raw)
		defer b.Zero()
		if err := change(b); err != nil {
			return err
		}
		r := reader{rest: raw[1:]}
		record := encodeBlock(r.time(), b)
		defer clear(record)
		if bytes.Equal(record, raw) {
			return nil
		}
		return t.put(keyOf(prefixBlock, id[:]), record)
	})
}

// RemoveBlock destroys a block.
func (c *Custodian) RemoveBlock(ctx context.Context, id domain.BlockID) error {
	return c.update(ctx, func(t tx) error { return t.remove(keyOf(prefixBlock, id[:])) })
}

// EachBlock calls each for every block.
func (c *Custodian) EachBlock(ctx context.Context, each func(domain.BlockID, time.Time) bool) error {
	return c.view(ctx, func(t tx) error {
		return t.scan([]byte{prefixBlock}, func(key, value []byte) (bool, error) {
			if len(key) != len(domain.BlockID{}) || len(value) < 1+timeSize || value[0] != recordVersion {
				return false, errRecord
			}
			r := reader{rest: value[1:]}
			return each(domain.BlockID(key), r.time()), nil
		})
	})
}

func encodeBlock(issued time.Time, b *seal.Block) []byte {
	entries := b.Encode()
	defer clear(entries)
	out := appendTime(append(make([]byte, 0, 1+timeSize+len(entries)), recordVersion), issued)
	return append(out, entries...)
}

// block returns a block and its record.
func (t tx) block(id domain.BlockID) (*seal.Block, []byte, error) {
	raw, ok, err := t.get(keyOf(prefixBlock, id[:]))
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, domain.ErrNotFound
	}
	if len(raw) < 1+timeSize || raw[0] != recordVersion {
		return nil, nil, errRecord
	}
	b, err := seal.DecodeBlock(raw[1+timeSize:])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return b, raw, nil
}
