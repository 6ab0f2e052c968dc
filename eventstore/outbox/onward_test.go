package outbox

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// TestOnward asks that what came while an append was on its way is fixed on the
// disk before it is sent, together with the end of the one before: from a copy of
// that moment it is sent as it was, also if its person has died meanwhile.
func TestOnward(t *testing.T) {
	s := newScene(t)
	first := s.recorded(2)
	var second []domain.Sealed
	s.line.meanwhile = func() {
		s.line.meanwhile = nil
		second = s.recorded(3)
	}
	var then *vfs.MemFS
	s.spy.answer = func(a eventstore.Append) error {
		if len(s.spy.appends) == 2 {
			then = s.copy()
		}
		return nil
	}
	s.steps(1)
	if len(s.spy.appends) != 2 {
		t.Fatalf("%d appends in one turn", len(s.spy.appends))
	}
	sent := s.spy.appends[1]
	s.fates.destroy(s.ref)
	s.become(then)
	s.watch()
	if l := s.box.lanes[s.stream]; l.acked != 1 || !l.intent.set || len(l.pending) != 3 {
		t.Fatalf("acknowledged %d, intent %+v, %d events pending", l.acked, l.intent, len(l.pending))
	}
	s.clock.advance(3 * time.Second)
	s.drain()
	same := func(a, b domain.Sealed) bool { return a.ID() == b.ID() }
	if again := s.spy.appends[0]; again.Expected != sent.Expected || !slices.EqualFunc(again.Events, sent.Events, same) {
		t.Fatalf("sent %d events at %d, then %d at %d", len(sent.Events), sent.Expected, len(again.Events), again.Expected)
	}
	s.truth.holds(t, s.stream, slices.Concat(first, second)...)
}

// TestOnwardLate asks that nothing of a person who has died is sent behind what was
// on its way.
func TestOnwardLate(t *testing.T) {
	s := newScene(t)
	first := s.recorded(2)
	s.line.meanwhile = func() {
		s.line.meanwhile = nil
		s.recorded(3)
		s.fates.destroy(s.ref)
	}
	s.drain()
	s.truth.holds(t, s.stream, first...)
	if n := s.truth.late("dropped"); n != 3 {
		t.Fatalf("%d dropped", n)
	}
}

// TestTurns asks that a stream to which something always comes leaves others their
// turn, and that a relay that is being stopped begins nothing more.
func TestTurns(t *testing.T) {
	s := newScene(t)
	s.recorded(1)
	s.line.meanwhile = func() {
		if len(s.spy.appends) <= 2*maxTurns {
			s.recorded(1)
		}
	}
	s.steps(1)
	if n := len(s.spy.appends); n != maxTurns {
		t.Fatalf("%d appends in one turn", n)
	}
	s.relay.stopping.Store(true)
	s.steps(1)
	if n := len(s.spy.appends); n != maxTurns+1 {
		t.Fatalf("%d appends while stopping", n-maxTurns)
	}
}

// TestHeldBack asks that what waits for its turn is not sent once the log has
// stopped answering, and that its outcome is not in doubt then.
func TestHeldBack(t *testing.T) {
	s := newScene(t)
	a := s.recorded(1)
	l, _ := s.box.next(s.clock.time())
	for range cap(s.relay.calls) {
		s.relay.calls <- struct{}{}
	}
	var shipping sync.WaitGroup
	shipping.Go(func() { s.relay.ship(context.Background(), l) })
	for fixed := false; !fixed; time.Sleep(time.Millisecond) {
		s.box.mu.Lock()
		fixed = l.intent.set
		s.box.mu.Unlock()
	}
	for range patience {
		s.clock.advance(time.Second)
		s.relay.gate.unanswered(s.clock.time(), s.clock.time())
	}
	for range cap(s.relay.calls) {
		<-s.relay.calls
	}
	shipping.Wait()
	if len(s.spy.appends) != 0 || l.doubt {
		t.Fatalf("%d appends, doubt %t", len(s.spy.appends), l.doubt)
	}
	s.clock.advance(time.Minute)
	s.drain()
	s.truth.holds(t, s.stream, a...)
}
