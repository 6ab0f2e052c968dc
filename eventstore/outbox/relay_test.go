package outbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
)

// A spy is a Log that writes down what reaches it.
type spy struct {
	Log
	mu      sync.Mutex
	appends []eventstore.Append
	reads   []domain.Revision
	// answer replaces the answer to an append, and short ends a read early.
	answer func(eventstore.Append) error
	short  bool
}

func (s *spy) Append(ctx context.Context, stream domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error) {
	s.mu.Lock()
	a := eventstore.Append{Stream: stream, Expected: expected, Events: events}
	s.appends = append(s.appends, a)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if err := answer(a); err != nil {
			return eventstore.Appended{}, err
		}
	}
	return s.Log.Append(ctx, stream, expected, events)
}

func (s *spy) ReadStream(ctx context.Context, stream domain.Stream, from domain.Revision, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, from)
	if s.short {
		return func(func(domain.Recorded, error) bool) {}
	}
	return s.Log.ReadStream(ctx, stream, from, dir, limit)
}

// A scene is a node, its log, and one person.
type scene struct {
	*testing.T
	*node
	truth  *truth
	spy    *spy
	ref    domain.SubjectRef
	stream domain.Stream
}

func newScene(t *testing.T) *scene {
	t.Helper()
	return newSceneWith(t, Options{})
}

func newSceneWith(t *testing.T, opt Options) *scene {
	t.Helper()
	s := &scene{T: t, truth: newTruth(), ref: domain.New[domain.SubjectRef]()}
	s.stream = streamOf(s.ref)
	s.node = newNode(t, newClock(), s.truth, &dead{}, opt)
	s.watch()
	t.Cleanup(s.node.close)
	return s
}

// watch puts the spy before the log of the relay of now.
func (s *scene) watch() {
	s.spy = &spy{Log: s.line}
	s.relay.opt.Log = s.spy
}

// reopen goes on with a disk.
func (s *scene) reopen() {
	s.become(s.copy())
	s.watch()
}

func (s *scene) recorded(n int) []domain.Sealed {
	s.Helper()
	var out []domain.Sealed
	for range n {
		out = append(out, sealed(s.ref, 20))
	}
	must(s.T, s.record(out...))
	return out
}

func (s *scene) foreign(n int) []domain.Sealed {
	s.Helper()
	var out []domain.Sealed
	for range n {
		out = append(out, sealed(s.ref, 5))
	}
	_, err := s.truth.append(s.stream, domain.Revision(len(s.truth.stream(s.stream).events))-1, out)
	must(s.T, err)
	return out
}

func (s *scene) steps(n int) {
	s.Helper()
	for range n {
		if !s.step() {
			s.Fatalf("nothing to ship")
		}
	}
}

// idle asks that nothing is sent now.
func (s *scene) idle() {
	s.Helper()
	before := len(s.spy.appends)
	for s.step() {
		if len(s.spy.appends) != before {
			s.Fatalf("shipped before its time")
		}
	}
}

// TestUnknownStaysAsItIs asks that an append of unknown outcome is sent again as it
// was, 3 s later, whatever came meanwhile: new events, a death, a crash.
func TestUnknownStaysAsItIs(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.Lost, storetest.Unanswered} {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprint(fault, crash), func(t *testing.T) {
				s := newScene(t)
				first := s.recorded(2)
				s.line.next = storetest.Faults(fault)
				s.steps(1)
				sent := s.spy.appends[0]
				second := s.recorded(1)
				s.fates.destroy(s.ref)
				if crash {
					s.reopen()
				}
				s.spy.appends = nil
				s.clock.advance(3*time.Second - 1)
				s.idle()
				s.clock.advance(1)
				s.steps(1)
				again := s.spy.appends[0]
				same := func(a, b domain.Sealed) bool { return a.ID() == b.ID() }
				if again.Expected != sent.Expected || !slices.EqualFunc(again.Events, sent.Events, same) {
					t.Fatalf("sent %d events at %d, then %d at %d", len(sent.Events), sent.Expected, len(again.Events), again.Expected)
				}
				s.drain()
				s.truth.holds(t, s.stream, first...)
				if n := s.truth.late("dropped"); n != 1 || s.truth.late("unsure") != 0 {
					t.Fatalf("%d dropped and %d unsure of %d late events", n, s.truth.late("unsure"), len(second))
				}
			})
		}
	}
}

