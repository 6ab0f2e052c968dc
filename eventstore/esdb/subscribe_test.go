package esdb

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

// drops returns a hook that ends a subscription at each of the given revisions of
// testStream, once.
func drops(err error, at ...int64) func(context.Context, esdbtest.Call, string, int64) error {
	var mu sync.Mutex
	pending := map[int64]bool{}
	for _, r := range at {
		pending[r] = true
	}
	return func(_ context.Context, _ esdbtest.Call, stream string, revision int64) error {
		mu.Lock()
		defer mu.Unlock()
		if stream != string(testStream) || !pending[revision] {
			return nil
		}
		delete(pending, revision)
		return err
	}
}

// A subscription that the server drops goes on from the last event delivered.
func TestADroppedSubscriptionGoesOn(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]func(b *bench) error{
		"too slow":          func(*bench) error { return esdbtest.TooSlow() },
		"unavailable":       func(*bench) error { return esdbtest.Unavailable() },
		"connection closed": func(*bench) error { return esdbtest.ErrCloseConnection },
		"not the leader":    (*bench).notLeader,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.append(testStream, domain.NoStream, sealed(testStream, 50, 10))
			for _, subscribe := range []func() (eventstore.Subscription, error){
				func() (eventstore.Subscription, error) { return b.store.SubscribeAll(b.ctx, domain.Start) },
				func() (eventstore.Subscription, error) {
					return b.store.SubscribeStream(b.ctx, testStream, domain.NoStream)
				},
			} {
				b.server.SetHooks(esdbtest.Hooks{Deliver: drops(failure(b), 0, 7, 8, 49)})
				sub, err := subscribe()
				if err != nil {
					t.Fatal(err)
				}
				b.follow(sub, 0, 50)
				b.caughtUp(sub)
				if err := sub.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A live subscriber that stops reading costs the server nothing, and reads on from
// the log when it wakes up.
func TestAReaderThatFellBehind(t *testing.T) {
	t.Parallel()
	b, testStream := onAny(t), own()
	sub, err := b.store.SubscribeStream(b.ctx, testStream, domain.NoStream)
	if err != nil {
		t.Fatal(err)
	}
	b.caughtUp(sub)
	const n = 2000
	for i := 0; i < n; i += 100 {
		b.append(testStream, domain.Revision(i-1), sealed(testStream, 100, 1000))
	}
	if got := len(sub.(*subscription).queue.items); got > queueEvents {
		t.Fatalf("%d events queued", got)
	}
	b.follow(sub, 0, n)
	b.caughtUp(sub)
}

// A restart in the middle of a burst loses and doubles nothing.
func TestASubscriptionOverARestart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	all, err := b.store.SubscribeAll(b.ctx, domain.End)
	if err != nil {
		t.Fatal(err)
	}
	b.caughtUp(all)
	one, err := b.store.SubscribeStream(b.ctx, testStream, domain.NoStream)
	if err != nil {
		t.Fatal(err)
	}
	b.caughtUp(one)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 100 {
			b.append(testStream, domain.Revision(i-1), sealed(testStream, 1, 10))
		}
	})
	time.Sleep(20 * time.Millisecond)
	b.restart()
	b.follow(all, 0, 100)
	b.follow(one, 0, 100)
	wg.Wait()
}

// Nobody is kept waiting for ever for a server that does not come back.
func TestASubscriptionEndsWithoutAServer(t *testing.T) {
	t.Parallel()
	b := newBench(t, hasty)
	sub, err := b.store.SubscribeAll(b.ctx, domain.Start)
	if err != nil {
		t.Fatal(err)
	}
	b.caughtUp(sub)
	b.server.Stop()
	b.within(15*time.Second, func() {
		_, err := sub.Next(b.ctx)
		b.unavailable(err)
	})
}

