package sqlite

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
)

// wide is a view of one table with columns of every merge.
type wide struct{ table *projections.Table }

func newWide() *wide {
	column := func(name string, typ projections.Type, m projections.Merge) projections.Column {
		return projections.Column{Name: name, Type: typ, Merge: m}
	}
	return &wide{table: projections.NewTable(
		"wide_rows", column("place", projections.Text, projections.Key), column("id", projections.Int, projections.Key),
		column("n", projections.Int, projections.Add), column("first", projections.Text, projections.Min),
		column("last", projections.Text, projections.Max), column("now", projections.Text, projections.Last),
		column("stage", projections.Int, projections.Max),
	)}
}

func (v *wide) Name() string                                   { return "wide" }
func (v *wide) Tables() []*projections.Table                   { return []*projections.Table{v.table} }
func (v *wide) Relations() []projections.Relation              { return nil }
func (v *wide) Restore(projections.Rows) error                 { return nil }
func (v *wide) Apply(*projections.Event, *projections.Changes) {}

// draw makes changes of up to 90 rows, of which many are alike and have no
// value in many columns.
func (v *wide) draw(t *rapid.T) *projections.Changes {
	c := &projections.Changes{}
	text := rapid.SampledFrom([]projections.Value{{}, projections.T("a"), projections.T("b"), projections.T("")})
	number := rapid.SampledFrom([]projections.Value{{}, projections.N(0), projections.N(1), projections.N(7)})
	plain := rapid.Bool()
	for id := range rapid.IntRange(0, 90).Draw(t, "rows") {
		r := c.Row(v.table, projections.T(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "place")), projections.N(id))
		r.Merge(2, projections.N(1))
		if plain.Draw(t, "plain") {
			continue
		}
		for i, col := range v.table.Columns[2:] {
			if col.Type == projections.Int {
				r.Merge(i+2, number.Draw(t, col.Name))
			} else {
				r.Merge(i+2, text.Draw(t, col.Name))
			}
		}
	}
	return c
}

// TestShapesWriteWhatPlainStatementsWrite compares statements that leave out and
// share values with one plain statement a row.
func TestShapesWriteWhatPlainStatementsWrite(t *testing.T) {
	seen := map[shape]bool{}
	rapid.Check(t, func(rt *rapid.T) {
		v, dir := newWide(), t.TempDir()
		f, err := openFile(t.Context(), filepath.Join(dir, "ours.db"), 1, building, v)
		must(rt, err)
		plain, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "plain.db"))
		must(rt, err)
		for _, s := range Declarations(v) {
			_, err := plain.ExecContext(t.Context(), s)
			must(rt, err)
		}
		at := projections.Checkpoint{Generation: 1}
		for n := range rapid.IntRange(1, 3).Draw(rt, "commits") {
			c := v.draw(rt)
			to := at
			to.Position = domain.Position{Commit: uint64(n + 1), Prepare: uint64(n + 1)} //nolint:gosec // small
			must(rt, f.Commit(t.Context(), at, to, c))
			at = to
			must(rt, writePlain(t, plain, c))
		}
		for s := range f.upserts.shapes {
			s.table = nil
			seen[s] = true
		}
		want := dump(rt, t, plain)
		if got := dump(rt, t, f.writers); got != want {
			rt.Fatalf("shaped statements wrote\n%s\nplain ones\n%s", got, want)
		}
		must(rt, plain.Close())
		must(rt, f.Close())
	})
	shared := 0
	for s := range seen {
		if s.shared != 0 && s.shared != s.present {
			shared++
		}
	}
	if shared < 5 || len(seen) < 20 {
		t.Fatalf("only %d shapes were met, %d of them share", len(seen), shared)
	}
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func writePlain(t *testing.T, db *sql.DB, c *projections.Changes) error {
	for _, s := range c.Segments() {
		for table, rows := range s.Each {
			for _, r := range rows {
				args := make([]any, len(r.Values))
				for i, v := range r.Values {
					args[i] = v.Any()
				}
				if _, err := db.ExecContext(t.Context(), Upsert(table, 1), args...); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func dump(rt *rapid.T, t *testing.T, db *sql.DB) string {
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM wide_rows ORDER BY place, id")
	must(rt, err)
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		row, into := make([]any, 7), make([]any, 7)
		for i := range row {
			into[i] = &row[i]
		}
		must(rt, rows.Scan(into...))
		fmt.Fprintln(&b, row...)
	}
	must(rt, rows.Err())
	return b.String()
}

func TestPreparedStatementsAreBounded(t *testing.T) {
	v := newWide()
	f, err := openFile(t.Context(), filepath.Join(t.TempDir(), "f.db"), 1, building, v)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3 * maxShapes) {
		if _, err := f.prepared(t.Context(), shape{table: v.table, rows: int(n) + 1, present: 7}); err != nil { //nolint:gosec,sqlclosecheck // small; kept prepared
			t.Fatal(err)
		}
		if len(f.upserts.shapes) > maxShapes {
			t.Fatalf("%d statements are prepared", len(f.upserts.shapes))
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