// TestFrom asks from where a refused append reads the stream: behind the last
// event acknowledged, also after the outbox was opened again, else from the start.
func TestFrom(t *testing.T) {
	s := newScene(t)
	old := s.foreign(3)
	a := s.recorded(1)
	s.drain()
	if !slices.Equal(s.spy.reads, []domain.Revision{0}) {
		t.Fatalf("read from %v", s.spy.reads)
	}
	more := s.foreign(2)
	s.reopen()
	b := s.recorded(1)
	s.drain()
	if !slices.Equal(s.spy.reads, []domain.Revision{4}) {
		t.Fatalf("read from %v", s.spy.reads)
	}
	s.truth.holds(t, s.stream, slices.Concat(old, a, more, b)...)
}

// TestShortRead asks that who answers with a revision that it cannot show moves
// nothing.
func TestShortRead(t *testing.T) {
	s := newScene(t)
	f := s.foreign(2)
	a := s.recorded(1)
	s.spy.short = true
	s.steps(1)
	s.idle()
	s.clock.advance(3 * time.Second)
	s.steps(1)
	if s.relay.Counts().Moved.Load() != 0 {
		t.Fatal("moved")
	}
	s.spy.short = false
	s.drain()
	s.truth.holds(t, s.stream, slices.Concat(f, a)...)
	for _, sent := range s.spy.appends[:2] {
		if sent.Expected != domain.NoStream {
			t.Fatalf("expected %d", sent.Expected)
		}
	}
}

// TestDeposed lets a leader answer from events that nobody else has and that are
// lost then, while ours stand or do not stand in the log, and while others have
// brought the log to the very revision that it told.
func TestDeposed(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.None, storetest.Lost, storetest.Unanswered} {
		for _, own := range []bool{false, true} {
			for _, old := range []bool{false, true} {
				t.Run(fmt.Sprint(fault, own, old), func(t *testing.T) { deposed(t, fault, own, old) })
			}
		}
	}
}

// deposed: own phantoms are our own events, on a leader that loses them; old puts
// an older copy of the disk back, which does not know that anything was sent.
func deposed(t *testing.T, fault storetest.Fault, own, old bool) {
	s := newScene(t)
	events := s.recorded(1)
	before := s.copy()
	if fault != storetest.None {
		s.line.next = storetest.Faults(fault)
		s.steps(1)
	}
	if old {
		s.become(before)
		s.watch()
	}
	phantoms := []domain.Sealed{sealed(s.ref, 1), sealed(s.ref, 1), sealed(s.ref, 1)}
	if own {
		phantoms[1] = events[0]
	}
	s.clock.advance(3 * time.Second)
	s.line.depose(s.stream, 0, phantoms...)
	s.steps(1)
	for s.step() { // as long as it answers
		s.Log("again")
	}
	others := s.foreign(len(phantoms) - len(s.truth.stream(s.stream).events))
	s.drain()
	want := slices.Concat(others, events)
	if fault == storetest.Unanswered {
		want = slices.Concat(events, others)
	}
	s.truth.holds(t, s.stream, want...)
}

// TestOlderCopy asks that an outbox restored from a copy writes nothing twice,
// though others wrote between its events and its appends are cut differently now.
func TestOlderCopy(t *testing.T) {
	s := newScene(t)
	a := s.recorded(1)
	s.drain()
	b := s.recorded(2)
	before := s.copy()
	first := b[:1]
	s.relay.opt.Log = &spy{Log: s.line}
	l, _ := s.box.next(s.clock.time())
	must(t, s.box.fix(l, intent{set: true, last: l.pending[0].seq, expected: l.acked}))
	at, _ := s.relay.send(context.Background(), l, first, s.clock.time())
	s.relay.settled(l, s.box.fixedOf(l), at)
	s.settle()
	f := s.foreign(1)
	s.drain()
	c := s.recorded(1)
	s.drain()
	g := s.foreign(1)
	s.become(before)
	s.watch()
	d := s.recorded(1)
	s.drain()
	s.truth.holds(t, s.stream, slices.Concat(a, first, f, b[1:], c, g, d)...)
	if n := s.relay.Counts().Found.Load(); n != 2 {
		t.Fatalf("%d events found", n)
	}
}

