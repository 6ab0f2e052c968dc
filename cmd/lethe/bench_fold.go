package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
)

// Folded is what one process that rebuilt all views says.
type folded struct {
	Events int64   `json:"events"`
	Fold   float64 `json:"fold_s"` // from the log to rows
	CPU    float64 `json:"fold_cpu_us"`
	Whole  float64 `json:"whole_s"` // comparison and swap included
	Peak   float64 `json:"peak_kib"`
	Rows   int     `json:"rows"`
	Bare   float64 `json:"bare_s"` // the same rows in bare SQLite
}

// benchFold rebuilds all views of a log.
func (p *program) benchFold() *cobra.Command {
	var bare bool
	c := &cobra.Command{Use: "fold", Args: cobra.NoArgs}
	c.Flags().BoolVar(&bare, "bare", false, "write the same rows to bare SQLite, too")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		profile, err := cmd.Flags().GetString("profile")
		if err != nil {
			return err
		}
		f, err := foldLog(cmd.Context(), p.data, bare, profile)
		if err != nil {
			return err
		}
		return converse(p.in, p.out, f, func(order) (any, error) { return nil, errors.New("folding takes no orders") })
	})
	return c
}

func foldLog(ctx context.Context, data string, bare bool, profile string) (f folded, err error) {
	w, err := openWorld(ctx, data)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	scratch, err := os.MkdirTemp(data, "fold-")
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if err := profiled(profile, func() error { return f.rebuild(ctx, w, filepath.Join(scratch, "views")) }); err != nil {
		return f, err
	}
	u, err := ownUsage()
	f.Peak = u.Peak
	if err != nil || !bare {
		return f, err
	}
	return f, f.beside(ctx, w, scratch)
}

func (w *world) loop() projections.Options {
	return projections.Options{Ledger: w.ID, Verify: w.Verify, Pause: wait}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// rebuild is `lethe views rebuild --all`: a new generation of each view, compared
// with the one that serves, and swapped.
func (f *folded) rebuild(ctx context.Context, w *world, dir string) (err error) {
	engine, err := sqlite.New(dir, sqlite.OS{})
	if err != nil {
		return err
	}
	p, err := projections.Open(ctx, w.store, engine, w.loop())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := p.CatchUp(ctx); err != nil {
		return err
	}
	began := time.Now()
	done, err := p.Rebuild(ctx, nil)
	f.Whole = time.Since(began).Seconds()
	if err == nil {
		f.Events = done[0].Events
	}
	return err
}

// beside measures the loop and bare SQLite in turn: once to time the loop, once
// to keep its rows, and then those rows alone.
func (f *folded) beside(ctx context.Context, w *world, scratch string) error {
	ours, err := sqlite.New(filepath.Join(scratch, "ours"), sqlite.OS{})
	if err != nil {
		return err
	}
	before, err := ownUsage()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := foldInto(ctx, w, ours); err != nil {
		return err
	}
	f.Fold = time.Since(began).Seconds()
	after, err := ownUsage()
	if err != nil {
		return err
	}
	f.CPU = after.CPU - before.CPU
	k := &keeping{kept: map[string]*kept{}}
	if k.Engine, err = sqlite.New(filepath.Join(scratch, "kept"), sqlite.OS{}); err != nil {
		return err
	}
	if err := foldInto(ctx, w, k); err != nil {
		return err
	}
	bare := filepath.Join(scratch, "bare")
	if err := os.Mkdir(bare, 0o700); err != nil {
		return err
	}
	f.Bare, f.Rows, err = k.writeBare(ctx, bare)
	return err
}

// foldInto makes one generation of every view from the whole log.
func foldInto(ctx context.Context, w *world, engine projections.Engine) (err error) {
	var list []projections.Consumer
	for _, v := range projections.Views() {
		g, err := engine.Create(ctx, v)
		if err != nil {
			return err
		}
		defer g.Close() //nolint:errcheck // what was flushed is what counts
		p, err := projections.NewProjection(ctx, v.Name(), g, v)
		if err != nil {
			return err
		}
		list = append(list, p.Bulk())
	}
	return projections.NewLoop(w.store, w.loop(), list...).CatchUp(ctx, domain.End)
}
