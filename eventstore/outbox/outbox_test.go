package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// readIDs reads a stream of the outbox.
func readIDs(t *testing.T, b *Outbox, s domain.Stream, from domain.Revision, dir eventstore.Direction, limit int) (ids []domain.EventID, revisions []domain.Revision) {
	t.Helper()
	for e, err := range b.ReadStream(t.Context(), s, from, dir, limit) {
		must(t, err)
		ids, revisions = append(ids, e.ID()), append(revisions, e.Revision)
	}
	return ids, revisions
}

func idsOf(events []domain.Sealed) (ids []domain.EventID) {
	for _, e := range events {
		ids = append(ids, e.ID())
	}
	return ids
}

// TestRevisions asks for exact revisions, for repetitions that are known, and for
// reads of what is pending, before and after the outbox was opened again.
func TestRevisions(t *testing.T) {
	s := newScene(t)
	events := s.recorded(3)
	for range 2 {
		at, err := s.box.Append(t.Context(), s.stream, domain.NoStream, events[:2])
		if err != nil || at.Revision != 1 {
			t.Fatalf("repetition: %+v, %v", at, err)
		}
		for _, expected := range []domain.Revision{-1, 0, 1, 3} {
			var wrong *eventstore.WrongRevision
			_, err := s.box.Append(t.Context(), s.stream, expected, []domain.Sealed{sealed(s.ref, 1)})
			if !errors.As(err, &wrong) || wrong.Actual != 2 || wrong.Expected != expected {
				t.Fatalf("at %d: %v", expected, err)
			}
		}
		ids, revisions := readIDs(t, s.box, s.stream, 1, eventstore.Forward, 0)
		if !slices.Equal(ids, idsOf(events[1:])) || !slices.Equal(revisions, []domain.Revision{1, 2}) {
			t.Fatalf("read %v at %v", ids, revisions)
		}
		if ids, revisions = readIDs(t, s.box, s.stream, eventstore.LastRevision, eventstore.Backward, 2); !slices.Equal(revisions, []domain.Revision{2, 1}) {
			t.Fatalf("read back %v at %v", ids, revisions)
		}
		s.reopen()
	}
	s.drain()
	if ids, _ := readIDs(t, s.box, s.stream, 0, eventstore.Forward, 0); len(ids) != 0 {
		t.Fatalf("%d shipped events are still read", len(ids))
	}
	s.truth.holds(t, s.stream, events...)
}

// TestAppendMany asks for independent answers, and that an append sees the one
// before it in the list.
func TestAppendMany(t *testing.T) {
	s := newScene(t)
	other := sealed(domain.New[domain.SubjectRef](), 1)
	a, b, large := sealed(s.ref, 1), sealed(s.ref, 1), sealed(s.ref, domain.MaxEventBytes)
	results := s.box.AppendMany(t.Context(), []eventstore.Append{
		{Stream: s.stream, Expected: -1, Events: []domain.Sealed{a}},
		{Stream: s.stream, Expected: 5, Events: []domain.Sealed{b}},
		{Stream: s.stream, Expected: 0, Events: []domain.Sealed{b}},
		{Stream: s.stream, Expected: 0, Events: []domain.Sealed{b}},
		{Stream: s.stream, Expected: 1, Events: []domain.Sealed{large}},
		{Stream: s.stream, Expected: 1, Events: []domain.Sealed{other}},
		{Stream: other.Stream(), Expected: -1, Events: []domain.Sealed{other}},
	})
	var wrong *eventstore.WrongRevision
	for i, ok := range []bool{
		results[0].Err == nil && results[0].Appended.Revision == 0, errors.As(results[1].Err, &wrong), results[2].Err == nil, results[3].Err == nil && results[3].Appended.Revision == 1,
		errors.Is(results[4].Err, eventstore.ErrTooLarge), errors.Is(results[5].Err, eventstore.ErrInvalid), results[6].Err == nil,
	} {
		if !ok {
			t.Errorf("append %d: %+v", i, results[i])
		}
	}
	s.drain()
	s.truth.holds(t, s.stream, a, b)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.box.Append(ended, s.stream, 1, []domain.Sealed{sealed(s.ref, 1)}); !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("append under a context that has ended: %v", err)
	}
	if last, err := s.box.Last(t.Context(), s.stream); err != nil || last != 1 {
		t.Fatalf("last %d, %v", last, err)
	}
}

// TestLargestAppend asks that what is just allowed goes through, and what is not is
// refused alone.
func TestLargestAppend(t *testing.T) {
	s := newScene(t)
	var events []domain.Sealed
	for range 4 {
		events = append(events, sealed(s.ref, 224_000))
	}
	must(t, s.record(events...))
	if err := s.record(append(events, sealed(s.ref, 9_000))...); !errors.Is(err, eventstore.ErrTooLarge) {
		t.Fatalf("too much: %v", err)
	}
	s.reopen()
	s.drain()
	s.truth.holds(t, s.stream, events...)
}

