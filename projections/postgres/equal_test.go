package postgres_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/postgres"
	"github.com/lethe-ledger/lethe/projections/sqlite"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// TestLiveRebuiltAndTheOtherEngineAreAlike: however a live view came to its
// position, it has the rows of one built again, and those that SQLite has.
//
// Proves: INV-7
func TestLiveRebuiltAndTheOtherEngineAreAlike(t *testing.T) {
	url, n, failed := database(t), 0, false
	rapid.Check(t, func(rt *rapid.T) {
		// A generation costs the server fifty files: fewer lives than usual will do.
		if n++; n > 20 && !failed {
			return
		}
		defer func() { failed = failed || rt.Failed() }()
		schema := fmt.Sprintf("p%d", n)
		h := viewtest.NewHistory(func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "n") })
		p, end := opened(rt, h, url, schema)
		for range rapid.IntRange(1, 3).Draw(rt, "stops") {
			h.Steps(rapid.IntRange(1, 60).Draw(rt, "steps"))
			if rapid.Bool().Draw(rt, "restart") {
				end()
				p, end = opened(rt, h, url, schema)
			}
			fatal(rt, p.CatchUp(context.Background()))
		}
		defer func() { end() }()
		live := digests(t, p)
		if _, err := p.Rebuild(context.Background(), nil); err != nil {
			rt.Fatal(err)
		}
		for name, other := range map[string]map[string]projections.Digest{"rebuilt": digests(t, p), "on SQLite": onSQLite(t, h.Log)} {
			if !maps.Equal(other, live) {
				rt.Fatalf("%s: %v, live: %v", name, other, live)
			}
		}
	})
}

func fatal(rt *rapid.T, err error) {
	if err != nil {
		rt.Fatal(err)
	}
}

func opened(rt *rapid.T, h *viewtest.History, url, schema string) (*projections.Projector, func()) {
	e, err := postgres.Open(context.Background(), url, postgres.Options{Schema: schema})
	fatal(rt, err)
	opt := options()
	opt.Batch = rapid.SampledFrom([]int{5, 23, 1000}).Draw(rt, "batch")
	p, err := projections.Open(context.Background(), h.Log, e, opt)
	fatal(rt, err)
	return p, func() {
		fatal(rt, p.Close())
		fatal(rt, e.Close())
	}
}

// TestEveryRelationReadsAlike compares what readers see, page by page and by
// every column, with what they see on SQLite.
func TestEveryRelationReadsAlike(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(4) {
		p, q := bothEngines(t, 20+seed, 300)
		for _, v := range projections.Views() {
			for _, r := range v.Relations() {
				seen[r.Name] += relationAlike(t, p, q, r)
			}
		}
		status, err := p.Status(t.Context())
		check(t, err)
		want, err := q.Status(t.Context())
		check(t, err)
		if !slices.Equal(status, want) {
			t.Errorf("status %+v, want %+v", status, want)
		}
	}
	for name, rows := range seen {
		if rows == 0 {
			t.Errorf("%s had no rows: nothing was compared", name)
		}
	}
}

// bothEngines makes the same views on PostgreSQL and on SQLite.
func bothEngines(t *testing.T, seed uint64, steps int) (ours, other *projections.Projector) {
	h := history(seed)
	h.Steps(steps)
	e, err := sqlite.New(t.TempDir(), sqlite.OS{})
	check(t, err)
	ours, other = projector(t, h, engine(t, database(t))), projector(t, h, e)
	check(t, ours.CatchUp(t.Context()))
	check(t, other.CatchUp(t.Context()))
	return ours, other
}

func relationAlike(t *testing.T, p, q *projections.Projector, r projections.Relation) (rows int) {
	queries := []projections.Query{{Relation: r.Name, Limit: 7}}
	for i, c := range r.Columns {
		if v := firstOf(t, q, r.Name, i); v != nil {
			queries = append(queries, projections.Query{Relation: r.Name, Where: map[string]any{c: v}})
		}
	}
	for _, query := range queries {
		want := everything(t, q, query)
		if got := everything(t, p, query); !slices.Equal(got, want) {
			t.Errorf("%+v: %q, want %q", query, got, want)
		}
		rows += len(want)
	}
	return rows
}

// firstOf is a value of a column that some row has.
func firstOf(t *testing.T, p *projections.Projector, relation string, column int) any {
	page, err := p.Query(t.Context(), projections.Query{Relation: relation})
	check(t, err)
	for _, row := range page.Rows {
		if row[column] != nil {
			return row[column]
		}
	}
	return nil
}

func everything(t *testing.T, p *projections.Projector, q projections.Query) (rows []string) {
	for {
		page, err := p.Query(t.Context(), q)
		check(t, err)
		for _, row := range page.Rows {
			rows = append(rows, fmt.Sprintf("%#v", row))
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return rows
		}
	}
}

// TestAPersonsRowsAreFound reads the rows of single persons by the tables' own
// keys, as commands do.
func TestAPersonsRowsAreFound(t *testing.T) {
	p, q := bothEngines(t, 12, 400)
	page, err := q.Query(t.Context(), projections.Query{Relation: "holdings"})
	check(t, err)
	for _, row := range page.Rows {
		for _, filter := range []string{"owner", "linked"} {
			query := projections.Query{Relation: "holdings", Where: map[string]any{filter: row[0]}}
			want := everything(t, q, query)
			if got := everything(t, p, query); !slices.Equal(got, want) {
				t.Fatalf("%s %v: %q, want %q", filter, row[0], got, want)
			}
		}
	}
}
