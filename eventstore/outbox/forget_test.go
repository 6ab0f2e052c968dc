package outbox

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
)

// back takes the log back to its first n events of the scene's stream.
func (s *scene) back(n int) {
	h := s.truth.stream(s.stream)
	h.events = h.events[:n]
}

// forgets has the outbox forget, before or after a crash.
func (s *scene) forgets(crash bool) {
	s.Helper()
	if err := s.relay.Compare(s.Context()); !errors.Is(err, ErrWentBack) {
		s.Fatalf("compare: %v, want ErrWentBack", err)
	}
	must(s.T, s.relay.Forget())
	if crash {
		s.reopen()
	}
	must(s.T, s.relay.Compare(s.Context()))
}

// TestForget asks that what is pending goes behind the end of a log that went back,
// once and in order, and that what the log kept of it is found there.
func TestForget(t *testing.T) {
	for _, crash := range []bool{false, true} {
		s := newScene(t)
		a := s.recorded(2)
		s.drain()
		must(t, s.relay.Compare(t.Context()))
		s.back(1)
		b := s.recorded(1)
		if err := s.relay.Run(t.Context()); !errors.Is(err, ErrWentBack) {
			t.Fatalf("run: %v, want ErrWentBack", err)
		}
		s.forgets(crash)
		c := s.recorded(1)
		begun := s.clock.time()
		s.drain()
		if took := s.clock.time().Sub(begun); took > 15*time.Second {
			t.Errorf("shipped after %s", took)
		}
		s.truth.holds(t, s.stream, a[0], b[0], c[0])
		d := s.recorded(1)
		s.drain()
		s.truth.holds(t, s.stream, a[0], b[0], c[0], d[0])
	}
}

// TestForgetLooksFirst asks that an append of unknown outcome, which a log that went
// back may still have, is not sent before it is settled, and not written twice.
func TestForgetLooksFirst(t *testing.T) {
	for _, crash := range []bool{false, true} {
		s := newScene(t)
		a := s.recorded(1)
		s.drain()
		b := s.recorded(1)
		s.line.next = storetest.Faults(storetest.Unanswered)
		s.steps(1)
		s.clock.advance(time.Minute)
		must(t, s.relay.Forget())
		if crash {
			s.reopen()
		}
		s.line.next = nil
		f := s.foreign(1)
		c := s.recorded(1)
		s.idle()
		s.drain()
		s.truth.holds(t, s.stream, slices.Concat(a, b, f, c)...)
		if n := s.relay.Counts().Found.Load(); n != 1 {
			t.Errorf("%d events were found", n)
		}
	}
}

// TestForgetWaitsForTheRelay asks that a relay that runs forgets nothing, and that it
// can run again.
func TestForgetWaitsForTheRelay(t *testing.T) {
	s := newScene(t)
	a := s.recorded(2)
	s.drain()
	s.back(1)
	s.recorded(1)
	for range 2 {
		if err := s.relay.Run(t.Context()); !errors.Is(err, ErrWentBack) {
			t.Fatalf("run: %v, want ErrWentBack", err)
		}
		s.clock.advance(time.Minute)
	}
	must(t, s.relay.Forget())
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.relay.Run(ctx) }()
	for s.box.Stats().Pending.Events > 0 {
		s.clock.advance(time.Second)
		time.Sleep(time.Millisecond)
	}
	if err := s.relay.Forget(); !errors.Is(err, errRunning) {
		t.Errorf("forget while it runs: %v", err)
	}
	stop()
	must(t, <-ended)
	if got, err := s.truth.read(s.stream, 0); err != nil || len(got) != 2 || got[0].ID() != a[0].ID() {
		t.Errorf("%d events, %v", len(got), err)
	}
}

// TestCompareKnowsWhatIsGone asks that a stream that was deleted for ever did not go
// back, and that a log that is away is not one that went back.
func TestCompareKnowsWhatIsGone(t *testing.T) {
	s := newScene(t)
	s.recorded(1)
	s.drain()
	s.line.away = true
	if err := s.relay.Compare(t.Context()); err == nil || errors.Is(err, ErrWentBack) {
		t.Errorf("while the log is away: %v", err)
	}
	s.line.away = false
	s.truth.delete(s.stream)
	must(t, s.relay.Compare(t.Context()))
	other := sealed(domain.New[domain.SubjectRef](), 20)
	must(t, s.record(other))
	s.drain()
	s.truth.stream(other.Stream()).events = nil
	if err := s.relay.Compare(t.Context()); !errors.Is(err, ErrWentBack) {
		t.Errorf("a stream that is not there: %v", err)
	}
}