// TestHidden asks that late events are unsure when they may stand where the log was
// truncated.
func TestHidden(t *testing.T) {
	s := newScene(t)
	s.foreign(1)
	s.recorded(1)
	s.line.next = storetest.Faults(storetest.None, storetest.Unanswered) // refused, then applied
	s.steps(2)
	s.foreign(2)
	s.truth.truncate(s.stream)
	s.fates.destroy(s.ref)
	s.relay.counts.Unknown.Store(0)
	// Another append than the one that was applied, as after a lost disk.
	s.box.lanes[s.stream].intent.expected = domain.NoStream
	s.drain()
	if s.truth.late("unsure") != 1 || s.truth.late("dropped") != 0 {
		t.Fatalf("%d unsure, %d dropped", s.truth.late("unsure"), s.truth.late("dropped"))
	}
}

// TestTombstone asks how events are counted that meet a tombstone.
func TestTombstone(t *testing.T) {
	for fault, want := range map[storetest.Fault][2]int64{storetest.None: {3, 0}, storetest.Lost: {1, 2}, storetest.Unanswered: {1, 2}} {
		s := newScene(t)
		s.recorded(2)
		if fault != storetest.None {
			s.line.next = storetest.Faults(fault)
			s.steps(1)
		}
		s.recorded(1)
		s.truth.delete(s.stream)
		s.drain()
		if got := [2]int64{s.truth.late("dropped"), s.truth.late("unsure")}; got != want {
			t.Errorf("fault %d: dropped and unsure %v, want %v", fault, got, want)
		}
	}
}

// TestWentBack asks that a log that lost what it had acknowledged stops the relay,
// also of an outbox that was opened again.
func TestWentBack(t *testing.T) {
	for _, crash := range []bool{false, true} {
		s := newScene(t)
		s.recorded(2)
		s.drain()
		h := s.truth.stream(s.stream)
		h.events = h.events[:1]
		s.recorded(1)
		if crash {
			s.reopen()
		}
		if err := s.relay.Run(t.Context()); !errors.Is(err, ErrWentBack) {
			t.Fatalf("run: %v, want ErrWentBack", err)
		}
	}
}

// TestRefusedForGood asks that an append that can never be is told loudly.
func TestRefusedForGood(t *testing.T) {
	s := newScene(t)
	s.spy.answer = func(eventstore.Append) error { return eventstore.ErrTooLarge }
	s.recorded(1)
	if err := s.relay.Run(t.Context()); !errors.Is(err, eventstore.ErrTooLarge) {
		t.Fatalf("run: %v", err)
	}
}

// unsettled is a Fates that does not know.
type unsettled struct{}

func (unsettled) Destroyed(context.Context, domain.Stream, domain.Envelope) (bool, error) {
	return false, domain.ErrUnavailable
}

// TestFatesUnknown asks that nothing is shipped while nobody knows what was
// destroyed.
func TestFatesUnknown(t *testing.T) {
	s := newScene(t)
	events := s.recorded(1)
	known := s.relay.opt.Fates
	s.relay.opt.Fates = unsettled{}
	s.steps(1)
	s.clock.advance(time.Minute)
	s.steps(1)
	if len(s.spy.appends) != 0 {
		t.Fatal("shipped")
	}
	s.relay.opt.Fates = known
	s.drain()
	s.truth.holds(t, s.stream, events...)
}

// TestGate asks that a log that is away is asked less and less, by one at a time,
// and again at full speed once it answers.
func TestGate(t *testing.T) {
	s := newScene(t)
	for range 100 {
		must(t, s.record(sealed(domain.New[domain.SubjectRef](), 1)))
	}
	s.line.away = true
	for range 600 {
		s.clock.advance(100 * time.Millisecond)
		s.step()
	}
	if n := len(s.spy.appends); n < 5 || n > 20 {
		t.Fatalf("asked %d times in a minute", n)
	}
	s.line.away = false
	s.spy.appends = nil
	s.clock.advance(time.Minute)
	n := 0
	for s.step() {
		n++
	}
	if n < 100 {
		t.Fatalf("only %d of 100 were shipped at once", n)
	}
}
