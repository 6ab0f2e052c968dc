package vault

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/lethe-ledger/lethe/domain"
)

// stripes is how many turns there are; names that share one wait for each other.
const stripes = 256

// turns let one caller of this process at a time work on what a name stands for,
// so that callers do not take each other's compare-and-set away.
type turns struct {
	seed  maphash.Seed
	slots [stripes]chan struct{}
}

func newTurns() turns {
	t := turns{seed: maphash.MakeSeed()}
	for i := range t.slots {
		t.slots[i] = make(chan struct{}, 1)
	}
	return t
}

// take waits for a turn. The caller calls release.
func (t *turns) take(ctx context.Context, name string) (release func(), err error) {
	slot := t.slots[maphash.String(t.seed, name)%stripes]
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a turn: %w: %w", domain.ErrUnavailable, ctx.Err())
	}
}
