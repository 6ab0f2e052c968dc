package tlog

import (
	"context"
	"fmt"
	"iter"

	"filippo.io/torchwood"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Leaves yields the leaves that the head covers, from leaf from on.
func (l *Log) Leaves(from int64) iter.Seq2[Leaf, error] {
	return func(yield func(Leaf, error) bool) {
		size := l.Size()
		for at := from; at < size; {
			n := at / torchwood.TileWidth
			w := min(size-n*torchwood.TileWidth, torchwood.TileWidth)
			b, err := l.bundle(n, int(w))
			if err != nil {
				yield(Leaf{}, err)
				return
			}
			for ; at < n*torchwood.TileWidth+w; at++ {
				if leaf, err := entry(b, int(at%torchwood.TileWidth)); !yield(leaf, err) || err != nil {
					return
				}
			}
		}
	}
}

func entry(bundle []byte, i int) (leaf Leaf, err error) {
	e, _, err := torchwood.ReadTileEntry(bundle[i*entrySize : (i+1)*entrySize])
	if err != nil || copy(leaf[:], e) != LeafSize || leaf[0] != 1 {
		return Leaf{}, fmt.Errorf("entry %d of its bundle: %w", i, ErrDamaged)
	}
	return leaf, nil
}

// Compared tells what Compare found.
type Compared struct {
	// Leaves that stand for an event in the event log.
	Present int64
	// Gone are leaves whose event was disposed of.
	Gone int64
}

// Compare computes the leaves anew from the event log, up to the last event that
// the log of leaves has reached, and finds each in its place. Leaves between that
// have no event any more are counted; an event without its leaf is ErrDiffers.
func (l *Log) Compare(ctx context.Context, r eventstore.Reader) (c Compared, err error) {
	last, _, _, _ := l.Last()
	next, stop := iter.Pull2(l.Leaves(0))
	defer stop()
	prefix := l.prefix()
	for e, err := range r.ReadAll(ctx, domain.Start, eventstore.Forward, 0) {
		if err != nil {
			return Compared{}, fmt.Errorf("reading the event log: %w", err)
		}
		if last.Before(e.Position) {
			break
		}
		if !hasPrefix(e.Stream(), prefix) || !l.covers(&e) {
			continue
		}
		if err := c.find(next, &e); err != nil {
			return Compared{}, err
		}
	}
	c.Gone = l.Size() - c.Present
	return c, nil
}

func (c *Compared) find(next func() (Leaf, error, bool), e *domain.Recorded) error {
	want := LeafOf(e.Sealed)
	for {
		leaf, err, ok := next()
		switch {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("event %s at %s has no leaf in its place: %w", e.ID(), e.Position, ErrDiffers)
		case leaf == want:
			c.Present++
			return nil
		}
	}
}

func (l *Log) prefix() string {
	return string(l.checkpoint[:len(l.checkpoint)-len(domain.ClassCheckpoint)])
}

func hasPrefix(s domain.Stream, prefix string) bool {
	return len(s) >= len(prefix) && string(s[:len(prefix)]) == prefix
}