// TestFull asks that disk is bounded, that what is full says so and writes nothing,
// and that shipping makes room, for ever.
func TestFull(t *testing.T) {
	tr := newTruth()
	n := newNode(t, newClock(), tr, &dead{}, Options{MaxBytes: 1 << 20})
	defer n.close()
	ref := domain.New[domain.SubjectRef]()
	var events []domain.Sealed
	for round := range 5 {
		var err error
		for err == nil {
			e := sealed(ref, 10_000)
			if err = n.record(e); err == nil {
				events = append(events, e)
			}
		}
		if !errors.Is(err, ErrFull) || !errors.Is(err, eventstore.ErrFull) {
			t.Fatalf("full: %v", err)
		}
		if err := n.record(sealed(domain.New[domain.SubjectRef](), 20_000)); !errors.Is(err, ErrFull) || n.box.Stats().Streams > 1 {
			t.Fatalf("a new stream: %v, %d streams are known", err, n.box.Stats().Streams)
		}
		if s := n.box.Stats(); s.Used > 1<<20 || s.Used < 1<<19 || s.Pending.Events < 50 || s.Pending.Bytes > s.Used || s.Oldest.IsZero() {
			t.Fatalf("round %d: %+v", round, s)
		}
		n.drain()
		n.tidied()
		if s := n.box.Stats(); s.Used > 100_000 || s.Pending != (Counts{}) {
			t.Fatalf("round %d, empty: %+v", round, s)
		}
	}
	tr.holds(t, streamOf(ref), events...)
}

