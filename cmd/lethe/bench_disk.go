package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/lethe-ledger/lethe/eventstore/embedded"
)

// A diskResult is what message records cost on disk.
type diskResult struct {
	conditions
	Sizes []diskFigure `json:"sizes"`
}

// A diskFigure is that of one number of records an event.
type diskFigure struct {
	PerEvent       int     `json:"records_per_event"`
	Records        int     `json:"records"`
	LogBytes       int64   `json:"log_bytes"`
	KeyBytes       int64   `json:"key_bytes"`
	BytesPerRecord float64 `json:"bytes_per_record"`
	BytesPerEvent  float64 `json:"bytes_per_event"`
}

func (r *diskResult) sheets() []*sheet {
	s := newSheet("", "records an event", "records", "log MiB", "keys MiB", "log bytes/record", "log bytes/event")
	for _, f := range r.Sizes {
		s.add(f.PerEvent, f.Records, figure(float64(f.LogBytes)/(1<<20)), figure(float64(f.KeyBytes)/(1<<20)), figure(f.BytesPerRecord), figure(f.BytesPerEvent))
	}
	return []*sheet{s}
}

// benchDisk writes logs and weighs them.
func benchDisk(ctx context.Context, b *bench) ([]result, error) {
	r := &diskResult{}
	r.Notes = "the whole log directory: tables, write-ahead log, manifests; after a restart, and when its size has stood still for 3 s; keys beside it are those of the people, not of the records"
	for _, size := range []struct{ n, events int }{{1, 400_000}, {16, 400_000}, {64, 400_000}, {256, 150_000}} {
		f, err := b.weigh(ctx, size.n, pick(b.quick, 2_000, size.events))
		if err != nil {
			return nil, err
		}
		r.Sizes = append(r.Sizes, f)
		switch size.n {
		case 64:
			r.atMost("bytes a record at 64 an event", f.BytesPerRecord, 20)
		case 256:
			r.atMost("bytes a record at 256 an event", f.BytesPerRecord, 12)
		}
	}
	return []result{r}, nil
}

func (b *bench) weigh(ctx context.Context, perEvent, events int) (f diskFigure, err error) {
	data := filepath.Join(b.dir, strconv.Itoa(perEvent))
	w, err := openWorld(ctx, data)
	if err != nil {
		return f, err
	}
	people, err := w.enrol(ctx, pick(b.quick, 200, 10_000))
	n := 0
	if err == nil {
		n, err = w.flood(ctx, people, newBlocks(perEvent), func(n int) bool { return n >= events })
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return f, err
	}
	f = diskFigure{PerEvent: perEvent, Records: n * perEvent}
	if f.LogBytes, err = settledSize(ctx, filepath.Join(data, "log"), pick(b.quick, 100*time.Millisecond, 3*time.Second)); err != nil {
		return f, err
	}
	f.KeyBytes, err = treeSize(filepath.Join(data, "keys"))
	f.BytesPerRecord, f.BytesPerEvent = round3(float64(f.LogBytes)/float64(f.Records)), round3(float64(f.LogBytes)/float64(n))
	return f, errors.Join(err, os.RemoveAll(data))
}

// settledSize opens a log, which writes out what stood in the write-ahead log
// only, waits until compactions have left its size alone for a while, and weighs
// it closed.
func settledSize(ctx context.Context, log string, still time.Duration) (int64, error) {
	s, err := embedded.Open(log, embedded.Options{Clock: time.Now}) //nolint:contextcheck // a store lives until Close
	if err != nil {
		return 0, err
	}
	last, since := int64(-1), time.Now()
	for err == nil && time.Since(since) < still {
		var now int64
		if now, err = treeSize(log); now != last {
			last, since = now, time.Now()
		}
		err = errors.Join(err, ctx.Err())
		time.Sleep(50 * time.Millisecond)
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return 0, err
	}
	return treeSize(log)
}

// treeSize adds up the blocks that the files below dir occupy; those that vanish
// meanwhile count nothing.
func treeSize(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return gone(err)
		}
		info, err := d.Info()
		if err == nil {
			total += occupied(info)
		}
		return gone(err)
	})
	return total, err
}

func occupied(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512 // of stat(2), whatever the file system's own
	}
	return info.Size()
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