// The server says nothing about having caught up with a stream that is not there.
// What is appended between the looks of the subscriber comes nevertheless.
func TestAStreamThatAppearsWhileItIsLookedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other := benchAt(t, b.server.URL())
	var once atomic.Bool
	b.server.SetHooks(esdbtest.Hooks{Arrived: func(_ context.Context, c esdbtest.Call) error {
		if c.Method == esdbtest.MethodSubscribe && c.Stream == esdbtest.AllStream && once.CompareAndSwap(false, true) {
			other.append(testStream, domain.NoStream, sealed(testStream, 3, 10))
		}
		return nil
	}})
	sub, err := b.store.SubscribeStream(b.ctx, testStream, domain.NoStream)
	if err != nil {
		t.Fatal(err)
	}
	b.follow(sub, 0, 3)
	b.caughtUp(sub)
	if !once.Load() {
		t.Fatal("the stream was there from the beginning")
	}
}

// A subscription to an absent stream does not take a longer name for it, keeps to
// the revision it begins behind, and ends with the stream.
func TestAnAbsentStreamIsFollowedByItsWholeName(t *testing.T) {
	t.Parallel()
	b, testStream := onAny(t), own()
	sub, err := b.store.SubscribeStream(b.ctx, testStream, 1)
	if err != nil {
		t.Fatal(err)
	}
	b.caughtUp(sub)
	b.append(testStream+"b", domain.NoStream, sealed(testStream+"b", 5, 10))
	b.append(testStream, domain.NoStream, sealed(testStream, 4, 10))
	b.follow(sub, 2, 2)
	if err := b.store.Delete(b.ctx, testStream); err != nil {
		t.Fatal(err)
	}
	_, err = sub.Next(b.ctx)
	b.is(err, eventstore.ErrDeleted)
}

// A position that no event has is told as that, and is not the end of the log.
func TestAPositionThatNoEventHas(t *testing.T) {
	t.Parallel()
	b, testStream := onAny(t), own()
	at := b.append(testStream, domain.NoStream, sealed(testStream, 3, 1000)).Position
	bad := domain.Position{Commit: at.Commit - 1, Prepare: at.Prepare - 1}
	for dir := range 2 {
		for _, err := range b.store.ReadAll(b.ctx, bad, eventstore.Direction(dir), 0) {
			b.is(err, eventstore.ErrPosition)
		}
	}
	sub, err := b.store.SubscribeAll(b.ctx, bad)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sub.Next(b.ctx)
	b.is(err, eventstore.ErrPosition)
}

// What others keep on the same server is not shown.
func TestOnlyTheLedgersStreamsAreShown(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Prefix = "lethe.main." })
	other := benchAt(t, b.server.URL(), func(c *Config) { c.Prefix = "lethe.mainz." })
	for i := range 1500 { // more than a window and a page
		name := domain.Stream("lethe.mainz.a")
		other.append(name, domain.Revision(i-1), sealed(name, 1, 10))
	}
	sub, err := b.store.SubscribeAll(b.ctx, domain.Start)
	if err != nil {
		t.Fatal(err)
	}
	b.caughtUp(sub)
	es := sealed(testStream, 2, 10)
	b.append(testStream, domain.NoStream, es)
	if err := errors.Join(b.store.Truncate(b.ctx, testStream, 1), b.store.Delete(b.ctx, testStream)); err != nil {
		t.Fatal(err)
	}
	b.follow(sub, 0, 2)
	if d := b.next(sub); d.Event.Type() != eventstore.DeletedType {
		t.Fatalf("event %s, want the deletion", d.Event.Type())
	}
	for dir, from := range map[eventstore.Direction]domain.Position{eventstore.Forward: domain.Start, eventstore.Backward: domain.End} {
		n := 0
		for e, err := range b.store.ReadAll(b.ctx, from, dir, 0) {
			if n++; err != nil || e.Stream() != testStream {
				t.Fatalf("event of %s, %v", e.Stream(), err)
			}
		}
		if n != 3 {
			t.Fatalf("%d events, want 3", n)
		}
	}
}
