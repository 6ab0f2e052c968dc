package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

func (k *kit) subscribeAll(after domain.Position) eventstore.Subscription {
	k.Helper()
	s, err := k.store.SubscribeAll(k.ctx, after)
	return k.subscribed(s, err)
}

func (k *kit) subscribeStream(s domain.Stream, after domain.Revision) eventstore.Subscription {
	k.Helper()
	sub, err := k.store.SubscribeStream(k.ctx, s, after)
	return k.subscribed(sub, err)
}

func (k *kit) subscribed(s eventstore.Subscription, err error) eventstore.Subscription {
	k.Helper()
	if err != nil {
		k.Fatalf("subscribe: %v", err)
	}
	k.Cleanup(func() {
		if err := s.Close(); err != nil {
			k.Errorf("close a subscription: %v", err)
		}
	})
	return s
}

// next waits for the next delivery of the test's own.
func (k *kit) next(s eventstore.Subscription) eventstore.Delivery {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.ctx, patience)
	defer cancel()
	for {
		d, err := s.Next(ctx)
		if err != nil {
			k.Fatalf("next: %v", err)
		}
		if d.CaughtUp || k.ours(d.Event) {
			return d
		}
	}
}

// take waits for n events, whatever is said of catching up between them.
func (k *kit) take(s eventstore.Subscription, n int) (out []domain.Recorded) {
	k.Helper()
	for len(out) < n {
		if d := k.next(s); !d.CaughtUp {
			out = append(out, d.Event)
		}
	}
	return out
}

// caughtUp asks that the news comes next.
func (k *kit) caughtUp(s eventstore.Subscription) {
	k.Helper()
	if d := k.next(s); !d.CaughtUp {
		k.Fatalf("event %s, want the news of having caught up", d.Event.ID())
	}
}

// silent asks that nothing comes for a moment. It ends the subscription.
func (k *kit) silent(s eventstore.Subscription) {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.ctx, 50*time.Millisecond)
	defer cancel()
	for {
		d, err := s.Next(ctx)
		if err != nil {
			k.is(err, context.DeadlineExceeded)
			return
		}
		if d.CaughtUp || k.ours(d.Event) {
			k.Fatalf("delivery %+v, want none", d)
		}
	}
}

func testSubscribeAll(t *testing.T, e Engine) {
	k := open(t, e)
	k.sub("what was, then what comes", func(k *kit) {
		s, es := k.fill("a", 3)
		sub := k.subscribeAll(domain.Start)
		k.same(k.take(sub, 3), es, 0)
		k.caughtUp(sub)
		more := events(s, 2)
		k.append(2, more...)
		k.same(k.take(sub, 2), more, 3)
		k.append(2, more...) // a repetition is not delivered
		k.silent(sub)
	})
	k.sub("behind a position", func(k *kit) {
		s, es := k.fill("a", 5)
		sub := k.subscribeAll(k.read(s, 2, eventstore.Forward, 1)[0].Position)
		k.same(k.take(sub, 2), es[3:], 3)
		k.caughtUp(sub)
	})
	k.sub("gapless while others write", func(k *kit) { testGapless(k) })
	k.sub("a deletion is delivered", func(k *kit) {
		s, _ := k.fill("a", 1)
		last := k.read(s, 0, eventstore.Forward, 1)[0].Position
		sub := k.subscribeAll(last)
		k.caughtUp(sub)
		k.delete(s)
		if e := k.take(sub, 1)[0]; e.Type() != eventstore.DeletedType || e.Stream() != s {
			k.Fatalf("%s of %s, want the deletion", e.Type(), e.Stream())
		}
	})
	k.sub("a slow subscriber slows nobody down", func(k *kit) {
		s, es := k.fill("a", 1)
		sub := k.subscribeAll(domain.Start)
		k.same(k.take(sub, 1), es, 0)
		k.caughtUp(sub)
		const n = 3000
		for i := 0; i < n; i += 100 {
			more := events(s, 100)
			k.append(domain.Revision(i), more...)
			es = append(es, more...)
		}
		k.same(k.take(sub, n), es[1:], 1)
		k.caughtUp(sub) // it fell behind
	})
}

// testGapless has subscribers that begin before, in the middle of and after a
// burst of writers; each sees everything once, in the same order.
func testGapless(k *kit) {
	const writers, each, subscribers = 6, 60, 4
	var writing, reading sync.WaitGroup
	orders := make([][]domain.Recorded, subscribers)
	subscribe := func(i int) {
		sub := k.subscribeAll(domain.Start)
		reading.Go(func() { orders[i] = k.take(sub, writers*each) })
	}
	subscribe(0)
	for w := range writers {
		writing.Go(func() {
			s := k.stream(string(rune('a' + w)))
			for i := range each {
				if _, err := k.store.Append(k.ctx, s, domain.Revision(i-1), events(s, 1)); err != nil {
					k.Error(err)
					return
				}
			}
		})
	}
	subscribe(1)
	subscribe(2)
	writing.Wait()
	subscribe(3)
	reading.Wait()
	for _, order := range orders {
		k.rising(order)
		for i := range order {
			if order[i].Position != orders[0][i].Position {
				k.Fatalf("event %d is at %s and at %s", i, order[i].Position, orders[0][i].Position)
			}
		}
	}
}

