package projections_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
)

// faulty fails every third commit of each generation: half of them before they
// are done, half of them when they are done and nobody hears of it.
type faulty struct{ projections.Engine }

type faultyGeneration struct {
	projections.Generation
	n int
}

func (f *faulty) Open(ctx context.Context, v projections.View) (projections.Generation, error) {
	g, err := f.Engine.Open(ctx, v)
	return &faultyGeneration{Generation: g}, err
}

func (g *faultyGeneration) Commit(ctx context.Context, from, to projections.Checkpoint, c *projections.Changes) error {
	g.n++
	if g.n%3 != 0 {
		return g.Generation.Commit(ctx, from, to, c)
	}
	done := g.n%2 == 0
	if done {
		if err := g.Generation.Commit(ctx, from, to, c); err != nil {
			return err
		}
	}
	return fmt.Errorf("disk is away: %w", domain.ErrUnavailable)
}

func TestACommitLostOrUnansweredIsMadeOnce(t *testing.T) {
	h := history(5)
	h.Steps(300)
	want := digests(t, caughtUp(t, h, t.TempDir()))
	e, err := sqlite.New(t.TempDir(), sqlite.OS{})
	check(t, err)
	opt := options()
	opt.Batch = 20
	p, err := projections.Open(t.Context(), h, &faulty{Engine: e}, opt)
	check(t, err)
	defer func() { check(t, p.Close()) }()
	failed := 0
	for {
		err := p.CatchUp(t.Context())
		if err == nil {
			break
		}
		if failed++; !errors.Is(err, domain.ErrUnavailable) || failed > 100 {
			t.Fatal(err)
		}
	}
	if failed < 3 {
		t.Fatalf("only %d faults were met", failed)
	}
	for name, d := range digests(t, p) {
		if d != want[name] {
			t.Errorf("view %s differs after %d faults", name, failed)
		}
	}
}
