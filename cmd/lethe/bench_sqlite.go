package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite" // the driver that the views use

	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
)

// Keeping is an engine that also keeps what it is asked to write, to write it
// again bare.
type keeping struct {
	projections.Engine
	kept map[string]*kept
}

// Kept are the batches of one view's generation.
type kept struct {
	projections.Generation
	view    projections.View
	batches [][]rowsOf
}

// RowsOf are the rows of one table in one batch.
type rowsOf struct {
	table *projections.Table
	rows  [][]any
}

// Create implements projections.Engine.
func (k *keeping) Create(ctx context.Context, v projections.View) (projections.Generation, error) {
	g, err := k.Engine.Create(ctx, v)
	k.kept[v.Name()] = &kept{Generation: g, view: v}
	return k.kept[v.Name()], err
}

// Commit implements projections.Generation.
func (k *kept) Commit(ctx context.Context, from, to projections.Checkpoint, c *projections.Changes) error {
	var batch []rowsOf
	for _, s := range c.Segments() {
		for t, rows := range s.Each {
			r := rowsOf{table: t}
			for _, row := range rows {
				values := make([]any, len(row.Values))
				for i, v := range row.Values {
					values[i] = v.Any()
				}
				r.rows = append(r.rows, values)
			}
			batch = append(batch, r)
		}
	}
	k.batches = append(k.batches, batch)
	return k.Generation.Commit(ctx, from, to, c)
}

// bareOptions are those under which a generation is built before it serves.
const bareOptions = "?_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=cache_size(-16384)"

// writeBare writes all views at once, as the loop does, with its statements.
func (k *keeping) writeBare(ctx context.Context, dir string) (seconds float64, rows int, err error) {
	var dbs []*sql.DB
	defer func() {
		for _, db := range dbs {
			err = errors.Join(err, db.Close())
		}
	}()
	g, ctx := errgroup.WithContext(ctx)
	var jobs []func() error
	for name, view := range k.kept {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, name+".db")+bareOptions)
		if err != nil {
			return 0, 0, err
		}
		dbs = append(dbs, db)
		db.SetMaxOpenConns(1)
		for _, s := range sqlite.Declarations(view.view) {
			if _, err := db.ExecContext(ctx, s); err != nil {
				return 0, 0, err
			}
		}
		jobs = append(jobs, func() error { return view.replay(ctx, db) })
		rows += view.count()
	}
	began := time.Now()
	for _, job := range jobs {
		g.Go(job)
	}
	err = g.Wait()
	return time.Since(began).Seconds(), rows, err
}

func (k *kept) count() (n int) {
	for _, b := range k.batches {
		for _, r := range b {
			n += len(r.rows)
		}
	}
	return n
}

// A bareWriter holds the statements that one database has prepared.
type bareWriter struct {
	db         *sql.DB
	statements map[string]*sql.Stmt
}

func (k *kept) replay(ctx context.Context, db *sql.DB) (err error) {
	w := &bareWriter{db: db, statements: map[string]*sql.Stmt{}}
	defer func() {
		for _, s := range w.statements {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, batch := range k.batches {
		if _, err := db.ExecContext(ctx, "BEGIN"); err != nil {
			return err
		}
		for _, r := range batch {
			if err := w.write(ctx, r); err != nil {
				return err
			}
		}
		if _, err := db.ExecContext(ctx, "COMMIT"); err != nil {
			return err
		}
	}
	return nil
}

func (w *bareWriter) write(ctx context.Context, r rowsOf) error {
	for rest := r.rows; len(rest) > 0; {
		n := 1
		if len(rest) >= sqlite.RowsPerStatement {
			n = sqlite.RowsPerStatement
		}
		s, err := w.statement(ctx, r.table, n) //nolint:sqlclosecheck // replay closes all of them
		if err != nil {
			return err
		}
		var args []any
		for _, row := range rest[:n] {
			args = append(args, row...)
		}
		if _, err := s.ExecContext(ctx, args...); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func (w *bareWriter) statement(ctx context.Context, t *projections.Table, n int) (*sql.Stmt, error) {
	key := fmt.Sprint(t.Name, n)
	if s := w.statements[key]; s != nil {
		return s, nil
	}
	s, err := w.db.PrepareContext(ctx, sqlite.Upsert(t, n))
	if err == nil {
		w.statements[key] = s
	}
	return s, err
}
