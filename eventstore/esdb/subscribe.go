package esdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// SubscribeAll implements eventstore.Subscriber: of the streams under
// Config.Prefix. domain.End begins behind what is in the log once the server has
// taken the subscription, which may be after the call returned. The subscription
// ends with ctx, after Deadlines.Resubscribe without a server, and at once on a
// position that no event has (eventstore.ErrPosition). More subscriptions than
// Connections.Subscribe are an unavailability.
func (s *Store) SubscribeAll(ctx context.Context, after domain.Position) (eventstore.Subscription, error) {
	return s.subscribe(ctx, &allSource{store: s, after: after})
}

// SubscribeStream implements eventstore.Subscriber. On a deleted stream Next
// answers ErrDeleted. It ends like a subscription to the log.
func (s *Store) SubscribeStream(ctx context.Context, stream domain.Stream, after domain.Revision) (eventstore.Subscription, error) {
	if after < domain.NoStream || after == eventstore.LastRevision {
		return nil, fmt.Errorf("subscribe to %s after %d: %w", stream, after, eventstore.ErrInvalid)
	}
	if err := s.checkName(stream); err != nil {
		return nil, err
	}
	return s.subscribe(ctx, &streamSource{store: s, stream: stream, after: after})
}

// A source is where a subscription's events come from. It knows how far they were
// delivered, and goes on from there with each open.
type source interface {
	// open begins a subscription at the server. What it has received already comes
	// with it.
	open(ctx context.Context, c *client.Client) (*client.Subscription, []*client.SubscriptionEvent, error)
	// take looks at an event that came, and says whether it is to be delivered.
	take(e domain.Recorded) (deliver bool, err error)
	// delivered moves behind an event.
	delivered(e domain.Recorded)
	// passed moves to where the server says that nothing else came before.
	passed(p domain.Position)
	// failed may read more out of why open failed.
	failed(ctx context.Context, err error) error
}

func (s *Store) subscribe(ctx context.Context, from source) (eventstore.Subscription, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("subscribe: %w", ended(ctx))
	}
	select {
	case s.subscriptions.slots <- struct{}{}:
	default:
		return nil, fmt.Errorf("subscribe: %d subscriptions are open: %w", cap(s.subscriptions.slots), domain.ErrUnavailable)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { cancel(errClosed) }) //nolint:contextcheck // the store's end is the subscription's, too
	sub := &subscription{queue: newQueue(), done: ctx.Done(), cancel: cancel, cause: func() error { return ended(ctx) }}
	p := &pump{store: s, source: from, queue: sub.queue}
	started := s.spawn(func() {
		defer s.subscriptions.leave()
		defer stop() // and not cancel: why the pump ended is still to be read
		sub.queue.end(p.run(ctx))
	})
	if !started {
		stop()
		cancel(errClosed)
		s.subscriptions.leave()
		return nil, fmt.Errorf("subscribe: %w", errClosed)
	}
	return sub, nil
}

// A subscription is the reader's end of a queue.
type subscription struct {
	queue  *queue
	done   <-chan struct{} // of the pump's context
	cause  func() error    // why done is closed
	cancel context.CancelCauseFunc
	err    error // of the goroutine that calls Next
}

// Next implements eventstore.Subscription.
func (s *subscription) Next(ctx context.Context) (eventstore.Delivery, error) {
	for s.err == nil {
		if s.err = s.over(ctx); s.err != nil {
			break
		}
		d, ok, err := s.queue.take()
		if ok {
			return d, nil
		}
		if s.err = err; err == nil {
			s.wait(ctx)
		}
	}
	s.cancel(errSubscriptionClosed) // the pump has nobody to work for
	return eventstore.Delivery{}, fmt.Errorf("subscription: %w", s.err)
}

// over reports why there is nothing to wait for any more.
func (s *subscription) over(ctx context.Context) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	select {
	case <-s.done:
		return s.cause()
	default:
		return nil
	}
}

func (s *subscription) wait(ctx context.Context) {
	select {
	case <-s.queue.ready:
	case <-ctx.Done():
	case <-s.done:
	}
}

// Close implements eventstore.Subscription. It may be called from any goroutine.
func (s *subscription) Close() error {
	s.cancel(errSubscriptionClosed)
	return nil
}

// A pump carries events from the server to a queue. It belongs to one goroutine,
// which holds a slot of the subscriptions.
type pump struct {
	store  *Store
	source source
	queue  *queue
	live   bool // the reader was told that it has caught up
	moved  bool // something came since the last drop
}

// run goes on from the last event delivered, as often as the server drops the
// subscription, and returns why it does not any more.
func (p *pump) run(ctx context.Context) error {
	giveUp := p.giveUp()
	for pause := shortPause; ; pause = min(2*pause, longPause) {
		p.moved = false
		err := p.stream(ctx)
		v := judge(err)
		switch {
		case ctx.Err() != nil:
			return ended(ctx)
		case errors.Is(err, errBehind):
			if err := p.queue.drained(ctx); err != nil {
				return err
			}
		case v.decisive():
			return told(v, err)
		}
		p.live = false
		if p.moved {
			giveUp, pause = p.giveUp(), shortPause
		}
		if errors.Is(err, errBehind) {
			continue
		}
		if p.store.Clock().After(giveUp) || !p.store.pause(ctx, pause) {
			return told(v, err)
		}
	}
}

// giveUp is when a subscription ends that is dropped now.
func (p *pump) giveUp() time.Time { return p.store.Clock().Add(p.store.Deadlines.Resubscribe) }

// errMoved: another node leads, and the subscription goes on there.
var errMoved = fmt.Errorf("another node leads: %w", domain.ErrUnavailable)

// stream carries one subscription of the server, until it ends or another node
// leads.
func (p *pump) stream(ctx context.Context) error {
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reign := p.store.leader.reigning()
	defer context.AfterFunc(reign, cancel)() //nolint:contextcheck // a reign ends what is open, too
	var failure error                        // of this side: it says nothing about the server
	err := p.store.subscriptions.run(ctx, func(ctx context.Context, c *client.Client) error {
		sub, first, err := p.source.open(ctx, c)
		if err != nil {
			return p.source.failed(ctx, err)
		}
		pass := func(e *client.SubscriptionEvent) bool {
			failure = p.pass(ctx, e)
			return failure == nil
		}
		for _, e := range first {
			if !pass(e) {
				return sub.Close()
			}
		}
		return p.store.drain(sub, func() {}, pass)
	})
	switch {
	case reign.Err() != nil && whole.Err() == nil:
		return errMoved
	case failure != nil:
		return failure
	}
	return err
}

// pass delivers what came. While the reader catches up, the server is held up by
// it; once it is live, the server would buffer and then drop it, so a reader that
// does not keep up goes back to catching up instead.
func (p *pump) pass(ctx context.Context, e *client.SubscriptionEvent) error {
	p.moved = true
	switch {
	case e.CheckPointReached != nil:
		p.source.passed(domain.Position{Commit: e.CheckPointReached.Commit, Prepare: e.CheckPointReached.Prepare})
	case e.FellBehind != nil:
		p.live = false
	case e.CaughtUp != nil && !p.live:
		p.live = true
		return p.queue.put(ctx, eventstore.Delivery{CaughtUp: true}, true)
	case e.EventAppeared != nil:
		rec := incoming(e.EventAppeared)
		deliver, err := p.source.take(rec)
		if err != nil {
			return err
		}
		if deliver {
			if err := p.queue.put(ctx, eventstore.Delivery{Event: rec}, !p.live); err != nil {
				return err
			}
		}
		p.source.delivered(rec)
	}
	return nil
}
