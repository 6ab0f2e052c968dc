package storetest

import (
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

func (k *kit) truncate(s domain.Stream, before domain.Revision) {
	k.Helper()
	if err := k.store.Truncate(k.ctx, s, before); err != nil {
		k.Fatalf("truncate before %d: %v", before, err)
	}
}

func testTruncate(t *testing.T, e Engine) {
	k := open(t, e)
	k.sub("hides what is before", func(k *kit) {
		s, es := k.fill("a", 5)
		k.truncate(s, 3)
		k.truncated(s, es, 3)
		k.truncate(s, 3)
		k.truncate(s, 1)
		k.truncate(s, 0)
		k.truncated(s, es, 3)
		k.truncate(s, 4)
		k.truncated(s, es, 4)
	})
	k.sub("keeps the last event", func(k *kit) {
		s, es := k.fill("a", 3)
		k.truncate(s, 99)
		k.truncated(s, es, 2)
		more := events(s, 2)
		k.append(2, more...)
		k.same(k.read(s, 3, eventstore.Forward, 0), more, 3)
	})
	k.sub("a stream that never was", func(k *kit) {
		s := k.stream("a")
		k.truncate(s, 5)
		es := events(s, 2)
		k.append(domain.NoStream, es...)
		k.whole(s, es, 0)
	})
	k.sub("leaves others alone", func(k *kit) {
		b, bs := k.fill("b", 3)
		s, _ := k.fill("a", 3)
		c, cs := k.fill("c", 3)
		k.truncate(s, 2)
		k.whole(b, bs, 0)
		k.whole(c, cs, 0)
	})
	k.sub("revisions go on", func(k *kit) {
		s, es := k.fill("a", 3)
		k.truncate(s, 2)
		k.wrong(2, 1, events(s, 1)...)
		k.wrong(2, domain.NoStream, events(s, 1)...)
		more := events(s, 1)
		k.append(2, more...)
		k.whole(s, append(es[2:3:3], more...), 2)
	})
	k.sub("a long stream", func(k *kit) {
		const n = 2500
		s := k.stream("a")
		es := events(s, n)
		for i := 0; i < n; i += 500 {
			k.append(domain.Revision(i-1), es[i:i+500]...)
		}
		k.truncate(s, n-10)
		k.truncated(s, es, n-10)
	})
}

// truncated asks that es from revision first are all that is left of s.
func (k *kit) truncated(s domain.Stream, es []domain.Sealed, first domain.Revision) {
	k.Helper()
	k.whole(s, es[first:], first)
	k.same(reversed(k.read(s, eventstore.LastRevision, eventstore.Backward, 0)), es[first:], first)
	k.same(k.read(s, 1, eventstore.Forward, 1), es[first:first+1], first)
	if first > 0 {
		k.same(k.read(s, first-1, eventstore.Backward, 0), nil, 0)
	}
	if last, err := k.store.Last(k.ctx, s); err != nil || last != domain.Revision(len(es))-1 {
		k.Fatalf("last %d, %v", last, err)
	}
}

func testDelete(t *testing.T, e Engine) {
	k := open(t, e)
	k.sub("for ever", func(k *kit) {
		b, bs := k.fill("b", 2)
		s, es := k.fill("a", 3)
		k.delete(s)
		k.gone(s, es)
		k.whole(b, bs, 0)
	})
	k.sub("a stream that never was", func(k *kit) {
		s := k.stream("a")
		k.delete(s)
		k.gone(s, events(s, 1))
	})
	k.sub("a truncated stream", func(k *kit) {
		s, es := k.fill("a", 4)
		k.truncate(s, 2)
		k.delete(s)
		k.gone(s, es)
	})
	k.sub("a long stream", func(k *kit) {
		s := k.stream("a")
		for i := 0; i < 2500; i += 500 {
			k.append(domain.Revision(i-1), events(s, 500)...)
		}
		k.delete(s)
		k.gone(s, events(s, 1))
	})
}

func (k *kit) delete(s domain.Stream) {
	k.Helper()
	for range 2 {
		if err := k.store.Delete(k.ctx, s); err != nil {
			k.Fatalf("delete: %v", err)
		}
	}
}

// gone asks that a stream answers ErrDeleted to everything, and that exactly one
// event of its deletion stands in the log, behind what may still be shown of it.
func (k *kit) gone(s domain.Stream, es []domain.Sealed) {
	k.Helper()
	for _, expected := range []domain.Revision{domain.NoStream, 0, domain.Revision(len(es)) - 1} {
		_, err := k.store.Append(k.ctx, s, expected, es)
		k.is(err, eventstore.ErrDeleted)
	}
	for dir, from := range map[eventstore.Direction]domain.Revision{eventstore.Forward: 0, eventstore.Backward: eventstore.LastRevision} {
		_, err := collect(k.store.ReadStream(k.ctx, s, from, dir, 0))
		k.is(err, eventstore.ErrDeleted)
	}
	_, err := k.store.Last(k.ctx, s)
	k.is(err, eventstore.ErrDeleted)
	var tombstones, behind int
	for _, e := range k.readOurs(domain.Start, eventstore.Forward) {
		switch {
		case e.Stream() != s:
		case e.Type() == eventstore.DeletedType && e.Revision == eventstore.LastRevision:
			tombstones++
		case tombstones > 0:
			behind++
		}
	}
	if tombstones != 1 || behind != 0 {
		k.Fatalf("%d tombstones, %d events behind them", tombstones, behind)
	}
}
