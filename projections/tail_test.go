package projections_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// kept is a sink in memory: its events and their positions are stored as they come.
type kept struct {
	mu     sync.Mutex
	at     domain.Recorded
	events []domain.Position
	// before, if set, is called with each Append.
	before func() error
}

func (k *kept) Last() (domain.Position, domain.EventID, domain.Stream, domain.Revision) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.at.Position, k.at.ID(), k.at.Stream(), k.at.Revision
}

func (k *kept) Append(_ context.Context, events []domain.Recorded) error {
	if k.before != nil {
		if err := k.before(); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range events {
		k.events = append(k.events, e.Position)
	}
	k.at = events[len(events)-1]
	return nil
}

func (k *kept) Reload(context.Context) error { return nil }

func (k *kept) positions() []domain.Position {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.events)
}

// checks counts how often each event was verified.
type checks struct {
	mu sync.Mutex
	n  map[domain.Position]int
}

func (c *checks) verify(r domain.Recorded) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[r.Position]++
	return viewtest.Verify(r)
}

// most is how often an event behind a position was verified at most.
func (c *checks) most(after domain.Position) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, times := range c.n {
		if after.Before(at) {
			n = max(n, times)
		}
	}
	return n
}

// running starts loops and returns what each ended with, in their order.
func running(t *testing.T, loops ...func(context.Context) error) (stop func() []error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make([]error, len(loops))
	var all sync.WaitGroup
	for i, run := range loops {
		all.Go(func() { ended[i] = run(ctx) })
	}
	return func() []error {
		cancel()
		all.Wait()
		return ended
	}
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// ours are the positions that a sink should have seen.
func ours(t *testing.T, w *viewtest.Writer) (all []domain.Position) {
	t.Helper()
	k := &kept{}
	check(t, projections.NewSinkLoop(w, options(), "all", k).CatchUp(t.Context(), domain.End))
	return k.positions()
}

func shared(w projections.Source, opt projections.Options) projections.Options {
	opt.Tail = projections.NewTail(w, opt)
	return opt
}

func views(t *testing.T, w projections.Source, opt projections.Options) *projections.Projector {
	t.Helper()
	e, err := sqlite.New(t.TempDir(), sqlite.OS{})
	check(t, err)
	p, err := projections.Open(t.Context(), w, e, opt)
	check(t, err)
	t.Cleanup(func() { check(t, p.Close()) })
	return p
}

func foreign(w *viewtest.Writer) {
	w.Append(domain.NewSealed(domain.New[domain.EventID](), "other.app", "thing.done.v1", []byte("?"), []byte("?")))
}

func TestTwoLoopsReadTheLogOnce(t *testing.T) {
	w, c := viewtest.NewWriter(), &checks{n: map[domain.Position]int{}}
	opt := options()
	opt.Verify = c.verify
	opt = shared(w, opt)
	p, k := views(t, w, opt), &kept{}
	stop := running(t, p.Run, projections.NewSinkLoop(w, opt, "leaves", k).Run)
	first := some(w, 1)
	wait(t, p, first.Position)
	until(t, "the sink", func() bool { return len(k.positions()) == 2 })
	last := first
	for n := range 50 {
		last = some(w, 1+n%7)
		foreign(w)
		time.Sleep(time.Duration(n%3) * time.Millisecond)
	}
	wait(t, p, last.Position)
	until(t, "the sink", func() bool { at, _, _, _ := k.Last(); return at == last.Position })
	check(t, errors.Join(stop()...))
	if n := c.most(first.Position); n != 1 {
		t.Fatalf("an event was verified %d times for two loops", n)
	}
	if got, want := k.positions(), ours(t, w); !slices.Equal(got, want) {
		t.Fatalf("the sink saw %d events, want %d, or others", len(got), len(want))
	}
}

// Loops that begin apart, fall far behind, fail and end come to every event once.
func TestEachFollowerSeesEveryEventOnce(t *testing.T) {
	w := viewtest.NewWriter()
	some(w, 1000)
	opt := shared(w, options())
	var sinks []*kept
	var loops []func(context.Context) error
	release := make(chan struct{})
	for i := range 5 {
		k, n := &kept{}, 0
		switch i {
		case 1: // begins at the end
			check(t, projections.NewSinkLoop(w, options(), "early", k).CatchUp(t.Context(), domain.End))
		case 2: // stands still while more is written than a Tail keeps
			k.before = func() error { <-release; return nil }
		case 3, 4: // fails often
			k.before = func() error {
				if n++; n%(i-1) == 0 {
					return fmt.Errorf("append %d: %w", n, domain.ErrUnavailable)
				}
				return nil
			}
		}
		o := opt
		o.Batch = []int{0, 7, 100, 64, 4096}[i]
		sinks = append(sinks, k)
		loops = append(loops, projections.NewSinkLoop(w, o, fmt.Sprintf("sink %d", i), k).Run)
	}
	stop := running(t, loops...)
	for range 20 {
		some(w, 1000)
		foreign(w)
	}
	last := some(w, 1)
	reached := func(k *kept) func() bool {
		return func() bool { at, _, _, _ := k.Last(); return at == last.Position }
	}
	until(t, "the first sink", reached(sinks[0]))
	close(release)
	for i, k := range sinks {
		until(t, fmt.Sprintf("sink %d", i), reached(k))
	}
	last = some(w, 3)
	for i, k := range sinks {
		until(t, fmt.Sprintf("sink %d, once more", i), reached(k))
	}
	check(t, errors.Join(stop()...))
	want := ours(t, w)
	for i, k := range sinks {
		if got := k.positions(); !slices.Equal(got, want) {
			t.Errorf("sink %d saw %d events, want %d, or others", i, len(got), len(want))
		}
	}
}

func TestWhatStopsOneLoopDoesNotStopTheOther(t *testing.T) {
	lost := errors.New("the sink is lost")
	for _, c := range []struct {
		name        string
		bad         func(w *viewtest.Writer, k *kept)
		views, sink error
	}{
		{"an unknown type", func(w *viewtest.Writer, _ *kept) {
			s := w.Seal(w.Streams.Policy(), domain.NodeClosed, domain.Envelope{Facts: domain.NewFacts(domain.UUID("writer", domain.WriterID{6: 0x40, 8: 0x80}))}, "LTH\x01\x01")
			w.Append(retyped(s, "node.closed.v2"))
		}, domain.ErrUnknownType, nil},
		{"a bad tag", func(w *viewtest.Writer, _ *kept) {
			w.Append(domain.NewSealed(domain.New[domain.EventID](), w.Streams.Policy(), domain.TimeNoted, []byte("{}"), []byte("LTH\x01\x01 and no tag")))
		}, domain.ErrTampered, domain.ErrTampered},
		{"a sink that fails for good", func(_ *viewtest.Writer, k *kept) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.before = func() error { return lost }
		}, nil, lost},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, k := viewtest.NewWriter(), &kept{}
			opt := shared(w, options())
			p := views(t, w, opt)
			before := some(w, 10)
			sink := projections.NewSinkLoop(w, opt, "leaves", k)
			check(t, errors.Join(p.CatchUp(t.Context()), sink.CatchUp(t.Context(), domain.End)))
			c.bad(w, k)
			last := some(w, 10)
			stop := running(t, p.Run, sink.Run)
			if c.views == nil {
				wait(t, p, last.Position)
			} else {
				until(t, "the views to stop", func() bool { return p.Err() != nil })
			}
			if c.sink == nil {
				until(t, "the sink", func() bool { at, _, _, _ := k.Last(); return at == last.Position })
			}
			time.Sleep(20 * time.Millisecond)
			ended := stop()
			if !errors.Is(ended[0], c.views) || !errors.Is(ended[1], c.sink) {
				t.Fatalf("the views ended with %v, want %v; the sink with %v, want %v", ended[0], c.views, ended[1], c.sink)
			}
			if at, _, _, _ := k.Last(); c.sink != nil && at != before.Position {
				t.Fatalf("the sink stands at %s, want %s", at, before.Position)
			}
			if c.views != nil && position(t, p) != before.Position.Commit {
				t.Fatalf("the views stand at %d, want %s", position(t, p), before.Position)
			}
			if c.sink == nil && !slices.Equal(k.positions(), ours(t, w)) {
				t.Fatalf("the sink saw %d events, or others than the log has", len(k.positions()))
			}
		})
	}
}