func testSubscribeStream(t *testing.T, e Engine) {
	k := open(t, e)
	k.sub("what was, then what comes", func(k *kit) {
		s, es := k.fill("a", 3)
		k.fill("b", 3)
		sub := k.subscribeStream(s, domain.NoStream)
		k.same(k.take(sub, 3), es, 0)
		k.caughtUp(sub)
		more := events(s, 2)
		k.append(2, more...)
		k.same(k.take(sub, 2), more, 3)
	})
	k.sub("behind a revision", func(k *kit) {
		s, es := k.fill("a", 5)
		k.same(k.take(k.subscribeStream(s, 2), 2), es[3:], 3)
		end := k.subscribeStream(s, 4)
		k.caughtUp(end)
		k.silent(end)
	})
	k.sub("a stream that is not there yet", func(k *kit) {
		s := k.stream("a")
		sub := k.subscribeStream(s, domain.NoStream)
		k.caughtUp(sub)
		es := events(s, 2)
		k.append(domain.NoStream, es...)
		k.same(k.take(sub, 2), es, 0)
	})
	k.sub("a truncated stream", func(k *kit) {
		s, es := k.fill("a", 5)
		k.truncate(s, 3)
		k.same(k.take(k.subscribeStream(s, domain.NoStream), 2), es[3:], 3)
	})
	k.sub("gapless while others write", func(k *kit) {
		const n = 200
		s := k.stream("a")
		es := events(s, n)
		var wg sync.WaitGroup
		wg.Go(func() {
			for i, e := range es {
				if _, err := k.store.Append(k.ctx, s, domain.Revision(i-1), []domain.Sealed{e}); err != nil {
					k.Error(err)
					return
				}
			}
		})
		k.same(k.take(k.subscribeStream(s, domain.NoStream), n), es, 0)
		wg.Wait()
	})
	k.sub("a deleted stream", func(k *kit) {
		s, _ := k.fill("a", 2)
		sub := k.subscribeStream(s, 1)
		k.caughtUp(sub)
		k.delete(s)
		k.is(k.ends(sub), eventstore.ErrDeleted)
		late, err := k.store.SubscribeStream(k.ctx, s, domain.NoStream)
		if err == nil {
			err = k.ends(k.subscribed(late, nil))
		}
		k.is(err, eventstore.ErrDeleted)
	})
}

// ends returns the error that ends a subscription; a deletion may be delivered
// before.
func (k *kit) ends(s eventstore.Subscription) error {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.ctx, patience)
	defer cancel()
	for {
		d, err := s.Next(ctx)
		if err != nil {
			return err
		}
		if !d.CaughtUp && k.ours(d.Event) && d.Event.Type() != eventstore.DeletedType {
			k.Fatalf("event %d, want the end", d.Event.Revision)
		}
	}
}

func testSubscriptionEnds(t *testing.T, e Engine) {
	k := open(t, e)
	// blocked starts a Next that waits, does something, and returns its error.
	blocked := func(ctx context.Context, sub eventstore.Subscription, do func()) error {
		done := make(chan error, 1)
		go func() {
			for {
				if _, err := sub.Next(ctx); err != nil {
					done <- err
					return
				}
			}
		}()
		time.Sleep(20 * time.Millisecond)
		do()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return errors.New("still waiting")
		}
	}
	k.sub("by Close", func(k *kit) {
		sub := k.subscribeStream(k.stream("a"), domain.NoStream)
		k.caughtUp(sub)
		err := blocked(k.ctx, sub, func() {
			if err := sub.Close(); err != nil {
				k.Error(err)
			}
		})
		k.is(err, domain.ErrUnavailable)
		_, err = sub.Next(k.ctx)
		k.is(err, domain.ErrUnavailable)
	})
	k.sub("by the context of Next", func(k *kit) {
		ctx, cancel := context.WithCancel(k.ctx)
		sub := k.subscribeStream(k.stream("a"), domain.NoStream)
		k.caughtUp(sub)
		k.is(blocked(ctx, sub, cancel), context.Canceled)
	})
	k.sub("by the context it was made with", func(k *kit) {
		ctx, cancel := context.WithCancel(k.ctx)
		sub, err := k.store.SubscribeStream(ctx, k.stream("a"), domain.NoStream)
		k.is(blocked(k.ctx, k.subscribed(sub, err), cancel), context.Canceled)
	})
}
