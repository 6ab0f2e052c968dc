package viewtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
)

// Options are those of a loop over a suite's log: waits are short.
func Options() projections.Options {
	return projections.Options{Ledger: Ledger, Verify: Verify, Linger: time.Millisecond, Pause: pause}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(d, time.Millisecond)):
		return nil
	}
}

// Run is the contract of engines. open opens the engine over the same place each
// time it is called in one test.
func Run(t *testing.T, open func(t *testing.T) func() projections.Engine) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func() projections.Engine)
	}{
		{"an empty view is served and found again", servedAgain},
		{"a checkpoint moves only from the one read", movesOnce},
		{"rows merge as their columns say", merges},
		{"text is ordered by its bytes", ordered},
		{"sweeps see what came before them", sweeps},
		{"a generation not swapped in is gone", leftovers},
		{"a swap holds after reopening", swaps},
		{"a refused generation is set aside", aside},
		{"a snapshot is of one moment", snapshot},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// probe is a view of one table with a column of each merge.
type probe struct{ table *projections.Table }

func newProbe() *probe {
	return &probe{table: projections.NewTable(
		"pools_probe", projections.Column{Name: "id", Merge: projections.Key}, projections.Column{Name: "n", Type: projections.Int, Merge: projections.Add},
		projections.Column{Name: "first", Merge: projections.Min}, projections.Column{Name: "last", Merge: projections.Max},
		projections.Column{Name: "now", Merge: projections.Last},
	)}
}

func (v *probe) Name() string                                   { return "pools" }
func (v *probe) Tables() []*projections.Table                   { return []*projections.Table{v.table} }
func (v *probe) Restore(projections.Rows) error                 { return nil }
func (v *probe) Apply(*projections.Event, *projections.Changes) {}
func (v *probe) Relations() []projections.Relation {
	return []projections.Relation{{Name: "pools", Columns: []string{"id", "n"}, Key: 1, Select: "SELECT id, n FROM pools_probe WHERE true " + projections.Where}}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, e projections.Engine, v projections.View) projections.Generation {
	t.Helper()
	g, err := e.Open(t.Context(), v)
	check(t, err)
	t.Cleanup(func() { check(t, g.Close()) })
	return g
}

func created(t *testing.T, e projections.Engine, v projections.View) projections.Generation {
	t.Helper()
	g, err := e.Create(t.Context(), v)
	check(t, err)
	t.Cleanup(func() { check(t, g.Close()) })
	return g
}

func checkpoint(g projections.Generation, n uint64) projections.Checkpoint {
	if n == 0 {
		return projections.Checkpoint{Generation: g.Number()}
	}
	return projections.Checkpoint{
		Generation: g.Number(), Position: domain.Position{Commit: n, Prepare: n}, Event: domain.EventID{0: byte(n)}, Stream: "lethe.test.policy",
	}
}

// put commits one row of the probe, moving the checkpoint from n-1 to n.
func put(g projections.Generation, v *probe, n uint64, id string, merge ...projections.Value) error {
	var c projections.Changes
	r := c.Row(v.table, projections.T(id))
	for i, m := range merge {
		r.Merge(i+1, m)
	}
	return g.Commit(context.Background(), checkpoint(g, n-1), checkpoint(g, n), &c)
}

// content is the checkpoint's position and all rows of the probe.
func content(t *testing.T, g projections.Generation) string {
	t.Helper()
	s := ""
	check(t, g.Snapshot(t.Context(), func(at projections.Checkpoint, rows projections.Rows) error {
		s = at.Position.String()
		return rows(`SELECT id, n, "first", "last", now FROM pools_probe ORDER BY id`, nil, func(row []any) error {
			s += fmt.Sprint(" ", row)
			return nil
		})
	}))
	return s
}

func want(t *testing.T, g projections.Generation, s string) {
	t.Helper()
	if got := content(t, g); got != s {
		t.Fatalf("generation %d holds %q, want %q", g.Number(), got, s)
	}
}

func servedAgain(t *testing.T, open func() projections.Engine) {
	v := newProbe()
	g := opened(t, open(), v)
	want(t, g, "0")
	check(t, put(g, v, 1, "a", projections.N(1)))
	check(t, g.Close())
	again := opened(t, open(), v)
	want(t, again, "1 [a 1 <nil> <nil> <nil>]")
	if at, err := again.Checkpoint(t.Context()); err != nil || at != checkpoint(g, 1) {
		t.Fatalf("checkpoint %+v, %v; want that of position 1", at, err)
	}
}

func movesOnce(t *testing.T, open func() projections.Engine) {
	v := newProbe()
	a, b := opened(t, open(), v), opened(t, open(), v)
	check(t, put(a, v, 1, "a", projections.N(1)))
	if err := put(b, v, 1, "a", projections.N(1)); !errors.Is(err, projections.ErrActive) {
		t.Fatalf("the second projector got %v, want ErrActive", err)
	}
	want(t, b, "1 [a 1 <nil> <nil> <nil>]")
	check(t, put(b, v, 2, "a", projections.N(1)))
	wrong := checkpoint(b, 2)
	wrong.Event = domain.EventID{0: 9}
	var c projections.Changes
	if err := b.Commit(t.Context(), wrong, checkpoint(b, 3), &c); !errors.Is(err, projections.ErrActive) {
		t.Fatalf("a checkpoint with another event's id moved: %v", err)
	}
	want(t, a, "2 [a 2 <nil> <nil> <nil>]")
}

func merges(t *testing.T, open func() projections.Engine) {
	v := newProbe()
	g := opened(t, open(), v)
	var none projections.Value
	n, s := projections.N[int], projections.T[string]
	check(t, put(g, v, 1, "a", none, s("m"), s("m"), s("x")))
	check(t, put(g, v, 2, "a", n(2), s("k"), s("k"), none))
	check(t, put(g, v, 3, "a", n(3), none, s("z"), s("y")))
	check(t, put(g, v, 4, "b"))
	check(t, put(g, v, 5, "b"))
	want(t, g, "5 [a 5 k z y] [b <nil> <nil> <nil> <nil>]")
}

func ordered(t *testing.T, open func() projections.Engine) {
	v := newProbe()
	g := opened(t, open(), v)
	var none projections.Value
	s := projections.T[string]
	for i, id := range []string{"b", "B", "a-c", "ab", "é"} {
		check(t, put(g, v, uint64(i+1), id)) //nolint:gosec // a few
	}
	check(t, put(g, v, 6, "b", none, s("a"), s("a")))
	check(t, put(g, v, 7, "b", none, s("B"), s("B")))
	const rest = "<nil> <nil> <nil> <nil>"
	want(t, g, "7 [B "+rest+"] [a-c "+rest+"] [ab "+rest+"] [b <nil> B a <nil>] [é "+rest+"]")
}

func sweeps(t *testing.T, open func() projections.Engine) {
	v := newProbe()
	g := opened(t, open(), v)
	var c projections.Changes
	for i := range 100 {
		c.Row(v.table, projections.T(fmt.Sprintf("%02d", i))).Merge(1, projections.N(1))
	}
	c.Sweep("DELETE FROM pools_probe WHERE id <> ?", "07")
	c.Row(v.table, projections.T("07")).Merge(1, projections.N(1))
	c.Row(v.table, projections.T("99")).Merge(1, projections.N(5))
	check(t, g.Commit(t.Context(), checkpoint(g, 0), checkpoint(g, 1), &c))
	want(t, g, "1 [07 2 <nil> <nil> <nil>] [99 5 <nil> <nil> <nil>]")
	c.Reset()
	c.Row(v.table, projections.T("lost"))
	c.Sweep("DELETE FROM no_such_table")
	if g.Commit(t.Context(), checkpoint(g, 1), checkpoint(g, 2), &c) == nil {
		t.Fatal("a statement that failed was committed")
	}
	want(t, g, "1 [07 2 <nil> <nil> <nil>] [99 5 <nil> <nil> <nil>]")
	check(t, put(g, v, 2, "next"))
}

func leftovers(t *testing.T, open func() projections.Engine) {
	v := newProbe()
	e := open()
	check(t, put(opened(t, e, v), v, 1, "served"))
	g := created(t, e, v)
	check(t, put(g, v, 1, "lost"))
	check(t, g.Close())
	e = open()
	want(t, opened(t, e, v), "1 [served <nil> <nil> <nil> <nil>]")
	fresh := created(t, e, v)
	want(t, fresh, "0")
	check(t, e.Drop(v.Name(), fresh))
}

func swaps(t *testing.T, open func() projections.Engine) {
	v := newProbe()
	e := open()
	old := opened(t, e, v)
	next := created(t, e, v)
	if next.Number() <= old.Number() {
		t.Fatalf("generation %d follows %d", next.Number(), old.Number())
	}
	check(t, put(next, v, 1, "new"))
	name := v.Name()
	served, err := e.Swap(t.Context(), map[string]projections.View{name: v}, map[string]projections.Generation{name: next})
	check(t, err)
	check(t, e.Drop(name, old))
	want(t, served[name], "1 [new <nil> <nil> <nil> <nil>]")
	check(t, put(served[name], v, 2, "more"))
	check(t, served[name].Close())
	again := opened(t, open(), v)
	want(t, again, "2 [more <nil> <nil> <nil> <nil>] [new <nil> <nil> <nil> <nil>]")
	if again.Number() != next.Number() {
		t.Fatalf("generation %d serves, want %d", again.Number(), next.Number())
	}
}

func aside(t *testing.T, open func() projections.Engine) {
	v := newProbe()
	e := open()
	old := opened(t, e, v)
	next := created(t, e, v)
	name, err := e.SetAside(v.Name(), next)
	check(t, err)
	if name == "" {
		t.Fatal("the refused generation has no name")
	}
	check(t, old.Close())
	want(t, opened(t, open(), v), "0")
}

func snapshot(t *testing.T, open func() projections.Engine) {
	v := newProbe()
	g := opened(t, open(), v)
	check(t, put(g, v, 1, "a"))
	check(t, g.Snapshot(t.Context(), func(at projections.Checkpoint, rows projections.Rows) error {
		if err := put(g, v, 2, "b"); err != nil {
			return err
		}
		n := 0
		if err := rows("SELECT id FROM pools_probe", nil, func([]any) error { n++; return nil }); err != nil {
			return err
		}
		if n != 1 || at.Position.Commit != 1 {
			t.Errorf("a snapshot at %s shows %d rows that came behind it", at.Position, n)
		}
		return nil
	}))
	want(t, g, "2 [a <nil> <nil> <nil> <nil>] [b <nil> <nil> <nil> <nil>]")
}
