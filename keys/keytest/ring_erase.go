package keytest

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

func testFence(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada, bob := w.person("ada"), w.person("bob")
	mine, other := w.seal(ada, "messages", w.now), w.seal(ada, "network", w.now)
	his := w.seal(bob, "messages", w.now)
	w.wants(nil, mine, other, his)
	held, err := w.handle(ada, "messages", domain.OwnTier, w.now)
	check(t, err)
	key, err := w.ring.Opening(background(), mine.where, domain.BlockID{})
	check(t, err)

	d := erasure(keys.DestroyClass, ada, "messages")
	check(t, w.ring.Fence(background(), d))
	if _, err := key.Open(mine.event); err == nil {
		t.Fatal("a key handed out before the fence still opens")
	}
	_, err = w.sealWith(held, domain.BlockID{}, w.now)
	wantErr(t, err, domain.ErrFenced)
	for range 2 {
		w.wants(domain.ErrDenied, mine)
		w.wants(nil, other, his)
		_, err = w.handle(ada, "messages", domain.OwnTier, w.now)
		wantErr(t, err, domain.ErrFenced)
		w.seal(ada, "network", w.now)
		check(t, w.ring.Fence(background(), d))
		wantErr(t, w.ring.Fence(background(), erasure(keys.DestroySubject, ada)), domain.ErrFenced)
		_, _, err = w.enrol("ada")
		check(t, err) // a class is fenced, not the person
		w.restart()
	}
	check(t, w.ring.Unfence(background(), erasure(keys.DestroyClass, ada, "messages")))
	w.wants(domain.ErrDenied, mine)
	check(t, w.ring.Unfence(background(), d))
	w.wantsTwice(nil, mine)

	whole := erasure(keys.DestroySubject, ada)
	equal(t, "ref", w.person("ada"), ada) // cached
	check(t, w.ring.Fence(background(), whole))
	_, _, err = w.enrol("ada")
	wantErr(t, err, domain.ErrFenced)
	s, err := w.lookup("ada")
	check(t, err)
	equal(t, "fence", s.Fence.Command, whole.Command)
	check(t, w.ring.Unfence(background(), whole))
	equal(t, "ref behind an erasure that was called off", w.person("ada"), ada)
	wantErr(t, w.ring.Fence(background(), erasure(keys.DestroySubject, domain.New[domain.SubjectRef]())), domain.ErrNotFound)
}

// testFenceWhileSealing: no handle that was got after the fence seals, and none
// got before it goes on, whatever was under way.
func testFenceWhileSealing(t *testing.T, open Open) {
	w := newWorld(t, open)
	for range 20 {
		ada := w.person("ada")
		i := w.seal(ada, "messages", w.now)
		d := erasure(keys.DestroySubject, ada)
		fenced := make(chan struct{})
		var wg sync.WaitGroup
		errs := make([]error, racers)
		for n := range racers {
			wg.Go(func() { errs[n] = w.hammer(i, fenced) })
		}
		check(t, w.ring.Fence(background(), d))
		close(fenced)
		wg.Wait()
		check(t, errors.Join(errs...))
		p, err := w.ring.Plan(background(), d)
		check(t, err)
		w.write(d.Kind, p.Tags)
		check(t, w.finish(d, p))
	}
}

// hammer seals and opens until the fence stands, and then tries once more.
func (w *world) hammer(i item, fenced <-chan struct{}) error {
	for {
		select {
		case <-fenced:
			if _, err := w.try(i.where.Ref, i.where.Class, domain.OwnTier, w.now); !errors.Is(err, domain.ErrFenced) {
				return errors.Join(errors.New("sealed behind the fence"), err)
			}
			if err := w.read(i); !errors.Is(err, domain.ErrDenied) {
				return errors.Join(errors.New("opened behind the fence"), err)
			}
			return nil
		default:
			_, sealed := w.try(i.where.Ref, i.where.Class, domain.OwnTier, w.now)
			opened := w.read(i)
			if (sealed != nil && !errors.Is(sealed, domain.ErrFenced)) ||
				(opened != nil && !errors.Is(opened, domain.ErrDenied) && !errors.Is(opened, domain.ErrUnavailable)) {
				return errors.Join(sealed, opened)
			}
		}
	}
}

