package projections_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

func history(seed uint64) *viewtest.History {
	r := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // reproducible on purpose
	return viewtest.NewHistory(r.IntN)
}

func TestRebuildWhileTrafficGoesOn(t *testing.T) {
	h, dir := history(1), t.TempDir()
	h.Steps(300)
	p := caughtUp(t, h, dir)
	h.Shown = true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- p.Run(ctx) }()
	go func() {
		for n := 0; ctx.Err() == nil && n < 500; n++ {
			h.Steps(1)
			time.Sleep(5 * time.Millisecond)
		}
		done <- nil
	}()
	var shown projections.Progress
	for round := range 2 {
		rebuilt, err := p.Rebuild(t.Context(), func(g projections.Progress) { shown = g })
		if err != nil {
			cancel()
			t.Fatal(errors.Join(err, <-done, <-done))
		}
		for _, r := range rebuilt {
			if r.Generation != round+2 || r.Digest != r.LiveDigest || r.Digest == "" || r.Events == 0 {
				t.Fatalf("round %d: %+v", round, r)
			}
		}
		if len(rebuilt) != 6 || shown.Events == 0 || shown.Done > shown.Total {
			t.Fatalf("%d views rebuilt, progress %+v", len(rebuilt), shown)
		}
	}
	one, err := p.Rebuild(t.Context(), nil, "holdings")
	check(t, err)
	if len(one) != 1 || one[0].Generation != 4 {
		t.Fatalf("rebuilt one view: %+v", one)
	}
	cancel()
	check(t, errors.Join(<-done, <-done))
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	check(t, err)
	if len(files) != 6 {
		t.Fatalf("files %v, want one a view", files)
	}
	if _, err := p.Rebuild(t.Context(), nil, "nothing"); !errors.Is(err, projections.ErrNoView) {
		t.Fatalf("rebuilt a view that is none: %v", err)
	}
}

func TestAViewThatDiffersIsNotSwapped(t *testing.T) {
	h, dir := history(2), t.TempDir()
	h.Steps(300)
	p := caughtUp(t, h, dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "pools.1.db"))
	check(t, err)
	_, err = db.Exec("UPDATE pools_rows SET messages = messages + 1")
	check(t, errors.Join(err, db.Close()))
	if _, err := p.Rebuild(t.Context(), nil); !errors.Is(err, projections.ErrDiffers) || !strings.Contains(err.Error(), "view pools") {
		t.Fatalf("a view that was edited was rebuilt with %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "pools.2.refused.db")); err != nil {
		t.Fatalf("the refused generation is not kept: %v", err)
	}
	st, err := p.Status(t.Context())
	check(t, err)
	if st[0].Generation != 1 {
		t.Fatalf("generation %d serves after a refusal", st[0].Generation)
	}
	h.Steps(10)
	check(t, p.CatchUp(t.Context()))
}

// crash fails the n-th file operation and every one behind it, as for a process
// that ended there; the operation itself happened or not.
type crash struct {
	sqlite.OS
	left  *int
	after bool
}

var errCrash = errors.New("the process ended here")

func (c crash) do(f func() error) error {
	*c.left--
	if *c.left > 0 || *c.left == 0 && c.after {
		if err := f(); err != nil || *c.left > 0 {
			return err
		}
	}
	return errCrash
}

func (c crash) Replace(name string, data []byte) error {
	return c.do(func() error { return c.OS.Replace(name, data) })
}
func (c crash) Sync(name string) error   { return c.do(func() error { return c.OS.Sync(name) }) }
func (c crash) Remove(name string) error { return c.do(func() error { return c.OS.Remove(name) }) }
func (c crash) Rename(from, to string) error {
	return c.do(func() error { return c.OS.Rename(from, to) })
}

func TestACrashAtAnyStepOfASwapLeavesViewsThatServe(t *testing.T) {
	h := history(3)
	h.Steps(100)
	generations := map[int]int{}
	for _, after := range []bool{false, true} {
		for n := 1; n < 40; n += 1 + n/6 {
			dir := t.TempDir()
			before := digests(t, caughtUp(t, h, dir))
			left := n
			e, err := sqlite.New(dir, crash{left: &left, after: after})
			check(t, err)
			p, err := projections.Open(t.Context(), h, e, options())
			if err == nil {
				_, err = p.Rebuild(t.Context(), nil)
				_ = p.Close() // the process is gone
			}
			if err != nil && !errors.Is(err, errCrash) {
				t.Fatalf("step %d: %v", n, err)
			}
			again := caughtUp(t, h, dir)
			for name, d := range digests(t, again) {
				if d != before[name] {
					t.Fatalf("step %d (after: %v): view %s differs", n, after, name)
				}
			}
			files, err := filepath.Glob(filepath.Join(dir, "*.db"))
			check(t, err)
			st, err := again.Status(t.Context())
			check(t, err)
			generations[st[0].Generation]++
			for _, s := range st {
				if s.Generation != st[0].Generation || len(files) != len(st) {
					t.Fatalf("step %d (after: %v): status %+v, files %v", n, after, st, files)
				}
			}
		}
	}
	if generations[1] < 3 || generations[2] < 3 {
		t.Fatalf("serving generations after the crashes: %v; both sides of the swap should be met", generations)
	}
}

