package projections_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// some writes n traffic events of one person.
func some(w *viewtest.Writer, n int) (last domain.Recorded) {
	ref, conn := domain.SubjectRef{0: 1, 6: 0x40, 8: 0x80}, domain.ConnectionID{0: 2, 6: 0x40, 8: 0x80}
	for range n {
		last = w.Person(erasable(ref, "messages"), domain.TrafficRecorded, 2, domain.Name("pool", "chat"), domain.UUID("connection", conn))
	}
	return last
}

func position(t testing.TB, p *projections.Projector) uint64 {
	t.Helper()
	at := digests(t, p)["holdings"].Position.Commit
	for name, d := range digests(t, p) {
		if d.Position.Commit != at {
			t.Fatalf("view %s stands at %s, holdings at %d", name, d.Position, at)
		}
	}
	return at
}

func TestWhatStopsTheLoop(t *testing.T) {
	foreign := func(w *viewtest.Writer) {
		w.Append(domain.NewSealed(domain.New[domain.EventID](), "other.app", "thing.done.v1", []byte("?"), []byte("?")))
		w.Append(domain.NewSealed(domain.New[domain.EventID](), w.Streams.Policy(), "$metadata", nil, nil))
	}
	for _, c := range []struct {
		name string
		bad  func(w *viewtest.Writer)
		want error
	}{
		{"streams of others and the store's own events are skipped", foreign, nil},
		{"an unknown type", func(w *viewtest.Writer) {
			s := w.Seal(w.Streams.Policy(), domain.NodeClosed, domain.Envelope{Facts: domain.NewFacts(domain.UUID("writer", domain.WriterID{6: 0x40, 8: 0x80}))}, "LTH\x01\x01")
			w.Append(retyped(s, "node.closed.v2"))
		}, domain.ErrUnknownType},
		{"an edited envelope", func(w *viewtest.Writer) {
			e := some(w, 1)
			edited := strings.Replace(string(e.Envelope()), `"n":2`, `"n":1`, 1)
			w.Replace(e.Position, domain.NewSealed(e.ID(), e.Stream(), e.Type(), []byte(edited), e.Data()))
		}, domain.ErrTampered},
		{"an event in another place", func(w *viewtest.Writer) {
			e := some(w, 1)
			env, err := domain.DecodeEnvelope(spec(t, e.Type()), e.Envelope())
			check(t, err)
			env.Gen = 2
			w.Replace(e.Position, w.Seal(e.Stream(), e.Type(), env, "LTH\x01\x01"))
		}, projections.ErrMisplaced},
		{"a total that cannot be read", func(w *viewtest.Writer) {
			w.Disposed(domain.SubjectDisposed, domain.List("commands", []string{"x"}), domain.List("totals", []string{"chat/messages:1"}))
		}, projections.ErrFacts},
		{"a disposal that spares holds", func(w *viewtest.Writer) {
			w.Disposed(domain.SubjectDisposed, domain.List("commands", []string{"x"}), domain.List("holds", []string{"h"}))
		}, projections.ErrHolds},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := viewtest.NewWriter()
			some(w, 3)
			p := caughtUp(t, w, t.TempDir())
			c.bad(w)
			if c.want == nil {
				check(t, p.CatchUp(t.Context()))
				return
			}
			if err := p.CatchUp(t.Context()); !errors.Is(err, c.want) {
				t.Fatalf("caught up with %v, want %v", err, c.want)
			}
			if err := p.Run(t.Context()); !errors.Is(err, c.want) {
				t.Fatalf("ran with %v, want %v", err, c.want)
			}
			if !errors.Is(p.Err(), c.want) {
				t.Fatalf("the projector says %v", p.Err())
			}
			if got := position(t, p); got != 4 {
				t.Fatalf("stopped at %d, want 4", got)
			}
		})
	}
}

func retyped(s domain.Sealed, typ domain.EventType) domain.Sealed {
	w := viewtest.NewWriter()
	return w.Retag(domain.NewSealed(s.ID(), s.Stream(), typ, s.Envelope(), s.Data()))
}

func spec(t *testing.T, typ domain.EventType) domain.EventSpec {
	t.Helper()
	s, err := domain.Events.Spec(typ)
	check(t, err)
	return s
}

func TestAnOutageMovesNoCheckpoint(t *testing.T) {
	w := viewtest.NewWriter()
	some(w, 5)
	var keyless atomic.Bool
	e, err := sqlite.New(t.TempDir(), sqlite.OS{})
	check(t, err)
	opt := options()
	opt.Verify = func(r domain.Recorded) error {
		if keyless.Load() {
			return fmt.Errorf("no key: %w", domain.ErrUnavailable)
		}
		return viewtest.Verify(r)
	}
	told := make(chan error, 100)
	opt.Notice = func(err error) {
		select {
		case told <- err:
		default:
		}
	}
	p, err := projections.Open(t.Context(), w, e, opt)
	check(t, err)
	defer func() { check(t, p.Close()) }()
	check(t, p.CatchUp(t.Context()))
	before := digests(t, p)

	keyless.Store(true)
	last := some(w, 5)
	if err := p.CatchUp(t.Context()); !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("without a key: %v", err)
	}
	down := errors.Join(domain.ErrUnavailable, errors.New("store down"))
	w.Fail(func() error { return down })
	if err := p.CatchUp(t.Context()); !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("without a store: %v", err)
	}
	if _, err := p.Rebuild(t.Context(), nil); !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("rebuilding without a store: %v", err)
	}
	for name, d := range digests(t, p) {
		if before[name] != d {
			t.Fatalf("an outage changed view %s", name)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	if err := <-told; !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("told %v", err)
	}
	w.Fail(nil)
	keyless.Store(false)
	wait(t, p, last.Position)
	if p.Err() != nil {
		t.Fatalf("back again, but the projector says %v", p.Err())
	}
	cancel()
	check(t, <-done)
}