func testEraseClass(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada, bob := w.person("ada"), w.person("bob")
	gone := []item{w.seal(ada, "messages", w.now), w.seal(ada, "messages", w.now.AddDate(0, 0, -3))}
	stays := []item{w.seal(ada, "network", w.now), w.seal(bob, "messages", w.now)}
	d := erasure(keys.DestroyClass, ada, "messages")
	p := w.destroy(d)
	equal(t, "keys", p.Keys, 1)
	equal(t, "gens", p.Gens[0].String(), "messages:1")
	equal(t, "buckets", len(p.Buckets), 2)
	w.wantsTwice(domain.ErrErased, gone...)
	w.wants(nil, stays...)

	again := w.seal(ada, "messages", w.now)
	equal(t, "gen", again.where.Gen, domain.Gen(2))
	w.wantsTwice(nil, again)
	check(t, w.finish(d, p)) // called once more, it touches nothing new
	w.wants(nil, append(stays, again)...)
	w.wants(domain.ErrErased, gone...)

	w.destroy(erasure(keys.DestroyClass, ada, "messages", "network"))
	w.wants(domain.ErrErased, append(gone, again, stays[0])...)
	w.wants(nil, stays[1])
	equal(t, "gen", w.seal(ada, "messages", w.now).where.Gen, domain.Gen(3))
}

func testEraseRange(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada := w.person("ada")
	day := func(n int) item { return w.seal(ada, "messages", noon.AddDate(0, 0, n)) }
	days := []item{day(-4), day(-3), day(-2), day(-1), day(0)}
	network := w.seal(ada, "network", noon)
	check(t, w.ring.IssueAhead(background()))

	d := erasure(keys.DestroyRange, ada, "messages")
	d.From, d.Before = noon.AddDate(0, 0, -3), noon.AddDate(0, 0, -1) // rounded down: days -3 and -2
	p := w.destroy(d)
	equal(t, "buckets", len(p.Buckets), 2)
	equal(t, "keys", p.Keys, 1)
	w.wantsTwice(domain.ErrErased, days[1], days[2])
	w.wants(nil, days[0], days[3], days[4], network)
	next := day(0)
	equal(t, "gen", next.where.Gen, domain.Gen(2))
	check(t, w.finish(d, p))
	w.wants(nil, next, days[0], days[3], days[4])

	second := erasure(keys.DestroyRange, ada, "messages")
	second.Before = noon.AddDate(0, 0, -3) // day -4 alone, which was kept
	p = w.destroy(second)
	equal(t, "kept keys that die", len(p.Dropped), 1)
	w.wantsTwice(domain.ErrErased, days[0])
	w.wants(nil, days[3], days[4], next)

	w.now = domain.Bucket("2026-11-22").Start().AddDate(0, 0, 30) // day -1 is due
	w.wants(domain.ErrDenied, days[3])
	w.wants(nil, days[4], next)
	w.expire()
	w.wantsTwice(domain.ErrExpired, days[3])
	w.wants(domain.ErrErased, days[0], days[1])
	w.wants(nil, days[4], next)

	w.destroy(erasure(keys.DestroyClass, ada, "messages"))
	w.wantsTwice(domain.ErrErased, days[4], next)
}

func testEraseSubject(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada, bob := w.person("ada"), w.person("bob")
	gone := []item{w.seal(ada, "messages", w.now), w.seal(ada, "network", w.now), w.seal(ada, "preferences", w.now)}
	stays := w.seal(bob, "messages", w.now)
	p := w.destroy(erasure(keys.DestroySubject, ada))
	equal(t, "tags", len(p.Tags), 1)
	equal(t, "keys", p.Keys, 3)
	w.wantsTwice(domain.ErrErased, gone...)
	w.wants(nil, stays)
	_, err := w.lookup("ada")
	wantErr(t, err, domain.ErrNotFound)
	_, err = w.handle(ada, "messages", domain.OwnTier, w.now)
	wantErr(t, err, domain.ErrErased)
	s, created, err := w.enrol("ada")
	check(t, err)
	if !created || s.Ref == ada {
		t.Fatal("the erased ref came back")
	}
	w.wants(nil, w.seal(s.Ref, "messages", w.now))
}

// testJournalledOnly: between the journal line and the destruction the keys are
// there and open nothing, and the person who comes back is somebody else.
func testJournalledOnly(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada := w.person("ada")
	i := w.seal(ada, "messages", w.now)
	d := erasure(keys.DestroySubject, ada)
	p, err := w.begin(d)
	check(t, err)
	w.ring.Dead.Add(p.Tags...)
	for range 2 {
		w.wants(domain.ErrErased, i)
		_, err = w.lookup("ada")
		wantErr(t, err, domain.ErrNotFound)
		_, err = w.handle(ada, "messages", domain.OwnTier, w.now)
		wantErr(t, err, domain.ErrErased)
		w.restart()
	}
	again := w.person("ada")
	if again == ada {
		t.Fatal("the ref that the journal names was handed out")
	}
	next := w.seal(again, "messages", w.now)
	check(t, w.ring.Fence(background(), d))
	check(t, w.finish(d, p))
	w.wantsTwice(domain.ErrErased, i)
	w.wants(nil, next)
	equal(t, "ref", w.person("ada"), again)
}