func TestReplayAsOfEqualsACopyStoppedThen(t *testing.T) {
	h := history(4)
	h.Steps(400)
	h.Now = h.Now.Add(time.Hour)
	stop := h.NoteTime()
	asOf := h.Now.Add(30 * time.Second)
	copied := h.Copy(stop.Position)
	some(h.Writer, 20) // what came later is not in it
	h.Now = h.Now.Add(time.Minute)
	h.NoteTime()

	out := filepath.Join(t.TempDir(), "f.db")
	done, err := replay(t, h, asOf, out)
	check(t, err)
	if done.Position != stop.Position || done.Disposed != (projections.Later{}) || done.NotedAt.After(asOf) {
		t.Fatalf("replayed %+v, want position %s", done, stop.Position)
	}
	dir := t.TempDir()
	caughtUp(t, copied, dir)
	same(t, out, dir)

	if _, err := replay(t, h, asOf, out); err == nil {
		t.Fatal("a file that exists was overwritten")
	}
	if _, err := replay(t, h, time.Unix(0, 0), filepath.Join(t.TempDir(), "g.db")); !errors.Is(err, projections.ErrNoTime) {
		t.Fatalf("replayed as of 1970: %v", err)
	}
}

func replay(t *testing.T, src projections.Source, asOf time.Time, out string) (projections.Replayed, error) {
	t.Helper()
	return projections.ReplayAsOf(t.Context(), src, options(), asOf, func(ctx context.Context, views []projections.View) (projections.Generation, error) {
		return sqlite.Export(ctx, out, views)
	})
}

// same compares every relation of a replay with the live files, as any tool
// would read them.
func same(t *testing.T, out, dir string) {
	t.Helper()
	for _, v := range projections.Views() {
		for _, r := range v.Relations() {
			a := dump(t, out, r)
			b := dump(t, filepath.Join(dir, v.Name()+".1.db"), r)
			if a != b {
				t.Errorf("%s as of then:\n%s\nthe copy's:\n%s", r.Name, a, b)
			}
		}
	}
}

func dump(t *testing.T, path string, r projections.Relation) string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	check(t, err)
	defer func() { check(t, db.Close()) }()
	rows, err := db.Query(`SELECT * FROM "` + r.Name + `" ORDER BY ` + strings.Join(r.Columns[:r.Key], ", "))
	check(t, err)
	defer func() { check(t, rows.Close()) }()
	columns, err := rows.Columns()
	check(t, err)
	if strings.Join(columns, " ") != strings.Join(r.Columns, " ") {
		t.Fatalf("%s has columns %v, declared are %v", r.Name, columns, r.Columns)
	}
	var b strings.Builder
	for rows.Next() {
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		check(t, rows.Scan(into...))
		fmt.Fprintln(&b, row...)
	}
	check(t, rows.Err())
	return b.String()
}

func TestReplayCountsWhatWasDisposedOfSince(t *testing.T) {
	w := viewtest.NewWriter()
	some(w, 5)
	w.NoteTime()
	asOf := w.Now
	k := domain.RetentionKey{Class: "messages", Tier: domain.OwnTier, Bucket: domain.BucketAt(w.Now, domain.Day)}
	total := projections.Total{Pool: "chat", Key: k, Events: 5, Records: 10}
	w.Disposed(domain.BucketDisposed, domain.Name("kind", projections.KindRetention), domain.Name("class", k.Class),
		domain.Name("tier", k.Tier), domain.Name("bucket", k.Bucket), domain.List("totals", []string{total.String()}))
	out := filepath.Join(t.TempDir(), "f.db")
	done, err := replay(t, w, asOf, out)
	check(t, err)
	if done.Disposed != (projections.Later{Buckets: 1, Events: 5, Records: 10}) {
		t.Fatalf("replayed %+v", done)
	}
	db, err := sql.Open("sqlite", "file:"+out)
	check(t, err)
	defer func() { check(t, db.Close()) }()
	var buckets, events, held int
	check(t, db.QueryRow("SELECT disposed_buckets, disposed_events FROM replay").Scan(&buckets, &events))
	check(t, db.QueryRow("SELECT count(*) FROM holdings").Scan(&held))
	if buckets != 1 || events != 5 || held != 0 {
		t.Fatalf("the file says %d buckets, %d events, and shows %d holdings that were disposed of", buckets, events, held)
	}
}