// Loops that wait for the same event take turns: none reads what another has read.
func TestFollowersAtTheEndTakeTurns(t *testing.T) {
	w, c := viewtest.NewWriter(), &checks{n: map[domain.Position]int{}}
	opt := options()
	opt.Verify, opt.Batch = c.verify, 1
	opt = shared(w, opt)
	sinks := make([]*kept, 8)
	var loops []func(context.Context) error
	for i := range sinks {
		sinks[i] = &kept{}
		loops = append(loops, projections.NewSinkLoop(w, opt, fmt.Sprintf("sink %d", i), sinks[i]).Run)
	}
	reached := func(at domain.Position) func() bool {
		return func() bool {
			return !slices.ContainsFunc(sinks, func(k *kept) bool { last, _, _, _ := k.Last(); return last != at })
		}
	}
	stop := running(t, loops...)
	first := some(w, 1)
	until(t, "all sinks", reached(first.Position))
	last := first
	for range 300 {
		for range 10 {
			last = some(w, 1)
		}
		until(t, "all sinks", reached(last.Position))
	}
	check(t, errors.Join(stop()...))
	for i, k := range sinks {
		if !slices.Equal(k.positions(), ours(t, w)) {
			t.Errorf("sink %d saw %d events, want %d, or others", i, len(k.positions()), w.End().Commit)
		}
	}
	if n := c.most(first.Position); n != 1 {
		t.Errorf("an event was verified %d times for %d loops", n, len(sinks))
	}
}
