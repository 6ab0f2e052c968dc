package keytest

import (
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// testReplay: a backup is restored, taken before any of five destructions; the
// journal alone remembers them.
func testReplay(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada, bob, eve := w.person("ada"), w.person("bob"), w.person("eve")
	stranger, other := w.stranger(), w.stranger()
	check(t, w.ring.LinkAnonymous(background(), bob, stranger.block, stranger.where.Ref))
	day := func(n int) item { return w.seal(ada, "messages", noon.AddDate(0, 0, n)) }
	days := []item{day(-3), day(-2), day(-1), day(0)}
	network := w.seal(ada, "network", noon)
	whole := w.seal(bob, "messages", noon)
	class := w.seal(eve, "messages", noon)
	expired := w.seal(eve, "network", noon.AddDate(0, 0, -13))
	bystander := w.seal(eve, "preferences", noon)

	tagS, tagB := func(i item) domain.Tag { return w.tagOf(domain.KindS, i.where.Subject()) },
		func(i item) domain.Tag { return w.tagOf(domain.KindB, i.where.Bytes()) }
	w.write(keys.DestroyRange, []domain.Tag{tagS(class)}) // below a class takes it, too
	w.write(keys.DestroyRange, []domain.Tag{tagS(days[0]), tagB(days[1])})
	w.write(keys.DestroySubject, []domain.Tag{
		w.tagOf(domain.KindRef, domain.WhereID(ledger, bob)), w.tagOf(domain.KindRef, domain.WhereID(ledger, stranger.where.Ref)),
	})
	w.write(keys.DestroyClass, []domain.Tag{tagS(class)})
	w.write(keys.DestroyRetention, []domain.Tag{w.retentionTag(expired.where.RetentionKey())})
	w.write(keys.DestroyRange, []domain.Tag{tagB(days[2])}) // a kept one, later
	kept := w.keptOne("kim")
	w.write(keys.DestroyRange, []domain.Tag{tagB(kept)}) // of a bundle that has it
	_, _, err := w.IssueRetention(background(), domain.RetentionKey{Class: "messages", Tier: domain.AnonTier, Bucket: "2026-11-23"}, w.now.AddDate(0, 0, 30))
	check(t, err)
	for range 2 {
		_, err := w.ring.Replay(background(), w.journal)
		check(t, err)
		equal(t, "gen behind the replay", w.seal(ada, "messages", noon).where.Gen, 2)
		wantKept(t, w, ada, days[0], days[3])
		wantKept(t, w, kept.where.Ref)
		for range 2 {
			w.wants(domain.ErrErased, days[1], days[2], whole, stranger, class, kept)
			w.wants(domain.ErrExpired, expired)
			w.wants(nil, days[0], days[3], network, other, bystander)
			w.restart()
		}
	}
	equal(t, "gen behind the replay", w.seal(eve, "messages", noon).where.Gen, domain.Gen(2))
	wantGone(t, w, bob, stranger)

	done, err := w.ring.Replay(background(), w.journal)
	check(t, err)
	equal(t, "what a replay too many does", done, keys.Replayed{})
}

func (w *world) tagOf(kind domain.KeyKind, where []byte) domain.Tag {
	return w.ring.Tagger().Tag(kind, where)
}

// keptOne makes somebody whose day was kept when the one before was erased.
func (w *world) keptOne(id string) item {
	w.t.Helper()
	ref := w.person(id)
	i := w.seal(ref, "messages", noon)
	d := erasure(keys.DestroyRange, ref, "messages")
	d.Before = noon
	w.destroy(d)
	w.wants(nil, i)
	return i
}

// wantKept checks which B of messages a bundle has: those and no others.
func wantKept(t *testing.T, w *world, ref domain.SubjectRef, want ...item) {
	t.Helper()
	_, b, err := w.Bundle(background(), ref)
	check(t, err)
	for _, i := range want {
		if _, ok := b.KeptAt(i.where); !ok {
			t.Fatalf("the key of %s was not kept", i.where)
		}
	}
	if _, ok := b.Subject("messages", 1); ok || len(b.Kept) != len(want) {
		t.Fatalf("%d keys are kept, want %d, and no subject key of gen 1", len(b.Kept), len(want))
	}
}

// wantGone looks into the custodian itself.
func wantGone(t *testing.T, w *world, ref domain.SubjectRef, stranger item) {
	t.Helper()
	_, _, err := w.Bundle(background(), ref)
	wantErr(t, err, domain.ErrNotFound)
	b, err := w.Block(background(), stranger.block)
	check(t, err)
	if _, ok := b.Subject(stranger.where.Ref, "network"); ok {
		t.Fatal("the linked ref's key is still there")
	}
}

// testReplayAfterEveryStep: a crash between the journal line and the end of a
// destruction. The replay and the resumed destruction come to the same as the
// destruction alone.
func testReplayAfterEveryStep(t *testing.T, open Open) {
	for _, kind := range []keys.DestructionKind{keys.DestroyClass, keys.DestroyRange, keys.DestroySubject} {
		for executed := range 2 {
			w := newWorld(t, open)
			ada := w.person("ada")
			kept, gone := w.seal(ada, "messages", noon.AddDate(0, 0, -1)), w.seal(ada, "messages", noon)
			d := erasure(kind, ada)
			if kind != keys.DestroySubject {
				d.Classes = []domain.Class{"messages"}
			}
			if kind == keys.DestroyRange {
				d.From = noon
			}
			p, err := w.begin(d)
			check(t, err)
			if executed == 1 {
				check(t, w.ring.Execute(background(), d, p, 0))
			}
			w.restart()
			_, err = w.ring.Replay(background(), w.journal)
			check(t, err)
			check(t, w.ring.Fence(background(), d))
			w.wants(domain.ErrErased, gone)
			check(t, w.finish(d, p))
			w.wantsTwice(domain.ErrErased, gone)
			if kind == keys.DestroyRange {
				w.wants(nil, kept)
			} else {
				w.wants(domain.ErrErased, kept)
			}
		}
	}
}
