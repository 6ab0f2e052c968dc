package vault

import (
	"context"
	"errors"
	"fmt"
)

// What the index says of a page: that there may be one, and that there is. One
// that was written is never absent again, or its keys could be issued twice.
const (
	pageBegun   = "0"
	pageWritten = "1"
)

// pageOrEmpty reads a page, which is empty where it was never written.
func (c *Custodian) pageOrEmpty(p page) fetcher {
	return func(ctx context.Context, path string) (snapshot, error) {
		s, err := c.tables.read(ctx, path)
		if !errors.Is(err, errAbsent) {
			return s, err
		}
		says, err := c.indexed(ctx, indexRetention+p.indexed())
		if err != nil || string(says) != pageWritten {
			return snapshot{table: table{}}, err
		}
		// It may have been written between the two calls.
		s, err = c.tables.read(ctx, path)
		if errors.Is(err, errAbsent) {
			err = fmt.Errorf("a page of retention keys is missing: %w", ErrDamaged)
		}
		return s, err
	}
}

// updatePage edits a page. The index names it before it is written, so that none
// is left out by who goes over all, and says afterwards that it was.
func (c *Custodian) updatePage(ctx context.Context, p page, e edit) error {
	key := indexRetention + p.indexed()
	if err := c.notePage(ctx, key, pageBegun); err != nil {
		return err
	}
	if _, err := c.tables.update(ctx, p.path(), c.pageOrEmpty(p), e); err != nil {
		return err
	}
	return c.notePage(ctx, key, pageWritten)
}

// notePage raises what the index says of a page. What was read before is enough
// to know that it says so already: it never says less again.
func (c *Custodian) notePage(ctx context.Context, key, says string) error {
	if s, ok := c.tables.recent.Get(c.index(key)); ok && string(s.table[key]) >= says {
		return nil
	}
	_, err := c.tables.update(ctx, c.index(key), c.tables.must, func(t table, _ uint64) (bool, error) {
		if string(t[key]) >= says {
			return false, nil
		}
		t[key] = []byte(says)
		return true, nil
	})
	return err
}
