package outbox

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
)

// truth is the log of a test: slices in memory that answer as
// eventstore.Appender says, and remember how often each id was ever written.
type truth struct {
	mu      sync.Mutex
	streams map[domain.Stream]*history
	written map[domain.EventID]int
}

type history struct {
	events    []domain.Sealed
	truncated int
	deleted   bool
}

func newTruth() *truth {
	return &truth{streams: map[domain.Stream]*history{}, written: map[domain.EventID]int{}}
}

func (t *truth) stream(s domain.Stream) *history {
	if t.streams[s] == nil {
		t.streams[s] = &history{}
	}
	return t.streams[s]
}

func (t *truth) append(s domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.stream(s)
	last := domain.Revision(len(h.events)) - 1
	end := expected + domain.Revision(len(events))
	same := func(a, b domain.Sealed) bool { return a.ID() == b.ID() }
	switch {
	case eventstore.Check(s, expected, events) != nil:
		return eventstore.Appended{}, eventstore.Check(s, expected, events)
	case h.deleted:
		return eventstore.Appended{}, eventstore.ErrDeleted
	case expected == last:
		h.events = append(h.events, events...)
		for _, e := range events {
			t.written[e.ID()]++
		}
		return eventstore.Appended{Revision: end}, nil
	case expected < last && end <= last && slices.EqualFunc(h.events[expected+1:end+1], events, same):
		return eventstore.Appended{Revision: end}, nil
	}
	return eventstore.Appended{}, &eventstore.WrongRevision{Stream: s, Expected: expected, Actual: last}
}

func (t *truth) read(s domain.Stream, from domain.Revision) ([]domain.Recorded, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.stream(s)
	if h.deleted {
		return nil, eventstore.ErrDeleted
	}
	var out []domain.Recorded
	for i := max(int(from), h.truncated); i < len(h.events); i++ {
		out = append(out, domain.Recorded{Sealed: h.events[i], Revision: domain.Revision(i)})
	}
	return out, nil
}

func (t *truth) delete(s domain.Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stream(s).deleted = true
}

// truncate hides what lies before the last event.
func (t *truth) truncate(s domain.Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.stream(s)
	h.truncated = max(h.truncated, len(h.events)-1)
}

// A line is how one outbox reaches the truth: with faults, or through a leader
// that was deposed.
type line struct {
	*truth
	next  func() storetest.Fault
	away  bool
	stale map[domain.Stream][]domain.Sealed // what the deposed leader has; nil where there is none
	until time.Time                         // how long it answers
	clock *clock
	// meanwhile happens while an append is on its way.
	meanwhile func()
}

// depose makes the line meet a leader, for less than a relay settles, that has all
// there was but for stream s: of that it has the first events and then some that
// nobody else has.
func (l *line) depose(s domain.Stream, first int, phantoms ...domain.Sealed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = l.clock.time().Add(3*time.Second - 1)
	l.stale = map[domain.Stream][]domain.Sealed{}
	for name, h := range l.streams {
		l.stale[name] = slices.Clone(h.events)
	}
	l.stale[s] = append(slices.Clone(l.stale[s][:first]), phantoms...)
}

func (l *line) deposed() bool {
	if l.stale != nil && l.clock.time().After(l.until) {
		l.stale = nil
	}
	return l.stale != nil
}

// Append implements Log. A deposed leader refuses what it can, and writes nothing.
func (l *line) Append(_ context.Context, s domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error) {
	fault := storetest.None
	if l.next != nil {
		fault = l.next()
	}
	if l.away || fault == storetest.Lost {
		return eventstore.Appended{}, storetest.ErrFault
	}
	if l.deposed() {
		if last := domain.Revision(len(l.stale[s])) - 1; last != expected {
			return eventstore.Appended{}, &eventstore.WrongRevision{Stream: s, Expected: expected, Actual: last}
		}
		return eventstore.Appended{}, fmt.Errorf("not the leader: %w", domain.ErrUnavailable)
	}
	at, err := l.append(s, expected, events)
	if l.meanwhile != nil {
		l.meanwhile()
	}
	if fault == storetest.Unanswered {
		return eventstore.Appended{}, storetest.ErrFault
	}
	return at, err
}

// ReadStream implements Log.
func (l *line) ReadStream(_ context.Context, s domain.Stream, from domain.Revision, dir eventstore.Direction, _ int) iter.Seq2[domain.Recorded, error] {
	return func(yield func(domain.Recorded, error) bool) {
		if l.away {
			yield(domain.Recorded{}, storetest.ErrFault)
			return
		}
		if dir == eventstore.Backward { // the end alone is asked for
			from = 0
		}
		if l.deposed() {
			for i := int(from); i < len(l.stale[s]); i++ {
				if !yield(domain.Recorded{Sealed: l.stale[s][i], Revision: domain.Revision(i)}, nil) {
					return
				}
			}
			return
		}
		events, err := l.read(s, from)
		if err != nil {
			yield(domain.Recorded{}, err)
			return
		}
		if dir == eventstore.Backward {
			events = events[max(len(events)-1, 0):]
		}
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	}
}
