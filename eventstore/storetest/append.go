package storetest

import (
	"context"
	"sync"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

func testAppend(t *testing.T, e Engine) {
	k := open(t, e)
	k.sub("exact revisions", func(k *kit) {
		s, es := k.fill("a", 2)
		more := events(s, 3)
		k.wrong(1, domain.NoStream, more...)
		k.wrong(1, 0, more...)
		k.wrong(1, 2, more...)
		k.append(1, more...)
		k.whole(s, append(es, more...), 0)
	})
	k.sub("a stream that never was", func(k *kit) {
		s := k.stream("a")
		k.wrong(domain.NoStream, 0, events(s, 1)...)
		k.append(domain.NoStream, events(s, 1)...)
	})
	k.sub("bytes come back as given", func(k *kit) {
		s := k.stream("a")
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		es := events(s, 4)
		es[1] = domain.NewSealed(es[1].ID(), s, "some.thing.v1", []byte("{}"), nil)
		es[2] = domain.NewSealed(es[2].ID(), s, "some.thing.v2", []byte(`{"a" : "ü<>&"}`), all)
		k.append(domain.NoStream, es...)
		k.whole(s, es, 0)
	})
	k.sub("refused before anything is written", func(k *kit) { testRefused(k) })
	k.sub("a context that has ended", func(k *kit) {
		ctx, cancel := context.WithCancel(k.ctx)
		cancel()
		s := k.stream("a")
		_, err := k.store.Append(ctx, s, domain.NoStream, events(s, 1))
		k.is(err, context.Canceled)
		k.is(err, domain.ErrUnavailable)
	})
	k.sub("answers the position", func(k *kit) {
		s := k.stream("a")
		a := k.append(domain.NoStream, events(s, 3)...)
		if got := k.read(s, eventstore.LastRevision, eventstore.Backward, 1); got[0].Position != a.Position {
			k.Fatalf("position %s, answered %s", got[0].Position, a.Position)
		}
	})
}

func testRefused(k *kit) {
	s := k.stream("a")
	one := events(s, 1)
	for name, bad := range map[string]eventstore.Append{
		"no event":          {Stream: s, Expected: domain.NoStream},
		"another stream":    {Stream: s, Expected: domain.NoStream, Events: []domain.Sealed{one[0], events(k.stream("b"), 1)[0]}},
		"no stream":         {Expected: domain.NoStream, Events: one},
		"any":               {Stream: s, Expected: -2, Events: one},
		"no id":             {Stream: s, Expected: domain.NoStream, Events: []domain.Sealed{domain.NewSealed(domain.EventID{}, s, sampleType, nil, nil)}},
		"no type":           {Stream: s, Expected: domain.NoStream, Events: []domain.Sealed{domain.NewSealed(one[0].ID(), s, "", nil, nil)}},
		"invalid among ten": {Stream: s, Expected: domain.NoStream, Events: append(events(s, 9), domain.NewSealed(domain.EventID{}, s, sampleType, nil, nil))},
	} {
		_, err := k.store.Append(k.ctx, bad.Stream, bad.Expected, bad.Events)
		k.Log(name)
		k.is(err, eventstore.ErrInvalid)
	}
	k.whole(s, nil, 0)
	k.append(domain.NoStream, one...)
}

func testLimits(t *testing.T, e Engine) {
	k := open(t, e)
	s := k.stream("a")
	sized := func(n int) domain.Sealed {
		return domain.NewSealed(events(s, 1)[0].ID(), s, sampleType, []byte("{}"), make([]byte, n-len(sampleType)-2))
	}
	tooLarge := func(es ...domain.Sealed) {
		t.Helper()
		_, err := k.store.Append(k.ctx, s, domain.NoStream, es)
		k.is(err, eventstore.ErrTooLarge)
		k.whole(s, nil, 0)
	}
	half := domain.MaxAppendBytes / 2
	tooLarge(sized(domain.MaxEventBytes + 1))
	tooLarge(sized(half), sized(domain.MaxAppendBytes-half+1))
	es := []domain.Sealed{sized(domain.MaxEventBytes), sized(domain.MaxAppendBytes - domain.MaxEventBytes)}
	k.append(domain.NoStream, es...)
	k.whole(s, es, 0)
}

func testAppendMany(t *testing.T, e Engine) {
	k := open(t, e)
	k.sub("each on its own", func(k *kit) { testMixed(k) })
	k.sub("the same stream twice", func(k *kit) {
		s := k.stream("a")
		es := events(s, 4)
		rs := k.store.AppendMany(k.ctx, []eventstore.Append{
			{Stream: s, Expected: domain.NoStream, Events: es[:2]}, {Stream: s, Expected: 1, Events: es[2:]}, {Stream: s, Expected: domain.NoStream, Events: es[:2]},
		})
		for i, want := range []domain.Revision{1, 3, 1} {
			if rs[i].Err != nil || rs[i].Appended.Revision != want {
				k.Fatalf("result %d: %+v, want revision %d", i, rs[i], want)
			}
		}
		k.whole(s, es, 0)
	})
	k.sub("hundreds", func(k *kit) {
		appends := make([]eventstore.Append, 700)
		for i := range appends {
			s := k.stream(string(rune('a'+i%26)) + string(rune('a'+i/26)))
			appends[i] = eventstore.Append{Stream: s, Expected: domain.NoStream, Events: events(s, 1+i%3)}
		}
		for range 2 { // the second time every one is a repetition
			for i, r := range k.store.AppendMany(k.ctx, appends) {
				if r.Err != nil || r.Appended.Revision != domain.Revision(i%3) {
					k.Fatalf("result %d: %+v", i, r)
				}
			}
		}
		for _, a := range appends {
			k.whole(a.Stream, a.Events, 0)
		}
	})
	k.sub("none", func(k *kit) {
		if rs := k.store.AppendMany(k.ctx, nil); len(rs) != 0 {
			k.Fatalf("%d results for no append", len(rs))
		}
	})
}

func testMixed(k *kit) {
	a, as := k.fill("a", 2)
	b := k.stream("b")
	c, _ := k.fill("c", 1)
	if err := k.store.Delete(k.ctx, c); err != nil {
		k.Fatal(err)
	}
	bs, late := events(b, 1), events(a, 1)
	rs := k.store.AppendMany(k.ctx, []eventstore.Append{
		{Stream: b, Expected: domain.NoStream, Events: bs},
		{Stream: a, Expected: 0, Events: late},
		{Stream: c, Expected: 0, Events: events(c, 1)},
		{Stream: a, Expected: domain.NoStream, Events: as},
		{Stream: a, Expected: 1},
	})
	if len(rs) != 5 || rs[0].Err != nil || rs[0].Appended.Revision != 0 || rs[3].Err != nil || rs[3].Appended.Revision != 1 {
		k.Fatalf("results %+v", rs)
	}
	k.isWrong(rs[1].Err, a, 1, 0)
	k.is(rs[2].Err, eventstore.ErrDeleted)
	k.is(rs[4].Err, eventstore.ErrInvalid)
	k.whole(a, as, 0)
	k.whole(b, bs, 0)
}

// testConcurrency has many writers; some fight for one stream.
func testConcurrency(t *testing.T, e Engine) {
	k := open(t, e)
	k.sub("one stream, one winner a revision", func(k *kit) {
		const writers, each = 8, 10
		s := k.stream("a")
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() { k.contend(s, each) })
		}
		wg.Wait()
		if got := k.read(s, 0, eventstore.Forward, 0); len(got) != writers*each {
			k.Fatalf("%d events, want %d", len(got), writers*each)
		}
	})
	k.sub("positions rise", func(k *kit) { testPositions(k) })
	k.sub("ten identical appends at once", func(k *kit) {
		s := k.stream("a")
		es := events(s, 1)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				a, err := k.store.Append(k.ctx, s, domain.NoStream, es)
				if err == nil && a.Revision != 0 {
					k.Errorf("revision %d", a.Revision)
				}
			})
		}
		wg.Wait()
		k.append(domain.NoStream, es...)
		k.whole(s, es, 0)
	})
}

