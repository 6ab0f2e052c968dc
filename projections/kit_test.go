package projections_test

import (
	"context"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

func options() projections.Options { return viewtest.Options() }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open opens a projector over the views in dir.
func open(t testing.TB, src projections.Source, dir string) *projections.Projector {
	t.Helper()
	e, err := sqlite.New(dir, sqlite.OS{})
	check(t, err)
	p, err := projections.Open(t.Context(), src, e, options())
	check(t, err)
	t.Cleanup(func() { check(t, p.Close()) })
	return p
}

// caughtUp opens a projector and brings it to the end of the log.
func caughtUp(t testing.TB, src projections.Source, dir string) *projections.Projector {
	t.Helper()
	p := open(t, src, dir)
	check(t, p.CatchUp(t.Context()))
	return p
}

// digests of all views; they differ in position and generation if the views do.
func digests(t testing.TB, p *projections.Projector) map[string]projections.Digest {
	t.Helper()
	all := map[string]projections.Digest{}
	for _, v := range projections.Views() {
		d, err := p.Digest(context.Background(), v.Name())
		check(t, err)
		all[v.Name()] = d
	}
	return all
}

func rows(t testing.TB, p *projections.Projector, relation string) [][]any {
	t.Helper()
	page, err := p.Query(context.Background(), projections.Query{Relation: relation})
	check(t, err)
	return page.Rows
}

func erasable(ref domain.SubjectRef, class domain.Class) viewtest.Place {
	return viewtest.Place{Scope: domain.Erasable, Ref: ref, Class: class, Tier: domain.OwnTier, Gen: 1}
}
