package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
)

// A rebuildResult is how fast views are made anew.
type rebuildResult struct {
	conditions
	Records int           `json:"records"`
	Events  int64         `json:"events"`
	Fold    spread        `json:"fold_events_per_s"`
	Whole   spread        `json:"rebuild_events_per_s"` // comparison and swap included
	CPU     spread        `json:"fold_cpu_us_per_event"`
	Ratio   spread        `json:"bare_ratio"`
	Rows    int           `json:"rows"`
	BareRow spread        `json:"bare_rows_per_s"`
	Peaks   []rebuildPeak `json:"peaks"`
}

// A rebuildPeak is the most memory that a process which rebuilds ever had.
type rebuildPeak struct {
	Records int     `json:"records"`
	MiB     float64 `json:"peak_rss_mib"`
}

func (r *rebuildResult) sheets() []*sheet {
	s := spreadSheet("figure", "unit")
	s.with(r.Fold, "reading, verifying, folding, writing", "events/s")
	s.with(r.CPU, "the same", "CPU µs/event")
	s.with(r.Whole, "whole rebuild, with comparison and swap", "events/s")
	s.with(r.BareRow, "bare SQLite, the same rows", "rows/s")
	s.with(r.Ratio, "bare SQLite ÷ ours", "seconds ÷ seconds")
	s.after = fmt.Sprintf("%d events of 64 records; %d rows", r.Events, r.Rows)
	m := newSheet("", "records in the log", "peak RSS MiB")
	for _, p := range r.Peaks {
		m.add(p.Records, figure(p.MiB))
	}
	return []*sheet{s, m}
}

// benchRebuild rebuilds all views from a real log, each time in a process of its
// own, and writes the rows of one rebuild to bare SQLite.
func benchRebuild(ctx context.Context, b *bench) ([]result, error) {
	r := &rebuildResult{}
	r.Notes = "all views, a log of the embedded store, every tag verified, 64 records an event, 10,000 people"
	for _, records := range pick(b.quick, []int{20_000, 50_000}, []int{1_000_000, 4_000_000, 10_000_000}) {
		data := filepath.Join(b.dir, strconv.Itoa(records))
		if err := b.writeLog(ctx, data, records); err != nil {
			return nil, err
		}
		r.Records = records
		f, err := b.fold(ctx, data, false)
		if err != nil {
			return nil, err
		}
		r.Peaks = append(r.Peaks, rebuildPeak{records, round3(f.Peak / 1024)})
	}
	var fold, cpu, whole, bare, rows []float64
	for range b.runsOr(3) {
		f, err := b.fold(ctx, filepath.Join(b.dir, strconv.Itoa(r.Records)), true)
		if err != nil {
			return nil, err
		}
		r.Events, r.Rows = f.Events, f.Rows
		fold, whole = append(fold, float64(f.Events)/f.Fold), append(whole, float64(f.Events)/f.Whole)
		cpu = append(cpu, f.CPU/float64(f.Events))
		bare, rows = append(bare, f.Bare/f.Fold), append(rows, float64(f.Rows)/f.Bare)
	}
	r.Fold, r.CPU, r.Whole, r.Ratio, r.BareRow = spreadOf(fold), spreadOf(cpu), spreadOf(whole), spreadOf(bare), spreadOf(rows)
	r.atLeast("bare SQLite ÷ ours", r.Ratio.Median, 0.5)
	r.atLeast("events/s", r.Fold.Median, 100_000)
	r.atMost("peak RSS, most records ÷ fewest", r.Peaks[len(r.Peaks)-1].MiB/r.Peaks[0].MiB, 1.1)
	return []result{r}, nil
}

func (b *bench) writeLog(ctx context.Context, data string, records int) error {
	w, err := openWorld(ctx, data)
	if err != nil {
		return err
	}
	people, err := w.enrol(ctx, pick(b.quick, 200, 10_000))
	if err == nil {
		_, err = w.flood(ctx, people, newBlocks(64), func(n int) bool { return n*64 >= records })
	}
	return errors.Join(err, w.noteTime(ctx), w.Close())
}

// fold runs one rebuild in a process of its own.
func (b *bench) fold(ctx context.Context, data string, bare bool) (f folded, err error) {
	args := []string{"--data", data}
	if bare {
		args = append(args, "--bare")
		if b.profile != "" {
			args = append(args, "--profile", b.profile)
		}
	}
	c, err := b.startChild(ctx, &f, "fold", args...)
	if err != nil {
		return f, err
	}
	return f, c.stop()
}