func wait(t testing.TB, p *projections.Projector, at domain.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	check(t, p.Wait(ctx, at))
}

func TestTwoProjectorsOneRollsBack(t *testing.T) {
	w, dir := viewtest.NewWriter(), t.TempDir()
	a, b := open(t, w, dir), open(t, w, dir)
	some(w, 3)
	check(t, a.CatchUp(t.Context()))
	before := digests(t, a)
	if err := b.CatchUp(t.Context()); !errors.Is(err, projections.ErrActive) {
		t.Fatalf("the second projector got %v, want ErrActive", err)
	}
	for name, d := range digests(t, b) {
		if d != before[name] {
			t.Fatalf("the second projector changed view %s", name)
		}
	}
}

func TestALogThatWentBackStopsTheLoop(t *testing.T) {
	for _, grown := range []int{0, 1, 2, 9} {
		w, dir := viewtest.NewWriter(), t.TempDir()
		first := some(w, 3)
		some(w, 3)
		p := caughtUp(t, w, dir)
		w.Cut(first.Position)
		for range grown {
			w.NoteTime()
		}
		if err := p.CatchUp(t.Context()); !errors.Is(err, projections.ErrLogWentBack) {
			t.Fatalf("grown by %d: caught up with %v", grown, err)
		}
		if err := p.Run(t.Context()); !errors.Is(err, projections.ErrLogWentBack) {
			t.Fatalf("grown by %d: ran with %v", grown, err)
		}
	}
}

// Proves: INV-7
func TestViewsAreRebuiltFromALogThatWentBack(t *testing.T) {
	for _, grown := range []int{0, 9} {
		w := viewtest.NewWriter()
		first := some(w, 3)
		some(w, 3)
		p := caughtUp(t, w, t.TempDir())
		w.Cut(first.Position)
		for range grown {
			w.NoteTime()
		}
		rebuilt, err := p.Rebuild(t.Context(), nil)
		if err != nil || len(rebuilt) != len(projections.Views()) || rebuilt[0].LiveDigest != "" || rebuilt[0].Digest == "" {
			t.Fatalf("grown by %d: rebuilt %+v, %v", grown, rebuilt, err)
		}
		some(w, 2)
		if err := p.CatchUp(t.Context()); err != nil {
			t.Fatalf("grown by %d: goes on with %v", grown, err)
		}
		if got, want := digests(t, p), digests(t, caughtUp(t, w, t.TempDir())); !maps.Equal(got, want) {
			t.Errorf("grown by %d: the views are %v, want %v", grown, got, want)
		}
		if _, err := p.Rebuild(t.Context(), nil); err != nil {
			t.Errorf("grown by %d: rebuilt again with %v", grown, err)
		}
	}
}

// What stands in the place of the lost event may itself be disposed of.
func TestALogThatWentBackIsFoundByTheStream(t *testing.T) {
	w := viewtest.NewWriter()
	first := some(w, 3)
	some(w, 3)
	p := caughtUp(t, w, t.TempDir())
	w.Cut(first.Position)
	note := w.NoteTime()
	for range 9 {
		w.NoteTime()
	}
	w.Truncate(note.Stream(), 8)
	if err := p.CatchUp(t.Context()); !errors.Is(err, projections.ErrLogWentBack) {
		t.Fatalf("caught up with %v", err)
	}
}

func TestACheckpointMayBeDisposedOf(t *testing.T) {
	w := viewtest.NewWriter()
	last := some(w, 3)
	p := caughtUp(t, w, t.TempDir())
	some(w, 1)
	w.Truncate(last.Stream(), last.Revision+1)
	check(t, p.CatchUp(t.Context()))
	q := caughtUp(t, w, t.TempDir())
	w.Delete(last.Stream(), false)
	check(t, p.CatchUp(t.Context()))
	check(t, q.CatchUp(t.Context()))
	if n := len(rows(t, p, "holdings")); n != 0 {
		t.Fatalf("%d rows of a deleted stream", n)
	}
}

func TestRunFollowsTheLog(t *testing.T) {
	w := viewtest.NewWriter()
	p := open(t, w, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for range 20 {
		wait(t, p, some(w, 7).Position)
	}
	st, err := p.Status(t.Context())
	check(t, err)
	if len(st) != 6 || st[1].Name != "holdings" || st[1].Lag != 0 || st[1].Rows != 1 || st[1].Generation != 1 {
		t.Fatalf("status %+v", st)
	}
	places, err := p.Positions(t.Context())
	check(t, err)
	for i, at := range places {
		want := st[i]
		if want.Rows = 0; at != want {
			t.Errorf("positions have %+v, want %+v", at, want)
		}
	}
	cancel()
	check(t, <-done)
}

var _ eventstore.Reader = (*viewtest.Log)(nil)
