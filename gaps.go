package lethe

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore/outbox"
	"github.com/lethe-ledger/lethe/gateway/recorder"
)

// gaps keeps what pools with on_ledger_failure: pass let pass unrecorded, until it
// stands in the log. It implements recorder.Gaps.
type gaps struct {
	book gapBook
	file *gapFile
	log  zerolog.Logger

	mu   sync.Mutex // protects owed, and orders the calls to book; the log may hold it up
	owed []owedGap
	n    atomic.Int64 // of owed
}

// An owedGap is a gap that is not in the log.
type owedGap struct {
	outbox.Debt
	open   bool // it goes on
	feared bool // nothing is missing yet
	kept   bool // the book has it as it is
}

// A gapBook keeps gaps across a restart and appends them.
type gapBook interface {
	// known are those kept by earlier processes, oldest first.
	known() []outbox.Debt
	// keep keeps a gap in place of what it kept under its id.
	keep(d outbox.Debt) error
	// note appends a gap that is kept, once, and forgets it.
	note(ctx context.Context, d outbox.Debt) error
	// forget withdraws what turned out to be none.
	forget(id domain.EventID) error
}

func newGaps(book gapBook, file *gapFile, log zerolog.Logger) *gaps {
	g := &gaps{book: book, file: file, log: log}
	for _, d := range book.known() {
		g.owed = append(g.owed, owedGap{Debt: d, kept: true})
	}
	g.tell()
	return g
}

// count is how many gaps are owed now, open ones included, and what is only feared
// not.
func (g *gaps) count() int64 { return g.n.Load() }

func (g *gaps) tell() {
	n := int64(0)
	for _, o := range g.owed {
		if !o.feared {
			n++
		}
	}
	g.n.Store(n)
}

// Owe implements recorder.Gaps.
func (g *gaps) Owe(gap recorder.Gap) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.tell()
	at := slices.IndexFunc(g.owed, func(o owedGap) bool { return o.ID == gap.ID })
	if gap.None() {
		if at >= 0 {
			g.owed = slices.Delete(g.owed, at, at+1)
		}
		return g.book.forget(gap.ID)
	}
	if at < 0 {
		at = len(g.owed)
		g.owed = append(g.owed, owedGap{feared: true})
	}
	if g.owed[at].feared && !gap.Feared {
		g.log.Warn().Str("pool", gap.Pool).Msg("the log takes no more: traffic passes unrecorded, and is counted")
	}
	d := debtOf(gap)
	g.owed[at] = owedGap{Debt: d, open: gap.Open, feared: gap.Feared}
	if err := g.book.keep(d); err != nil {
		return fmt.Errorf("a gap of pool %s is kept in memory only: %w", d.Pool, err)
	}
	g.owed[at].kept = true
	return nil
}

// debtOf rounds what will lie in clear: bytes as FORMAT §3 wants it, times to whole
// seconds around the gap.
func debtOf(g recorder.Gap) outbox.Debt {
	return outbox.Debt{
		ID: g.ID, Pool: g.Pool, From: g.From.Unix(), To: g.To.Add(time.Second - 1).Unix(), Connections: g.Connections,
		Bytes: int64(domain.Padme(uint64(g.Bytes))), //nolint:gosec // a sum of sizes
	}
}

// Pay implements recorder.Gaps.
func (g *gaps) Pay(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := 0; i < len(g.owed); {
		o := &g.owed[i]
		if o.open {
			i++
			continue
		}
		if !o.kept {
			if err := g.book.keep(o.Debt); err != nil {
				return err
			}
			o.kept = true
		}
		if err := g.book.note(ctx, o.Debt); err != nil {
			return fmt.Errorf("noting a gap of pool %s: %w", o.Pool, err)
		}
		g.log.Warn().Str("pool", o.Pool).Int64("connections", o.Connections).Int64("seconds", o.To-o.From).Msg("a gap in the record is noted in the log")
		g.owed = slices.Delete(g.owed, i, i+1)
		g.tell()
	}
	return nil
}

func (g *gaps) close() error { return g.file.close() }
