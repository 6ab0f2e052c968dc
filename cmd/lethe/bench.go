package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// A bench is one call of a benchmark: how much it does, and where it may write.
type bench struct {
	p *program

	quick       bool
	markdown    bool
	connections int
	runs        int
	seconds     float64
	scratch     string // --scratch
	profile     string // --profile
	dir         string // below scratch; removed at the end
}

// A result is what one benchmark found.
type result interface {
	of() *conditions
	// sheets are the figures for people, without the conditions.
	sheets() []*sheet
}

// A trial is one benchmark.
type trial struct {
	name, short string
	run         func(context.Context, *bench) ([]result, error)
}

func trials() []trial {
	return []trial{
		{"gateway", "CPU of the gateway per message, ledger on and off", benchGateway},
		{"idle", "memory of an idle proxied connection", benchIdle},
		{"record", "message records sealed and durable a second; single appends beside bare Pebble", benchRecord},
		{"erase", "erasing a person with few and with many records", benchErase},
		{"rebuild", "rebuilding all views, beside bare SQLite", benchRebuild},
		{"disk", "bytes on disk per message record", benchDisk},
		{"latency", "what the ledger adds to latency at a quarter of saturation", benchLatency},
		{"common", "as many connections as fit, one message a second each", benchCommon},
	}
}

func (p *program) bench() *cobra.Command {
	b := &bench{p: p}
	subs := []*cobra.Command{b.command("all", "All of them, one after another", trials()...)}
	for _, t := range trials() {
		subs = append(subs, b.command(t.name, t.short, t))
	}
	c := group("bench", "Measure this machine", append(subs, p.benchChildren()...)...)
	flags := c.PersistentFlags()
	flags.BoolVar(&b.quick, "quick", false, "do as little as shows that it works; the figures mean nothing")
	flags.BoolVar(&b.markdown, "markdown", false, "print tables in Markdown")
	flags.IntVar(&b.connections, "connections", 0, "`N` connections (default: each benchmark's own)")
	flags.IntVar(&b.runs, "runs", 0, "`N` runs of which the spread is told (default: each benchmark's own)")
	flags.Float64Var(&b.seconds, "seconds", 0, "`N` seconds of load a run (default: each benchmark's own)")
	flags.StringVar(&b.scratch, "scratch", "", "`DIR` below which to write, on the disk to measure (default: the temporary directory)")
	flags.StringVar(&b.profile, "profile", "", "`FILE` for a profile of the process that is measured: CPU, or the heap for idle")
	return c
}

func (b *bench) command(name, short string, list ...trial) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs}
	c.RunE = b.p.do(func(cmd *cobra.Command, _ []string) error {
		for _, t := range list {
			if err := b.measure(cmd.Context(), t); err != nil {
				return fmt.Errorf("bench %s: %w", t.name, err)
			}
		}
		return nil
	})
	return c
}

// measure runs one benchmark in a directory of its own and tells what it found.
func (b *bench) measure(ctx context.Context, t trial) (err error) {
	if b.dir, err = os.MkdirTemp(b.scratch, "lethe-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	_, _ = fmt.Fprintf(b.p.err, "bench %s: %s\n", t.name, t.short)
	before, began := loadAverage(), time.Now()
	results, err := t.run(ctx, b)
	if err != nil {
		return err
	}
	for _, r := range results {
		c := r.of()
		c.Bench, c.Machine, c.LoadBefore, c.LoadAfter = t.name, thisMachine(), before, loadAverage()
		c.Took = time.Since(began).Round(time.Second).String()
		if err := b.show(r); err != nil {
			return err
		}
	}
	return nil
}

// show prints a result: one JSON object a line, or tables.
func (b *bench) show(r result) error {
	tables := append([]*sheet{r.of().sheet()}, r.sheets()...)
	if !b.markdown || b.p.json {
		if err := b.p.emit(r, tables...); err != nil || b.p.json {
			return err
		}
		_, err := fmt.Fprintln(b.p.out)
		return err
	}
	for _, t := range tables {
		if _, err := fmt.Fprintf(b.p.out, "%s\n\n", markdownOf(t)); err != nil {
			return err
		}
	}
	return nil
}

// The figures of one benchmark, scaled by flags.

func (b *bench) connectionsOr(n, quick int) int {
	if b.connections > 0 {
		return b.connections
	}
	return pick(b.quick, quick, n)
}

func (b *bench) runsOr(n int) int {
	if b.runs > 0 {
		return b.runs
	}
	return pick(b.quick, 1, n)
}

func (b *bench) secondsOr(s float64) float64 {
	if b.seconds > 0 {
		return b.seconds
	}
	return pick(b.quick, 0.3, s)
}

func pick[T any](quick bool, few, many T) T {
	if quick {
		return few
	}
	return many
}