// contend appends n single events, each at the end that it was told last.
func (k *kit) contend(s domain.Stream, n int) {
	last, err := k.store.Last(k.ctx, s)
	for done := 0; done < n && err == nil; {
		var a eventstore.Appended
		a, err = k.store.Append(k.ctx, s, last, events(s, 1))
		if wrong, ok := asWrong(err); ok {
			last, err = wrong.Actual, nil
			continue
		}
		last = a.Revision
		done++
	}
	if err != nil {
		k.Error(err)
	}
}

func testPositions(k *kit) {
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			s := k.stream(string(rune('a' + w)))
			last := domain.Start
			for i := range each {
				a, err := k.store.Append(k.ctx, s, domain.Revision(2*i-1), events(s, 2))
				if err != nil || !last.Before(a.Position) {
					k.Errorf("append %d: %v, position %s behind %s", i, err, a.Position, last)
					return
				}
				last = a.Position
			}
		})
	}
	wg.Wait()
	all := k.readOurs(domain.Start, eventstore.Forward)
	k.rising(all)
	if len(all) != writers*each*2 {
		k.Fatalf("%d events in the log, want %d", len(all), writers*each*2)
	}
}

// rising asks that positions rise, and revisions by one in each stream.
func (k *kit) rising(all []domain.Recorded) {
	k.Helper()
	next := map[domain.Stream]domain.Revision{}
	last := domain.Start
	for _, e := range all {
		if !last.Before(e.Position) {
			k.Fatalf("position %s behind %s", e.Position, last)
		}
		if e.Revision != next[e.Stream()] {
			k.Fatalf("revision %d of %s, want %d", e.Revision, e.Stream(), next[e.Stream()])
		}
		last, next[e.Stream()] = e.Position, e.Revision+1
	}
}
