package projections_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// traffic writes records/64 traffic events of 10,000 people in random order.
func traffic(records int) *viewtest.Writer {
	w := viewtest.NewWriter()
	const people = 10_000
	refs, conns := make([]domain.SubjectRef, people), make([]domain.ConnectionID, people)
	for i := range refs {
		refs[i], conns[i] = domain.New[domain.SubjectRef](), domain.New[domain.ConnectionID]()
	}
	seed := uint32(1)
	for i := range records / 64 {
		seed = seed*1664525 + 1013904223
		p := int(seed>>8) % people
		if i%20_000 == 0 {
			w.Now = w.Now.Add(time.Hour)
		}
		w.Person(viewtest.Place{Scope: domain.Erasable, Ref: refs[p], Class: "messages", Tier: "0", Gen: 1}, domain.TrafficRecorded, 64,
			domain.Name("pool", "chat"), domain.UUID("connection", conns[p]))
	}
	return w
}

// recording keeps what an engine is asked to write, to write it again bare.
type recording struct {
	projections.Engine
	gens map[string]*recorder
}

type recorder struct {
	projections.Generation
	batches []batch
}

type batch []write

type write struct {
	table *projections.Table
	rows  [][]any
}

func (r *recording) Create(ctx context.Context, v projections.View) (projections.Generation, error) {
	g, err := r.Engine.Create(ctx, v)
	r.gens[v.Name()] = &recorder{Generation: g}
	return r.gens[v.Name()], err
}

func (r *recorder) Commit(ctx context.Context, from, to projections.Checkpoint, c *projections.Changes) error {
	var b batch
	for _, s := range c.Segments() {
		for t, rows := range s.Each {
			w := write{table: t}
			for _, row := range rows {
				values := make([]any, len(row.Values))
				for i, v := range row.Values {
					values[i] = v.Any()
				}
				w.rows = append(w.rows, values)
			}
			b = append(b, w)
		}
	}
	r.batches = append(r.batches, b)
	return r.Generation.Commit(ctx, from, to, c)
}

// BenchmarkRebuild rebuilds all views from a log of 1 M records (set
// LETHE_BENCH_RECORDS for more) and then writes the same rows in the same
// batches, with the same statements, to bare SQLite files: two files at a time,
// and one after another.
func BenchmarkRebuild(b *testing.B) {
	records := 1_000_000
	if s := os.Getenv("LETHE_BENCH_RECORDS"); s != "" {
		records, _ = strconv.Atoi(s)
	}
	w := traffic(records)
	opt := options()
	for b.Loop() {
		dir := b.TempDir()
		live, err := sqlite.New(dir, sqlite.OS{})
		if err != nil {
			b.Fatal(err)
		}
		ours := rebuildAll(b, w, live, opt)
		rec := &recording{gens: map[string]*recorder{}}
		if rec.Engine, err = sqlite.New(b.TempDir(), sqlite.OS{}); err != nil {
			b.Fatal(err)
		}
		rebuildAll(b, w, rec, opt)
		bare, rows := writeBare(b, rec, 2)
		serial, _ := writeBare(b, rec, 1)
		events := float64(w.End().Commit)
		b.ReportMetric(events/ours.wall.Seconds(), "events/s")
		b.ReportMetric(ours.cpu.Seconds()*1e6/events, "cpu-µs/event")
		b.ReportMetric(bare.wall.Seconds()/ours.wall.Seconds(), "bare2/ours")
		b.ReportMetric(serial.wall.Seconds()/ours.wall.Seconds(), "bare1/ours")
		b.ReportMetric(serial.cpu.Seconds()/ours.cpu.Seconds(), "bare/ours-cpu")
		b.ReportMetric(float64(rows), "rows")
	}
}

// cost of a piece of work: on a machine that others use, the CPU time says more
// than the clock.
type cost struct{ wall, cpu time.Duration }

func measure(f func()) cost {
	runtime.GC()
	start, used := time.Now(), cpuTime()
	f()
	return cost{wall: time.Since(start), cpu: cpuTime() - used}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func rebuildAll(b *testing.B, w *viewtest.Writer, engine projections.Engine, opt projections.Options) cost {
	b.Helper()
	ctx := b.Context()
	return measure(func() {
		var ps []projections.Consumer
		for _, v := range projections.Views() {
			g, err := engine.Create(ctx, v)
			check(b, err)
			defer func() { check(b, g.Close()) }()
			p, err := projections.NewProjection(ctx, v.Name(), g, v)
			check(b, err)
			ps = append(ps, p.Bulk())
		}
		check(b, projections.NewLoop(w.Log, opt, ps...).CatchUp(ctx, domain.End))
	})
}

// writeBare writes the recorded rows of all views, so many views at a time.
func writeBare(b *testing.B, rec *recording, parallel int) (cost, int) {
	b.Helper()
	dir, rows := b.TempDir(), 0
	var jobs []func() error
	for name, r := range rec.gens {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, name+".db")+"?_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=cache_size(-6144)")
		check(b, err)
		defer func() { check(b, db.Close()) }()
		db.SetMaxOpenConns(1)
		check(b, createBare(db, name))
		jobs = append(jobs, func() error { return r.replay(db) })
		for _, batch := range r.batches {
			for _, w := range batch {
				rows += len(w.rows)
			}
		}
	}
	return measure(func() {
		var g errgroup.Group
		g.SetLimit(parallel)
		for _, j := range jobs {
			g.Go(j)
		}
		check(b, g.Wait())
	}), rows
}

func createBare(db *sql.DB, name string) error {
	v, err := projections.NewView(name)
	if err != nil {
		return err
	}
	for _, s := range sqlite.Declarations(v) {
		if _, err := db.Exec(s); err != nil {
			return err
		}
	}
	return nil
}

func (r *recorder) replay(db *sql.DB) (err error) {
	stmts := map[string]*sql.Stmt{}
	defer func() {
		for _, s := range stmts {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, b := range r.batches {
		if _, err := db.Exec("BEGIN"); err != nil {
			return err
		}
		for _, w := range b {
			if err := w.replay(db, stmts); err != nil {
				return err
			}
		}
		if _, err := db.Exec("COMMIT"); err != nil {
			return err
		}
	}
	return nil
}

func (w write) replay(db *sql.DB, stmts map[string]*sql.Stmt) error {
	rows := w.rows
	for len(rows) > 0 {
		n := 1
		if len(rows) >= sqlite.RowsPerStatement {
			n = sqlite.RowsPerStatement
		}
		key := fmt.Sprint(w.table.Name, n)
		if stmts[key] == nil {
			s, err := db.Prepare(sqlite.Upsert(w.table, n)) //nolint:sqlclosecheck // replay closes it
			if err != nil {
				return err
			}
			stmts[key] = s
		}
		var args []any
		for _, r := range rows[:n] {
			args = append(args, r...)
		}
		if _, err := stmts[key].Exec(args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}
