package viewtest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A Log is a log in memory with the reading half of a store. Unlike a store it
// can be told to go back, to keep showing what was disposed of, and to fail. It
// is safe for concurrent use.
type Log struct {
	mu      sync.Mutex
	events  []domain.Recorded
	hidden  map[domain.Position]bool
	last    map[domain.Stream]domain.Revision
	deleted map[domain.Stream]bool
	fault   func() error
	grown   chan struct{}
}

// NewLog makes an empty log.
func NewLog() *Log {
	return &Log{
		hidden: map[domain.Position]bool{}, last: map[domain.Stream]domain.Revision{},
		deleted: map[domain.Stream]bool{}, grown: make(chan struct{}),
	}
}

// Append puts an event at the end of its stream.
func (l *Log) Append(s domain.Sealed) domain.Recorded {
	l.mu.Lock()
	defer l.mu.Unlock()
	rev := domain.Revision(0)
	if r, ok := l.last[s.Stream()]; ok {
		rev = r + 1
	}
	l.last[s.Stream()] = rev
	return l.add(domain.Recorded{Sealed: s, Revision: rev})
}

func (l *Log) add(r domain.Recorded) domain.Recorded {
	n := uint64(len(l.events) + 1)
	r.Position = domain.Position{Commit: n, Prepare: n}
	l.events = append(l.events, r)
	close(l.grown)
	l.grown = make(chan struct{})
	return r
}

// Truncate hides the events of a stream below a revision, save the last one.
func (l *Log) Truncate(stream domain.Stream, before domain.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Stream() == stream && e.Revision < min(before, l.last[stream]) {
			l.hidden[e.Position] = true
		}
	}
}

// Delete deletes a stream for ever. Its events stay visible where shown is set,
// as they do on EventStoreDB before a scavenge.
func (l *Log) Delete(stream domain.Stream, shown bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted[stream] {
		return
	}
	l.deleted[stream] = true
	for _, e := range l.events {
		if e.Stream() == stream && !shown {
			l.hidden[e.Position] = true
		}
	}
	l.add(domain.Recorded{
		Sealed: domain.NewSealed(domain.EventID{}, stream, eventstore.DeletedType, nil, nil), Revision: eventstore.LastRevision,
	})
}

// Cut makes the log end behind position at, as a restored backup does.
func (l *Log) Cut(at domain.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events[at.Commit:] {
		l.last[e.Stream()] = e.Revision - 1
	}
	l.events = l.events[:at.Commit]
}

// Replace puts other bytes in the place of an event.
func (l *Log) Replace(at domain.Position, s domain.Sealed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = slices.Clone(l.events)
	l.events[at.Commit-1].Sealed = s
}

// Fail makes every read report what f returns, until f is nil.
func (l *Log) Fail(f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
}

// Copy is a log that ends behind position at.
func (l *Log) Copy(at domain.Position) *Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := NewLog()
	for _, e := range l.events[:at.Commit] {
		c.events = append(c.events, e)
		c.last[e.Stream()] = e.Revision
	}
	return c
}

// End is the position of the last event.
func (l *Log) End() domain.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return domain.Position{Commit: uint64(len(l.events)), Prepare: uint64(len(l.events))}
}

// next returns the first visible event from index i on that keep accepts.
func (l *Log) next(i, step int, keep func(domain.Recorded) bool) (domain.Recorded, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault != nil {
		if err := l.fault(); err != nil {
			return domain.Recorded{}, i, err
		}
	}
	for ; i >= 0 && i < len(l.events); i += step {
		if e := l.events[i]; !l.hidden[e.Position] && keep(e) {
			return e, i + step, nil
		}
	}
	return domain.Recorded{}, -1, nil
}

func (l *Log) read(i, step, limit int, keep func(domain.Recorded) bool) iter.Seq2[domain.Recorded, error] {
	return func(yield func(domain.Recorded, error) bool) {
		for n := 0; limit == 0 || n < limit; n++ {
			e, next, err := l.next(i, step, keep)
			if err == nil && next == -1 && e.Type() == "" {
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
			i = next
		}
	}
}

// ReadStream implements eventstore.Reader, forward only.
func (l *Log) ReadStream(_ context.Context, stream domain.Stream, from domain.Revision, _ eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error] {
	l.mu.Lock()
	gone := l.deleted[stream]
	l.mu.Unlock()
	if gone {
		return func(yield func(domain.Recorded, error) bool) { yield(domain.Recorded{}, eventstore.ErrDeleted) }
	}
	return l.read(0, 1, limit, func(e domain.Recorded) bool { return e.Stream() == stream && e.Revision >= from })
}

// ReadAll implements eventstore.Reader.
func (l *Log) ReadAll(_ context.Context, from domain.Position, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error] {
	end := l.End()
	if from != domain.End && end.Before(from) {
		return func(yield func(domain.Recorded, error) bool) { yield(domain.Recorded{}, eventstore.ErrPosition) }
	}
	all := func(domain.Recorded) bool { return true }
	if dir == eventstore.Backward {
		if from == domain.Start {
			return l.read(-1, -1, limit, all)
		}
		return l.read(int(min(from.Commit-1, end.Commit))-1, -1, limit, all) //nolint:gosec // a test's log
	}
	return l.read(int(min(from.Commit, end.Commit)), 1, limit, all) //nolint:gosec // a test's log
}

// Last implements eventstore.Reader.
func (l *Log) Last(_ context.Context, stream domain.Stream) (domain.Revision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted[stream] {
		return 0, eventstore.ErrDeleted
	}
	if r, ok := l.last[stream]; ok {
		return r, nil
	}
	return domain.NoStream, nil
}

// SubscribeAll implements eventstore.Subscriber.
func (l *Log) SubscribeAll(_ context.Context, after domain.Position) (eventstore.Subscription, error) {
	return &subscription{log: l, at: int(after.Commit), done: make(chan struct{})}, nil //nolint:gosec // a test's log
}

// SubscribeStream is not offered: no reader of views uses it.
func (l *Log) SubscribeStream(context.Context, domain.Stream, domain.Revision) (eventstore.Subscription, error) {
	return nil, fmt.Errorf("subscribing to a stream of a test's log: %w", eventstore.ErrInvalid)
}

type subscription struct {
	log  *Log
	at   int
	told bool
	once sync.Once
	done chan struct{}
}

func (s *subscription) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

func (s *subscription) Next(ctx context.Context) (eventstore.Delivery, error) {
	for {
		s.log.mu.Lock()
		grown := s.log.grown
		s.log.mu.Unlock()
		e, next, err := s.log.next(s.at, 1, func(domain.Recorded) bool { return true })
		switch {
		case err != nil:
			return eventstore.Delivery{}, err
		case e.Type() != "":
			s.at = next
			return eventstore.Delivery{Event: e}, nil
		case !s.told:
			s.told = true
			return eventstore.Delivery{CaughtUp: true}, nil
		}
		select {
		case <-grown:
		case <-s.done:
			return eventstore.Delivery{}, context.Canceled
		case <-ctx.Done():
			return eventstore.Delivery{}, ctx.Err()
		}
	}
}
