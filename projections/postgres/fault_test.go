package postgres_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/postgres/pgtest"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// TestACommitLostOrUnansweredIsMadeOnce breaks connections before and after the
// server commits.
func TestACommitLostOrUnansweredIsMadeOnce(t *testing.T) {
	url := database(t)
	h := history(5)
	h.Steps(300)
	var broken [3]atomic.Int64
	through := newProxy(t, ofRows, func(n int) fate {
		f := pass
		if n%3 == 0 {
			f = []fate{lost, unanswered}[n%2]
		}
		broken[f].Add(1)
		return f
	})
	opt := options()
	opt.Batch = 20
	p, err := projections.Open(t.Context(), h, engine(t, through.url(url)), opt)
	check(t, err)
	defer func() { check(t, p.Close()) }()
	failed := 0
	for {
		err := p.CatchUp(t.Context())
		if err == nil {
			break
		}
		if failed++; !errors.Is(err, domain.ErrUnavailable) || failed > 200 {
			t.Fatalf("after %d faults: %v", failed, err)
		}
	}
	if broken[lost].Load() < 3 || broken[unanswered].Load() < 3 {
		t.Fatalf("%d commits were lost, %d unanswered", broken[lost].Load(), broken[unanswered].Load())
	}
	same(t, "after faults", digests(t, p), onSQLite(t, h))
}

// TestARebuildThatBreaksAnywhereLeavesViewsThatServe breaks the session of each
// transaction that makes, swaps or drops generations, before and after it commits.
//
// Proves: INV-7
func TestARebuildThatBreaksAnywhereLeavesViewsThatServe(t *testing.T) {
	h := history(3)
	h.Steps(100)
	want, serving := onSQLite(t, h), map[int]int{}
	for _, kind := range []fate{lost, unanswered} {
		for n := 1; n <= 13; n += 3 {
			url := database(t)
			p := projector(t, h, engine(t, url))
			check(t, p.CatchUp(t.Context()))
			check(t, p.Close())
			var armed atomic.Bool
			var met atomic.Int64
			through := newProxy(t, ofOthers, func(int) fate {
				if armed.Load() && int(met.Add(1)) == n {
					return kind
				}
				return pass
			})
			p = projector(t, h, engine(t, through.url(url)))
			armed.Store(true)
			_, err := p.Rebuild(t.Context(), nil)
			if int(met.Load()) < n {
				t.Fatalf("only %d transactions were met", met.Load())
			}
			if err != nil && !errors.Is(err, domain.ErrUnavailable) {
				t.Fatalf("transaction %d: %v", n, err)
			}
			check(t, p.Close())
			p = projector(t, h, engine(t, url))
			same(t, "after a broken rebuild", digests(t, p), want)
			status, err := p.Status(t.Context())
			check(t, err)
			for _, s := range status {
				if s.Generation != status[0].Generation {
					t.Fatalf("transaction %d: %+v", n, status)
				}
			}
			serving[status[0].Generation]++
			if left := generations(t, url); left != len(status) {
				t.Errorf("transaction %d: %d generations are left for %d views", n, left, len(status))
			}
		}
	}
	if serving[1] < 2 || serving[2] < 2 {
		t.Errorf("serving generations: %v; both sides of the swap should be met", serving)
	}
}

// TestAServerThatCrashesLosesNothing ends the server as a power cut would, while
// views follow the log.
//
// Proves: INV-9
func TestAServerThatCrashesLosesNothing(t *testing.T) {
	database(t) // skipped where there is none
	s, err := pgtest.New(t.Context())
	check(t, err)
	t.Cleanup(func() { check(t, s.Remove()) })
	url, err := s.Database(t.Context())
	check(t, err)
	w := viewtest.NewWriter()
	opt := options()
	told := make(chan error, 1000)
	opt.Notice = func(err error) {
		select {
		case told <- err:
		default:
		}
	}
	p, err := projections.Open(t.Context(), w, engine(t, url), opt)
	check(t, err)
	defer func() { check(t, p.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for range 3 {
		traffic(w, 40)
		wait(t, p, w.NoteTime().Position)
		before := digests(t, p)
		for len(told) > 0 {
			<-told
		}
		check(t, s.Crash())
		for err := range told {
			if errors.Is(err, domain.ErrUnavailable) {
				break
			}
		}
		if p.Err() == nil {
			t.Error("the server is gone, but the projector says nothing")
		}
		check(t, s.Start(t.Context()))
		same(t, "after a crash", digests(t, p), before)
		traffic(w, 40)
	}
	wait(t, p, w.NoteTime().Position)
	cancel()
	check(t, <-done)
	same(t, "at the end", digests(t, p), onSQLite(t, w))
}

// traffic writes events of a few people.
func traffic(w *viewtest.Writer, n int) {
	for i := range n {
		p := viewtest.Place{Scope: domain.Erasable, Ref: domain.SubjectRef{0: byte(i % 7), 6: 0x40, 8: 0x80}, Class: "messages", Tier: domain.OwnTier, Gen: 1}
		w.Person(p, domain.TrafficRecorded, 3, domain.Name("pool", "chat"), domain.UUID("connection", domain.ConnectionID{0: byte(i % 11), 6: 0x40, 8: 0x80}))
	}
}

func wait(t testing.TB, p *projections.Projector, at domain.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	check(t, p.Wait(ctx, at))
}