// tidied waits until the janitor has nothing to do.
func (n *node) tidied() {
	n.tb.Helper()
	for range 1000 {
		n.box.mu.Lock()
		done := !n.box.settledSegment()
		n.box.mu.Unlock()
		if done {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	n.tb.Fatalf("segments are never deleted")
}

// roll fills segments with the events of others until those of before are deleted.
func (s *scene) roll() {
	s.Helper()
	_, from := s.segments()
	for first, _ := s.segments(); first <= from; first, _ = s.segments() {
		must(s.T, s.record(sealed(domain.New[domain.SubjectRef](), 10_000)))
		s.drain()
		s.tidied()
	}
}

// segments are the numbers of the first and the last one.
func (s *scene) segments() (first, last int) {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	return int(s.box.segments[0].number), int(s.box.segments[len(s.box.segments)-1].number)
}

// TestCarried asks that the end of a stream in the log, and an event that is not
// shipped, outlive the segments in which they were noted.
func TestCarried(t *testing.T) {
	s := newSceneWith(t, Options{SegmentBytes: 20_000})
	s.foreign(2)
	s.recorded(1)
	s.drain()
	s.roll()
	s.reopen()
	s.roll()
	s.foreign(1)
	s.recorded(1)
	s.drain()
	if !slices.Equal(s.spy.reads, []domain.Revision{3}) {
		t.Fatalf("read from %v", s.spy.reads)
	}
	if last, err := s.box.Last(t.Context(), s.stream); err != nil || last != 1 {
		t.Fatalf("last %d, %v", last, err)
	}
}

// TestForgotten asks that no more streams are remembered than was said, and that a
// forgotten one goes on where its writer says, once.
func TestForgotten(t *testing.T) {
	s := newSceneWith(t, Options{SegmentBytes: 20_000, Streams: 1})
	a := s.recorded(2)
	s.drain()
	for forgotten := false; !forgotten; {
		s.roll()
		s.box.mu.Lock()
		forgotten = s.box.lanes[s.stream] == nil
		s.box.mu.Unlock()
	}
	if n := s.box.Stats().Streams; n > 5 {
		t.Fatalf("%d streams are remembered", n)
	}
	if last, err := s.box.Last(t.Context(), s.stream); err != nil || last != domain.NoStream {
		t.Fatalf("last %d, %v", last, err)
	}
	b := sealed(s.ref, 1)
	if at, err := s.box.Append(t.Context(), s.stream, 1, []domain.Sealed{b}); err != nil || at.Revision != 2 {
		t.Fatalf("append: %+v, %v", at, err)
	}
	s.reopen()
	c := s.recorded(1)
	s.drain()
	s.truth.holds(t, s.stream, slices.Concat(a, []domain.Sealed{b}, c)...)
}

// TestDebts asks that a gap is owed when the outbox is full, across crashes and
// deleted segments, and paid once.
func TestDebts(t *testing.T) {
	s := newSceneWith(t, Options{SegmentBytes: 20_000})
	d := Debt{ID: domain.New[domain.EventID](), Pool: "chat", From: 100, To: 200, Connections: 3}
	must(t, s.box.Owe(d))
	d.To = 300
	must(t, s.box.Owe(d))
	s.roll()
	s.reopen()
	s.box.mu.Lock()
	s.box.opt.MaxBytes = 10
	s.box.mu.Unlock()
	other := Debt{ID: domain.New[domain.EventID](), Pool: "news", From: 1, To: 2}
	must(t, s.box.Owe(other))
	if got := s.box.Debts(); !slices.Equal(got, []Debt{d, other}) {
		t.Fatalf("owed: %+v", got)
	}
	if err := s.box.PayDebt(t.Context(), s.relay.opt.Notes, d.ID); !errors.Is(err, ErrFull) || len(s.box.Debts()) != 2 {
		t.Fatalf("paid when full: %v", err)
	}
	s.box.mu.Lock()
	s.box.opt.MaxBytes = 1 << 20
	s.box.mu.Unlock()
	for range 2 {
		must(t, s.box.PayDebt(t.Context(), s.relay.opt.Notes, d.ID))
		must(t, s.box.PayDebt(t.Context(), s.relay.opt.Notes, other.ID))
	}
	s.reopen()
	s.drain()
	if len(s.box.Debts()) != 0 {
		t.Fatalf("still owed: %+v", s.box.Debts())
	}
	var paid []string
	for name, h := range s.truth.streams {
		for _, e := range h.events {
			if env, err := envelopeOf(e); err == nil && e.Type() == domain.GapRecorded {
				f := env.Facts
				paid = append(paid, fmt.Sprintf("%s %d-%d %d %d", f.Text("pool"), f.Int("from"), f.Int("to"), f.Int("connections"), f.Int("bytes")))
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	if !slices.Equal(paid, []string{"chat 100-300 3 0", "news 1-2 0 0"}) {
		t.Fatalf("paid: %q", paid)
	}
	for _, bad := range []Debt{{}, {ID: d.ID}, {ID: d.ID, Pool: "p", From: 2, To: 1}} {
		if err := s.box.Owe(bad); !errors.Is(err, eventstore.ErrInvalid) {
			t.Errorf("owe %+v: %v", bad, err)
		}
	}
}

// A broken local store stops answering.
type broken struct {
	Local
	fail bool
}

func (b *broken) Append(ctx context.Context, s domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error) {
	if b.fail {
		return eventstore.Appended{}, domain.ErrUnavailable
	}
	return b.Local.Append(ctx, s, expected, events)
}

// TestBroken asks that an outbox whose disk does not answer acknowledges nothing
// more, and that its relay ends.
func TestBroken(t *testing.T) {
	s := newScene(t)
	b := &broken{Local: s.local}
	s.box.local = b
	s.recorded(1)
	b.fail = true
	if err := s.record(sealed(s.ref, 1)); !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("record: %v", err)
	}
	b.fail = false
	if err := s.record(sealed(s.ref, 1)); !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("record later: %v", err)
	}
	if err := s.relay.Run(t.Context()); !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("run: %v", err)
	}
	if err := s.box.Close(); !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("close: %v", err)
	}
	var err error
	if s.box, err = Open(t.Context(), s.local, s.opt); err != nil || s.box.Stats().Pending.Events != 1 {
		t.Fatalf("open again: %v", err)
	}
}

// TestNotAnOutbox asks that a store of something else is refused.
func TestNotAnOutbox(t *testing.T) {
	s := newScene(t)
	_, err := s.local.Append(t.Context(), s.stream, domain.NoStream, []domain.Sealed{sealed(s.ref, 1)})
	must(t, err)
	if _, err := Open(t.Context(), s.local, s.opt); !errors.Is(err, eventstore.ErrDamaged) {
		t.Fatalf("open: %v", err)
	}
	if _, err := Open(t.Context(), s.local, Options{}); !errors.Is(err, eventstore.ErrInvalid) {
		t.Fatalf("open without a clock: %v", err)
	}
	if _, err := NewRelay(s.box, RelayOptions{}); !errors.Is(err, eventstore.ErrInvalid) {
		t.Fatalf("relay without a log: %v", err)
	}
}

// FuzzPage asks that a page that is read is written alike.
func FuzzPage(f *testing.F) {
	debt := Debt{ID: domain.EventID{1}, Pool: "chat", From: 1, To: 2, Connections: 3, Bytes: 4}
	for _, e := range []entry{
		{kind: entryState, lane: 1, next: 2, revision: -1, name: "lethe.test.x"},
		{kind: entryIntent, lane: 300, next: 2, revision: 7},
		{kind: entryAway, lane: 1, revision: 9, runs: []run{{1, 2}, {5, 1}}},
		{kind: entryOwed, debt: debt},
		{kind: entryPaid, debt: Debt{ID: debt.ID}},
		{kind: entryForgot},
	} {
		f.Add(e.append(nil))
	}
	f.Add([]byte{entryAway, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, page []byte) {
		var entries []entry
		var again []byte
		if readPage(page, func(e entry) { entries = append(entries, e); again = e.append(again) }) != nil {
			return
		}
		var twice []byte
		must(t, readPage(again, func(e entry) { twice = e.append(twice) }))
		if string(twice) != string(again) {
			t.Fatalf("%x is read as %x", again, twice)
		}
	})
}
