package projections_test

import (
	"context"
	"maps"
	"os"
	"testing"

	"pgregory.net/rapid"

	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// TestRebuiltEqualsLive is promise 7: however a live view came to its position,
// with whatever batches, restarts and disposals on the way, the view rebuilt at
// that position has the same rows. Rebuild itself compares and refuses; here a
// view built from the start without reading disposals first is compared, too.
func TestRebuiltEqualsLive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := viewtest.NewHistory(func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "n") })
		live := place(rt)
		p := at(rt, h, live)
		for range rapid.IntRange(1, 4).Draw(rt, "stops") {
			h.Steps(rapid.IntRange(1, 40).Draw(rt, "steps"))
			if rapid.Bool().Draw(rt, "restart") {
				fatal(rt, p.Close())
				p = at(rt, h, live)
			}
			fatal(rt, p.CatchUp(context.Background()))
		}
		defer func() { fatal(rt, p.Close()) }()
		before := digests(t, p)
		if _, err := p.Rebuild(context.Background(), nil); err != nil {
			rt.Fatal(err)
		}
		fresh := at(rt, h, place(rt))
		defer func() { fatal(rt, fresh.Close()) }()
		fatal(rt, fresh.CatchUp(context.Background()))
		for name, other := range map[string]*projections.Projector{"rebuilt": p, "built anew": fresh} {
			if got := digests(t, other); !maps.Equal(got, before) {
				rt.Fatalf("%s: %v, live: %v", name, got, before)
			}
		}
	})
}

func fatal(rt *rapid.T, err error) {
	if err != nil {
		rt.Fatal(err)
	}
}

func place(rt *rapid.T) string {
	dir, err := os.MkdirTemp("", "views")
	fatal(rt, err)
	rt.Cleanup(func() { fatal(rt, os.RemoveAll(dir)) })
	return dir
}

func at(rt *rapid.T, h *viewtest.History, dir string) *projections.Projector {
	e, err := sqlite.New(dir, sqlite.OS{})
	fatal(rt, err)
	opt := options()
	opt.Batch = rapid.SampledFrom([]int{5, 23, 1000}).Draw(rt, "batch")
	p, err := projections.Open(context.Background(), h.Log, e, opt)
	fatal(rt, err)
	return p
}
