package postgres_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/postgres"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

func named(t *testing.T, url, name string, lease time.Duration) *postgres.Engine {
	t.Helper()
	e, err := postgres.Open(t.Context(), url, postgres.Options{Name: name, Lease: lease})
	check(t, err)
	t.Cleanup(func() { check(t, e.Close()) })
	return e
}

func TestOneLeadsAndTheOthersAreToldWho(t *testing.T) {
	url := database(t)
	a, b := named(t, url, "node-a", time.Second), named(t, url, "node-b", time.Second)
	lasting, give, err := a.Lead(t.Context())
	check(t, err)
	_, again, err := a.Lead(t.Context())
	check(t, err)
	for begun := time.Now(); time.Since(begun) < 3*time.Second; time.Sleep(50 * time.Millisecond) {
		if _, _, err := b.Lead(t.Context()); !errors.Is(err, projections.ErrActive) || !strings.Contains(err.Error(), "node-a") {
			t.Fatalf("while node-a leads, node-b got %v", err)
		}
		check(t, lasting.Err())
	}
	give()
	give()
	if _, _, err := b.Lead(t.Context()); !errors.Is(err, projections.ErrActive) {
		t.Fatalf("node-a gave one of two back, but node-b got %v", err)
	}
	again()
	if lasting.Err() == nil {
		t.Fatal("what was given back lasts")
	}
	_, give, err = b.Lead(t.Context())
	check(t, err)
	give()
}

// TestOneThatHangsInATransactionIsReplaced freezes everything that a projector
// sends and hears, while it holds the checkpoint's row.
func TestOneThatHangsInATransactionIsReplaced(t *testing.T) {
	const lease = 1500 * time.Millisecond
	url := database(t)
	h := history(8)
	h.Steps(300)
	through := newProxy(t, ofRows, func(n int) fate { return map[bool]fate{true: frozen}[n == 4] })
	opt := options()
	opt.Batch = 10
	a, err := projections.Open(t.Context(), h, named(t, through.url(url), "node-a", lease), opt)
	check(t, err)
	b, err := projections.Open(t.Context(), h, named(t, url, "node-b", lease), opt)
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { ended(t, a.Run(ctx)) })
	defer func() {
		cancel()
		running.Wait()
		check(t, errors.Join(a.Close(), b.Close()))
	}()
	<-through.frozen
	begun := time.Now()
	running.Go(func() { ended(t, b.Run(ctx)) })
	wait(t, b, h.End())
	took := time.Since(begun)
	t.Logf("taken over and caught up in %s", took)
	if took < lease/3 || took > 10*lease {
		t.Errorf("taken over in %s with a lease of %s", took, lease)
	}
	same(t, "after a hang", digests(t, b), onSQLite(t, h))
}

func ended(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}

// TestManyAskForTheLeadAtOnce: one of them has it.
func TestManyAskForTheLeadAtOnce(t *testing.T) {
	url := database(t)
	var nodes [6]*postgres.Engine
	for i := range nodes {
		nodes[i] = named(t, url, "node", 10*time.Second)
	}
	for range 20 {
		var have atomic.Int64
		var asking sync.WaitGroup
		gives := make(chan func(), len(nodes))
		for _, e := range nodes {
			asking.Go(func() {
				switch _, give, err := e.Lead(context.Background()); {
				case err == nil:
					have.Add(1)
					gives <- give
				case !errors.Is(err, projections.ErrActive):
					t.Error(err)
				}
			})
		}
		asking.Wait()
		close(gives)
		for give := range gives {
			give()
		}
		if have.Load() != 1 {
			t.Fatalf("%d have the lead", have.Load())
		}
	}
}

// TestTwoThatBelieveToBeActiveWriteNothingTwice lets two projectors write the
// same views at once, both without the lead.
func TestTwoThatBelieveToBeActiveWriteNothingTwice(t *testing.T) {
	url := database(t)
	w := viewtest.NewWriter()
	opt := options()
	opt.Batch = 30
	var pair [2]*projections.Projector
	for i := range pair {
		p, err := projections.Open(t.Context(), w, engine(t, url), opt)
		check(t, err)
		pair[i] = p
		t.Cleanup(func() { check(t, p.Close()) })
	}
	var refused [2]int
	for round := range 12 {
		traffic(w, 200)
		var both sync.WaitGroup
		for i, p := range pair {
			both.Go(func() {
				if i != round%2 {
					time.Sleep(2 * time.Millisecond) // each is the first in its turn
				}
				refused[i] += keepOn(t, p)
			})
		}
		both.Wait()
	}
	t.Logf("refused %d and %d times", refused[0], refused[1])
	if refused[0] == 0 || refused[1] == 0 {
		t.Error("the two never met")
	}
	want := onSQLite(t, w)
	same(t, "the first", digests(t, pair[0]), want)
	same(t, "the second", digests(t, pair[1]), want)
}

// keepOn catches up to the end whatever the other writes, and counts how often it
// was refused.
func keepOn(t *testing.T, p *projections.Projector) (refused int) {
	for {
		err := p.CatchUp(context.Background())
		switch {
		case err == nil:
			return refused
		case errors.Is(err, projections.ErrActive):
			refused++
		case !errors.Is(err, domain.ErrUnavailable):
			t.Error(err)
			return refused
		}
	}
}

// TestWhoWaitsSeesWhatTheOtherWrites: a process without the lead answers, waits
// and goes on answering when the other exchanges the generations.
func TestWhoWaitsSeesWhatTheOtherWrites(t *testing.T) {
	url := database(t)
	h := history(10)
	h.Shown = true
	a, b := projector(t, h, named(t, url, "node-a", time.Second)), projector(t, h, named(t, url, "node-b", time.Second))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- a.Run(ctx) }()
	h.Steps(50)
	wait(t, a, h.NoteTime().Position)
	go func() { done <- b.Run(ctx) }()
	for round := range 3 {
		h.Steps(50)
		at := h.NoteTime().Position
		wait(t, b, at)
		same(t, "who waits", digests(t, b), digests(t, a))
		if _, err := b.Rebuild(t.Context(), nil); !errors.Is(err, projections.ErrActive) {
			t.Fatalf("rebuilt without the lead: %v", err)
		}
		readers := reading(t, b)
		if _, err := a.Rebuild(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if n := readers(); n == 0 {
			t.Error("nothing was read while generations were exchanged")
		}
		status, err := b.Status(t.Context())
		check(t, err)
		for _, s := range status {
			if s.Generation != round+2 {
				t.Fatalf("round %d: the other sees %+v", round, s)
			}
		}
	}
	cancel()
	check(t, errors.Join(<-done, <-done))
	// Who waited takes over, under the generations that the other made.
	ctx, cancel = context.WithCancel(t.Context())
	go func() { done <- b.Run(ctx) }()
	h.Steps(50)
	wait(t, b, h.NoteTime().Position)
	if _, err := b.Rebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	cancel()
	check(t, <-done)
	same(t, "at the end", digests(t, b), onSQLite(t, h))
	if n := generations(t, url); n != len(projections.Views()) {
		t.Errorf("%d generations are there for %d views", n, len(projections.Views()))
	}
}

// reading reads all the time until the function that it returns is called, which
// tells how often.
func reading(t *testing.T, p *projections.Projector) func() int64 {
	var n atomic.Int64
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for _, v := range projections.Views() {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := p.Query(context.Background(), projections.Query{Relation: v.Name()}); err != nil {
					t.Errorf("reading %s: %v", v.Name(), err)
					return
				}
				n.Add(1)
			}
		})
	}
	return func() int64 {
		close(stop)
		readers.Wait()
		return n.Load()
	}
}
