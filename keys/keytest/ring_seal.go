package keytest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

func testRingEnrol(t *testing.T, open Open) {
	w := newWorld(t, open)
	_, err := w.lookup("ada@example.com")
	wantErr(t, err, domain.ErrNotFound)
	var refs [racers]domain.SubjectRef
	var made [racers]bool
	check(t, race(racers, func(i int) error {
		s, created, err := w.enrol("ada@example.com")
		refs[i], made[i] = s.Ref, created
		return err
	}))
	first := slices.Index(made[:], true)
	if first < 0 || slices.Index(made[first+1:], true) >= 0 {
		t.Fatalf("created %v, want one", made)
	}
	w.restart()
	s, err := w.lookup("ada@example.com")
	check(t, err)
	for _, ref := range refs {
		equal(t, "ref", ref, s.Ref)
	}
	classes, err := w.ring.Classes(background(), s.Ref)
	check(t, err)
	equal(t, "classes", len(classes), 3)
	if w.person("bob@example.com") == s.Ref {
		t.Fatal("two persons have one ref")
	}
	p, err := w.ring.Person("ada@example.com", domain.Obligated)
	check(t, err)
	obligated, created, err := w.ring.Enrol(background(), p)
	check(t, err)
	if !created || obligated.Ref == s.Ref {
		t.Fatal("both scopes have one ref")
	}
}

func testExternalIDs(t *testing.T, open Open) {
	w := newWorld(t, open)
	equal(t, "ref of the decomposed form", w.person("Rene\u0301"), w.person("Ren\u00e9"))
	if w.person("ada") == w.person("Ada") {
		t.Fatal("case was folded")
	}
	principal, err := keys.NewPerson("principals", "ada", domain.Erasable)
	check(t, err)
	if _, err := w.ring.Lookup(background(), principal); !errors.Is(err, domain.ErrNotFound) {
		t.Fatalf("a namespace leads into another: %v", err)
	}
	for _, id := range []string{"", "\xffsecret", strings.Repeat("secret", 200)} {
		_, _, err := w.enrol(id)
		wantErr(t, err, keys.ErrExternalID)
		if strings.Contains(err.Error(), "secret") {
			t.Fatalf("the error repeats the id: %v", err)
		}
		_, _, err = w.ring.Enrol(background(), keys.Person{Namespace: "n", Scope: domain.Erasable, ExternalID: id})
		wantErr(t, err, keys.ErrExternalID)
	}
}

func testSealing(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada, bob := w.person("ada"), w.person("bob")
	mine := w.seal(ada, "messages", w.now)
	his := w.seal(bob, "messages", w.now)
	tier, err := w.try(ada, "messages", "P7D", w.now)
	check(t, err)
	w.wantsTwice(nil, mine, his, tier)

	first, err := w.handle(ada, "messages", domain.OwnTier, w.now)
	check(t, err)
	again, err := w.handle(ada, "messages", domain.OwnTier, w.now)
	check(t, err)
	equal(t, "handle", again, first)
	equal(t, "gen", first.Where().Gen, domain.Gen(1))

	swapped := mine
	swapped.where.Ref = bob
	if err := w.read(swapped); err == nil {
		t.Fatal("the key of another person opened it")
	}
}

func testSealingRefused(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada := w.person("ada")
	w.now = domain.Bucket("2026-11-24").Start().Add(-5*time.Minute - time.Second)
	_, err := w.try(ada, "messages", domain.OwnTier, w.now.Add(5*time.Minute+time.Second))
	wantErr(t, err, domain.ErrNotDue)
	w.now = w.now.Add(time.Second)
	_, err = w.handle(ada, "messages", domain.OwnTier, w.now.Add(5*time.Minute))
	check(t, err)

	w.now = noon
	_, err = w.try(ada, "messages", domain.OwnTier, noon.AddDate(0, 0, -31))
	wantErr(t, err, domain.ErrPastDue)
	_, err = w.try(ada, "messages", "P7D", noon.AddDate(0, 0, -8))
	wantErr(t, err, domain.ErrPastDue)
	_, _, err = w.Retention(background(), domain.RetentionKey{Class: "messages", Tier: "P7D", Bucket: "2026-11-15"})
	wantErr(t, err, domain.ErrNotFound) // none is issued to die at once
	_, err = w.try(domain.New[domain.SubjectRef](), "messages", domain.OwnTier, noon)
	wantErr(t, err, domain.ErrNotFound)

	for name, call := range map[string]func() error{
		"a tier that the policy lacks":  func() error { _, err := w.try(ada, "messages", "P6D", noon); return err },
		"a person's anonymous tier":     func() error { _, err := w.try(ada, "messages", domain.AnonTier, noon); return err },
		"a class that the policy lacks": func() error { _, err := w.handle(ada, "chess", domain.OwnTier, noon); return err },
		"the other scope's class":       func() error { _, err := w.try(ada, "consent", domain.OwnTier, noon); return err },
		"another scope": func() error {
			_, err := w.ring.Sealing(background(), ada, domain.Obligated, "messages", domain.OwnTier, "2026-11-23")
			return err
		},
		"another width": func() error {
			_, err := w.ring.Sealing(background(), ada, domain.Erasable, "messages", domain.OwnTier, "2026-11")
			return err
		},
		"no bucket at all": func() error {
			_, err := w.ring.Sealing(background(), ada, domain.Erasable, "messages", domain.OwnTier, "today")
			return err
		},
	} {
		if call() == nil {
			t.Errorf("sealed for %s", name)
		}
	}
}

