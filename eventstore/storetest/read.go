package storetest

import (
	"context"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

func testReadStream(t *testing.T, e Engine) {
	k := open(t, e)
	const n = 600 // more than a page of any engine
	s := k.stream("a")
	es := events(s, n)
	for i := 0; i < n; i += 200 {
		k.append(domain.Revision(i-1), es[i:i+200]...)
	}
	k.sub("forwards", func(k *kit) {
		k.same(k.read(s, 0, eventstore.Forward, 0), es, 0)
		k.same(k.read(s, 590, eventstore.Forward, 0), es[590:], 590)
		k.same(k.read(s, 5, eventstore.Forward, 300), es[5:305], 5)
		k.same(k.read(s, n-1, eventstore.Forward, 7), es[n-1:], n-1)
		k.same(k.read(s, n, eventstore.Forward, 0), nil, 0)
		k.same(k.read(s, n+1000, eventstore.Forward, 0), nil, 0)
	})
	k.sub("backwards", func(k *kit) {
		k.same(reversed(k.read(s, eventstore.LastRevision, eventstore.Backward, 0)), es, 0)
		k.same(reversed(k.read(s, eventstore.LastRevision, eventstore.Backward, 3)), es[n-3:], n-3)
		k.same(reversed(k.read(s, 310, eventstore.Backward, 300)), es[11:311], 11)
		k.same(reversed(k.read(s, 0, eventstore.Backward, 0)), es[:1], 0)
	})
	k.sub("a stream that never was", func(k *kit) {
		k.same(k.read(k.stream("b"), 0, eventstore.Forward, 0), nil, 0)
		k.same(k.read(k.stream("b"), eventstore.LastRevision, eventstore.Backward, 0), nil, 0)
		if last, err := k.store.Last(k.ctx, k.stream("b")); err != nil || last != domain.NoStream {
			k.Fatalf("last %d, %v", last, err)
		}
	})
	k.sub("last", func(k *kit) {
		if last, err := k.store.Last(k.ctx, s); err != nil || last != n-1 {
			k.Fatalf("last %d, %v", last, err)
		}
	})
	k.sub("stopped by its reader", func(k *kit) {
		for e, err := range k.store.ReadStream(k.ctx, s, 0, eventstore.Forward, 0) {
			if err != nil {
				k.Fatal(err)
			}
			k.equal(e, es[0])
			break
		}
	})
	k.sub("a context that has ended", func(k *kit) {
		ctx, cancel := context.WithCancel(k.ctx)
		cancel()
		_, err := collect(k.store.ReadStream(ctx, s, 0, eventstore.Forward, 0))
		k.is(err, context.Canceled)
		k.is(err, domain.ErrUnavailable)
	})
	k.sub("a name that is the beginning of another", func(k *kit) {
		long, es := k.fill("ab", 2)
		k.same(k.read(long[:len(long)-1], 0, eventstore.Forward, 0), nil, 0)
		k.whole(long, es, 0)
	})
}

func testReadAll(t *testing.T, e Engine) {
	k := open(t, e)
	a, b := k.stream("a"), k.stream("b")
	as, bs := events(a, 4), events(b, 3)
	k.append(domain.NoStream, as[:2]...)
	k.append(domain.NoStream, bs...)
	k.append(1, as[2:]...)
	want := append(append(append([]domain.Sealed{}, as[:2]...), bs...), as[2:]...)
	all := k.readOurs(domain.Start, eventstore.Forward)
	if len(all) != len(want) {
		t.Fatalf("%d events, want %d", len(all), len(want))
	}
	for i := range want {
		k.equal(all[i], want[i])
	}
	k.rising(all)

	back := reversed(k.readOurs(domain.End, eventstore.Backward))
	for i := range want {
		k.equal(back[i], want[i])
	}
	for i, e := range all {
		if got := k.readOurs(e.Position, eventstore.Forward); len(got) != len(all)-i-1 {
			t.Fatalf("%d events behind the %dth, want %d", len(got), i, len(all)-i-1)
		}
		if got := k.readOurs(e.Position, eventstore.Backward); len(got) != i {
			t.Fatalf("%d events before the %dth, want %d", len(got), i, i)
		}
	}
	k.limited(all)
	for dir, from := range map[eventstore.Direction]domain.Position{eventstore.Forward: domain.End, eventstore.Backward: domain.Start} {
		if got, err := collect(k.store.ReadAll(k.ctx, from, dir, 0)); err != nil || len(got) != 0 {
			t.Fatalf("%d events beyond the end, %v", len(got), err)
		}
	}
	k.samePositions(a, b, all)
}

func (k *kit) limited(all []domain.Recorded) {
	k.Helper()
	got, err := collect(k.store.ReadAll(k.ctx, all[0].Position, eventstore.Forward, 2))
	if err != nil || len(got) != 2 {
		k.Fatalf("%d events with limit 2, %v", len(got), err)
	}
	got, err = collect(k.store.ReadAll(k.ctx, domain.End, eventstore.Backward, 3))
	if err != nil || len(got) != 3 {
		k.Fatalf("%d events with limit 3, %v", len(got), err)
	}
}

// samePositions asks that stream reads give the positions and store times of the
// log.
func (k *kit) samePositions(a, b domain.Stream, all []domain.Recorded) {
	k.Helper()
	in := map[domain.EventID]domain.Recorded{}
	for _, s := range []domain.Stream{a, b} {
		for _, e := range k.read(s, 0, eventstore.Forward, 0) {
			in[e.ID()] = e
		}
	}
	for _, e := range all {
		if s := in[e.ID()]; s.Position != e.Position || !s.StoreTime.Equal(e.StoreTime) || s.Revision != e.Revision {
			k.Fatalf("event %s: %s in its stream, %s in the log", e.ID(), s.Position, e.Position)
		}
	}
}
