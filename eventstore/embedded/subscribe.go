package embedded

import (
	"context"
	"fmt"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// SubscribeAll implements eventstore.Subscriber. domain.End begins behind what is
// durable now. The subscription ends with ctx.
func (s *Store) SubscribeAll(ctx context.Context, after domain.Position) (eventstore.Subscription, error) {
	place, err := s.placeOf(after, s.end())
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return s.subscribe(ctx, func(end uint64) (*page, error) {
		p, err := s.logPage(place+1, end, eventstore.Forward, 0)
		if n := len(p.events); n > 0 {
			place = p.events[n-1].Position.Commit
		}
		return p, err
	})
}

// SubscribeStream implements eventstore.Subscriber. On a deleted stream Next
// answers ErrDeleted. The subscription ends with ctx.
func (s *Store) SubscribeStream(ctx context.Context, stream domain.Stream, after domain.Revision) (eventstore.Subscription, error) {
	if after < domain.NoStream || after == eventstore.LastRevision {
		return nil, fmt.Errorf("subscribe to %s after %d: %w", stream, after, eventstore.ErrInvalid)
	}
	c := streamCursor{store: s, stream: stream, low: after + 1, high: eventstore.LastRevision}
	return s.subscribe(ctx, func(end uint64) (*page, error) {
		c.end = end
		return c.page(0)
	})
}

func (s *Store) subscribe(ctx context.Context, next func(end uint64) (*page, error)) (eventstore.Subscription, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("subscribe: %w", canceled(ctx))
	}
	select {
	case <-s.closing:
		return nil, fmt.Errorf("subscribe: %w", errClosed)
	default:
	}
	cause := func() error { return canceled(ctx) }
	return &subscription{done: ctx.Done(), cause: cause, store: s, next: next, closed: make(chan struct{})}, nil
}

// A subscription reads a page behind the last event it delivered, and waits when
// there is none. Its memory is that page.
type subscription struct {
	store *Store
	next  func(end uint64) (*page, error)
	done  <-chan struct{} // of the context that the subscription was made with
	cause func() error    // why done is closed

	// Of the goroutine that calls Next.
	queue []domain.Recorded
	live  bool
	err   error

	close  sync.Once
	closed chan struct{}
}

// Next implements eventstore.Subscription. The subscriber fell behind when more
// than one page had gathered.
func (s *subscription) Next(ctx context.Context) (eventstore.Delivery, error) {
	if s.err == nil {
		s.err = s.ended(ctx)
	}
	for s.err == nil {
		if len(s.queue) > 0 {
			e := s.queue[0]
			s.queue = s.queue[1:]
			return eventstore.Delivery{Event: e}, nil
		}
		if d, ok := s.fetch(ctx); ok {
			return d, nil
		}
	}
	s.queue = nil
	return eventstore.Delivery{}, fmt.Errorf("subscription: %w", s.err)
}

// fetch reads the next page; where there is none, it says once that the
// subscriber has caught up, and then waits.
func (s *subscription) fetch(ctx context.Context) (d eventstore.Delivery, caughtUp bool) {
	end, more := s.store.durable.get()
	p, err := s.next(end)
	if err != nil {
		s.err = err
		return d, false
	}
	s.queue = p.events
	if p.full() {
		s.live = false
	}
	if len(s.queue) > 0 {
		return d, false
	}
	if !s.live {
		s.live = true
		return eventstore.Delivery{CaughtUp: true}, true
	}
	s.err = s.wait(ctx, more)
	return d, false
}

// ended reports why there is nothing to wait for any more.
func (s *subscription) ended(ctx context.Context) error {
	select {
	case <-s.closed:
		return errSubscriptionClosed
	case <-s.store.closing:
		return errClosed
	case <-ctx.Done():
		return canceled(ctx)
	case <-s.done:
		return s.cause()
	default:
		return nil
	}
}

func (s *subscription) wait(ctx context.Context, more <-chan struct{}) error {
	select {
	case <-more:
	case <-s.closed:
	case <-s.store.closing:
	case <-ctx.Done():
	case <-s.done:
	}
	return s.ended(ctx)
}

// Close implements eventstore.Subscription. It may be called from any goroutine.
func (s *subscription) Close() error {
	s.close.Do(func() { close(s.closed) })
	return nil
}
