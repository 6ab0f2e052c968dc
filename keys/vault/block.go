package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

func blockKey(id domain.BlockID) string { return indexBlock + string(id[:]) }

// AddBlock adds a block. Its id is random and new; the same one again is a retry
// and changes nothing.
func (c *Custodian) AddBlock(ctx context.Context, id domain.BlockID, issued time.Time, b *seal.Block) error {
	entries := b.Encode()
	defer clear(entries)
	p := blockPlace(id)
	name := c.newKeyName(p)
	_, err := c.vessels.create(ctx, p, name, appendTime(nil, issued), entries)
	if errors.Is(err, errConflict) {
		return c.addedBefore(ctx, id)
	}
	if err != nil {
		return inner(err)
	}
	return c.enlist(ctx, blockKey(id), appendTime(nil, issued), func() error { return c.vessels.timely(name) })
}

// addedBefore finishes what an earlier call of AddBlock began.
func (c *Custodian) addedBefore(ctx context.Context, id domain.BlockID) error {
	d, _, err := c.vessels.read(ctx, blockPlace(id))
	if err != nil {
		return inner(err)
	}
	if d.Closed {
		return nil // it is being removed
	}
	return c.enlist(ctx, blockKey(id), d.State, func() error { return c.vessels.timely(d.Key) })
}

// Block returns a block: two calls.
func (c *Custodian) Block(ctx context.Context, id domain.BlockID) (*seal.Block, error) {
	o, err := c.vessels.fetch(ctx, blockPlace(id))
	if err != nil {
		return nil, c.found(ctx, err)
	}
	defer o.zero()
	return decodeBlock(o.entries)
}

func decodeBlock(entries []byte) (*seal.Block, error) {
	b, err := seal.DecodeBlock(entries)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return b, nil
}

// ChangeBlock seals a block anew, under a new Transit key, and destroys the old
// one.
func (c *Custodian) ChangeBlock(ctx context.Context, id domain.BlockID, change func(*seal.Block) error) error {
	if err := c.mayDestroy(); err != nil {
		return err
	}
	release, err := c.changing.take(ctx, id.String())
	if err != nil {
		return err
	}
	defer release()
	for {
		o, err := c.vessels.fetch(ctx, blockPlace(id))
		if err != nil {
			return c.found(ctx, err)
		}
		err = c.changeBlockOnce(ctx, o, change)
		o.zero()
		if !errors.Is(err, errConflict) {
			return err
		}
	}
}

func (c *Custodian) changeBlockOnce(ctx context.Context, o *opened, change func(*seal.Block) error) error {
	b, err := decodeBlock(o.entries)
	if err != nil {
		return err
	}
	defer b.Zero()
	if err := change(b); err != nil {
		return err
	}
	entries := b.Encode()
	defer clear(entries)
	if !bytes.Equal(entries, o.entries) {
		if err := c.vessels.replace(ctx, o, c.newKeyName(o.at), o.State, entries); err != nil {
			return err
		}
	}
	return inner(c.vessels.settle(ctx, o))
}

// RemoveBlock destroys a block.
func (c *Custodian) RemoveBlock(ctx context.Context, id domain.BlockID) error {
	if err := c.mayDestroy(); err != nil {
		return err
	}
	p := blockPlace(id)
	d, err := c.vessels.shut(ctx, p)
	if err != nil {
		if err = c.found(ctx, err); isAbsent(err) {
			return nil
		}
		return err
	}
	if err := c.transit.destroy(ctx, d.Doomed...); err != nil {
		return err
	}
	if err := c.strike(ctx, blockKey(id), nil); err != nil {
		return err
	}
	return inner(c.vessels.forget(ctx, p.path))
}

// EachBlock calls each for every block.
func (c *Custodian) EachBlock(ctx context.Context, each func(domain.BlockID, time.Time) bool) error {
	return c.eachIndexed(ctx, indexBlock, func(id string, value []byte) (bool, error) {
		r := reader{rest: value}
		issued := r.time()
		if len(id) != len(domain.BlockID{}) || r.failed {
			return false, errRecord
		}
		return each(domain.BlockID([]byte(id)), issued), nil
	})
}