// testKeyBesideTag: tags that the journal gets stop keys that the cache holds
// and the custodian has, each kind of them.
func testKeyBesideTag(t *testing.T, open Open) {
	w := newWorld(t, open)
	for name, tag := range map[string]func(item) domain.Tag{
		"ref": func(i item) domain.Tag { return w.tagOf(domain.KindRef, domain.WhereID(ledger, i.where.Ref)) },
		"B":   func(i item) domain.Tag { return w.tagOf(domain.KindB, i.where.Bytes()) },
		"S":   func(i item) domain.Tag { return w.tagOf(domain.KindS, i.where.Subject()) },
	} {
		cached := w.seal(w.person("cached "+name), "messages", w.now)
		cold := w.seal(w.person("cold "+name), "messages", w.now)
		w.wants(nil, cached)
		w.ring.Dead.Add(tag(cached), tag(cold))
		w.wants(domain.ErrErased, cached, cold)
	}
	_, err := w.lookup("cached ref")
	wantErr(t, err, domain.ErrNotFound)
	cached, cold := w.seal(w.person("ada"), "network", w.now), w.seal(w.person("ada"), "network", w.now.AddDate(0, 0, -1))
	w.wants(nil, cached)
	w.ring.Dead.Add(w.retentionTag(cached.where.RetentionKey()), w.retentionTag(cold.where.RetentionKey()))
	w.wants(domain.ErrExpired, cached, cold)
	stranger := w.stranger()
	w.wants(nil, stranger)
	w.ring.Dead.Add(w.tagOf(domain.KindBlock, domain.WhereID(ledger, stranger.block)))
	w.wants(domain.ErrErased, stranger)
}

// testErasePlan: computed again the plan is the same, and it survives its way
// through a document.
func testErasePlan(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada := w.person("ada")
	w.seal(ada, "messages", noon.AddDate(0, 0, -2))
	check(t, w.ring.IssueAhead(background()))
	d := erasure(keys.DestroyRange, ada, "messages", "network")
	d.Before = noon
	_, err := w.ring.Plan(background(), d)
	if err == nil {
		t.Fatal("planned without a fence")
	}
	check(t, w.ring.Fence(background(), d))
	first, err := w.ring.Plan(background(), d)
	check(t, err)
	w.restart()
	check(t, w.ring.Fence(background(), d))
	second, err := w.ring.Plan(background(), d)
	check(t, err)
	raw, err := json.Marshal([]any{d, first})
	check(t, err)
	var stored struct {
		d keys.Destruction
		p keys.Plan
	}
	check(t, json.Unmarshal(raw, &[]any{&stored.d, &stored.p}))
	if !reflect.DeepEqual(first, second) || !reflect.DeepEqual(stored.p, first) {
		t.Fatalf("plans differ:\n%+v\n%+v\n%+v", first, second, stored.p)
	}
	check(t, stored.d.Validate())
	if !stored.d.Before.Equal(d.Before) || !slices.Equal(stored.d.Classes, d.Classes) {
		t.Fatalf("destruction %+v, want %+v", stored.d, d)
	}
	w.write(d.Kind, stored.p.Tags)
	check(t, w.ring.Unfence(background(), d))
	if err := w.ring.Execute(background(), d, stored.p, 0); err == nil {
		t.Fatal("destroyed keys that no fence protected")
	}
}

func testBadDestruction(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada := w.person("ada")
	i := w.seal(ada, "messages", w.now)
	noClass := erasure(keys.DestroyClass, ada)
	backwards := erasure(keys.DestroyRange, ada, "messages")
	backwards.From, backwards.Before = noon, noon
	narrowed := erasure(keys.DestroySubject, ada, "messages")
	scope := erasure(keys.DestroySubject, ada)
	scope.Scope = domain.Obligated
	nameless := erasure(keys.DestroySubject, ada)
	nameless.Command = domain.CommandID{}
	for name, d := range map[string]keys.Destruction{
		"a class erasure of no class": noClass, "a range that ends where it begins": backwards,
		"a whole person, but one class": narrowed, "another scope": scope, "no command": nameless,
		"no kind": {Command: domain.New[domain.CommandID](), Ref: ada, Scope: domain.Erasable},
	} {
		if w.ring.Fence(background(), d) == nil {
			t.Errorf("fenced for %s", name)
		}
	}
	w.wants(nil, i)
}
