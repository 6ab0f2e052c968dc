package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// testClose asks that a closed store answers everything with an unavailability
// and lets nobody wait.
func testClose(t *testing.T, e Engine) {
	k := open(t, e)
	s, _ := k.fill("a", 1)
	sub := k.subscribeStream(s, 0)
	k.caughtUp(sub)
	waiting := make(chan error, 1)
	go func() {
		for {
			if _, err := sub.Next(k.ctx); err != nil {
				waiting <- err
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)
	for range 2 {
		if err := k.store.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	select {
	case err := <-waiting:
		k.is(err, domain.ErrUnavailable)
	case <-time.After(patience):
		t.Fatal("Next still waits")
	}
	k.closed(s)
}

func (k *kit) closed(s domain.Stream) {
	ctx, cancel := context.WithTimeout(k.ctx, patience)
	defer cancel()
	_, err := k.store.Append(ctx, s, 0, events(s, 1))
	k.is(err, domain.ErrUnavailable)
	k.is(k.store.AppendMany(ctx, []eventstore.Append{{Stream: s, Expected: 0, Events: events(s, 1)}})[0].Err, domain.ErrUnavailable)
	_, err = collect(k.store.ReadStream(ctx, s, 0, eventstore.Forward, 0))
	k.is(err, domain.ErrUnavailable)
	_, err = collect(k.store.ReadAll(ctx, domain.Start, eventstore.Forward, 0))
	k.is(err, domain.ErrUnavailable)
	_, err = k.store.Last(ctx, s)
	k.is(err, domain.ErrUnavailable)
	k.is(k.store.Truncate(ctx, s, 1), domain.ErrUnavailable)
	k.is(k.store.Delete(ctx, s), domain.ErrUnavailable)
	if _, err = k.store.SubscribeAll(ctx, domain.Start); err == nil {
		k.Error("subscribed to a closed store")
	}
}

// testReopen asks that everything acknowledged is there after the store was
// opened again, and that it still knows what was appended, truncated and deleted.
func testReopen(t *testing.T, e Engine) {
	k := open(t, e)
	a, as := k.fill("a", 3)
	b, bs := k.fill("b", 4)
	c, cs := k.fill("c", 2)
	k.truncate(b, 2)
	k.delete(c)
	before := k.readOurs(domain.Start, eventstore.Forward)
	for range 2 {
		k.store = e.Reopen(t, k.store)
		k.whole(a, as, 0)
		k.truncated(b, bs, 2)
		k.gone(c, cs)
		k.append(domain.NoStream, as...)
		k.append(domain.NoStream, bs...)
		k.wrong(2, domain.NoStream, events(a, 1)...)
	}
	more := events(a, 1)
	appended := k.append(2, more...)
	if last := before[len(before)-1].Position; !last.Before(appended.Position) {
		t.Fatalf("position %s after %s", appended.Position, last)
	}
	k.whole(a, append(as, more...), 0)
}