func testSealingClock(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada := w.person("ada")
	w.clock = errors.New("the clock jumped")
	_, err := w.try(ada, "messages", domain.OwnTier, w.now)
	wantErr(t, err, domain.ErrClock)
	wantErr(t, w.ring.IssueAhead(background()), domain.ErrClock)
	w.clock = nil
	w.seal(ada, "messages", w.now)
	w.clock = errors.New("the clock jumped again")
	w.restart()
	w.wants(nil, w.seal(ada, "messages", w.now)) // the key is there, so the clock decides nothing
}

// testSealingGens: a class that the policy gets later has gen 1, and no gen is
// used twice, whatever the bundle, the log and the journal remember.
func testSealingGens(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada, bob := w.person("ada"), w.person("bob")
	w.policy.Classes = append(w.policy.Classes, domain.ClassRule{ID: "usage", Retention: domain.MustPeriod("P14D"), Bucket: domain.Day})
	equal(t, "gen of a new class", w.seal(ada, "usage", w.now).where.Gen, domain.Gen(1))

	w.destroy(erasure(keys.DestroyClass, bob, "usage", "messages"))
	w.ring.Dead.Add(w.subjectTag(bob, "messages", 2), w.subjectTag(bob, "messages", 3))
	equal(t, "gen behind two that the journal names", w.seal(bob, "messages", w.now).where.Gen, domain.Gen(4))
	w.ring.LogGen = func(context.Context, domain.SubjectRef, domain.Class) (domain.Gen, error) { return 8, nil }
	equal(t, "gen behind one that the log shows", w.seal(bob, "usage", w.now).where.Gen, domain.Gen(9))

	check(t, w.Change(background(), ada, func(_ *keys.Subject, b *seal.Bundle) error {
		b.Drop("messages", true)
		return b.Issue("network", 11, secret(1))
	}))
	equal(t, "gen behind one that the log shows", w.seal(ada, "messages", w.now).where.Gen, domain.Gen(9))
	check(t, w.Change(background(), ada, func(_ *keys.Subject, b *seal.Bundle) error {
		b.Drop("network", true)
		return nil
	}))
	d := erasure(keys.DestroySubject, ada)
	w.ring.LogGen = func(ctx context.Context, _ domain.SubjectRef, _ domain.Class) (domain.Gen, error) {
		return 0, w.ring.Fence(ctx, d) // between reading the bundle and changing it
	}
	_, err := w.handle(ada, "network", domain.OwnTier, w.now)
	wantErr(t, err, domain.ErrFenced)
	w.ring.LogGen = nil
	_, b, err := w.Bundle(background(), ada)
	check(t, err)
	equal(t, "last gen behind the fence", b.LastOf("network"), 11)
	check(t, w.ring.Unfence(background(), d))
	equal(t, "gen behind the bundle's last", w.seal(ada, "network", w.now).where.Gen, domain.Gen(12))
}

func (w *world) subjectTag(ref domain.SubjectRef, class domain.Class, gen domain.Gen) domain.Tag {
	p := domain.Where{Ledger: ledger, Scope: domain.Erasable, Ref: ref, Class: class, Gen: gen}
	return w.ring.Tagger().Tag(domain.KindS, p.Subject())
}

func testIssueAhead(t *testing.T, open Open) {
	w := newWorld(t, open)
	check(t, w.ring.IssueAhead(background()))
	check(t, w.ring.IssueAhead(background()))
	got := map[string]bool{}
	check(t, w.EachRetention(background(), func(rec keys.RetentionRecord) bool {
		got[rec.String()] = true
		return true
	}))
	want := []string{"consent/0/2026-11", "consent/0/2026-12", "consent/0/2027-01"}
	for _, tier := range []string{"network/0/", "network/anon/", "messages/0/", "messages/P7D/", "messages/anon/"} {
		want = append(want, tier+"2026-11-23", tier+"2026-11-24", tier+"2026-11-25")
	}
	want = append(want, "preferences/0/2026-11", "preferences/0/2026-12", "preferences/0/2027-01")
	for _, k := range want {
		if !got[k] {
			t.Errorf("no key %s", k)
		}
	}
	equal(t, "keys", len(got), len(want))

	w.ring.Dead.Add(w.retentionTag(domain.RetentionKey{Class: "network", Tier: "0", Bucket: "2026-11-26"}))
	w.now = w.now.AddDate(0, 0, 1)
	check(t, w.ring.IssueAhead(background()))
	_, _, err := w.Retention(background(), domain.RetentionKey{Class: "network", Tier: "0", Bucket: "2026-11-26"})
	wantErr(t, err, domain.ErrNotFound)
	w.now = w.now.AddDate(0, 0, 2)
	_, err = w.try(w.person("ada"), "network", domain.OwnTier, w.now)
	wantErr(t, err, domain.ErrPastDue)
}

func (w *world) retentionTag(k domain.RetentionKey) domain.Tag {
	return w.ring.Tagger().Tag(domain.KindR, k.Where(ledger))
}

func testStatus(t *testing.T, open Open) {
	w := newWorld(t, open)
	w.seal(w.person("ada"), "messages", w.now)
	w.wants(nil, w.seal(w.person("bob"), "messages", w.now))
	_, _, err := w.ring.Anonymous(background())
	check(t, err)
	check(t, w.ring.Fence(background(), erasure(keys.DestroyClass, w.person("ada"), "messages")))
	s, err := w.ring.Status(background())
	check(t, err)
	equal(t, "status", s, keys.Status{Subjects: 2, Fenced: 1, Blocks: 1, Buckets: 1, Handles: 1, Openings: 1})
	equal(t, "seals", uint64(seal.MaxSeals), 1<<24)
}
