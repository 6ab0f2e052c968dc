package keytest

import (
	"errors"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

func testExpiry(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada, bob := w.person("ada"), w.person("bob")
	old := []item{w.seal(ada, "network", w.now), w.seal(bob, "network", w.now)}
	held, err := w.handle(ada, "network", domain.OwnTier, w.now)
	check(t, err)
	equal(t, "keys due at once", w.expire(), 0)
	w.now = w.now.AddDate(0, 0, 1)
	young := w.seal(ada, "network", w.now)
	longer := w.seal(ada, "messages", noon)
	w.wants(nil, append(old, young, longer)...)

	w.now = domain.Bucket("2026-11-23").Start().AddDate(0, 0, 14)
	w.wants(domain.ErrDenied, old...)
	w.wants(nil, young, longer)
	_, err = w.handle(ada, "network", domain.OwnTier, noon)
	wantErr(t, err, domain.ErrPastDue)

	equal(t, "keys due", w.expire(), 1)
	equal(t, "keys due twice", w.expire(), 0)
	w.wantsTwice(domain.ErrExpired, old...)
	w.wants(nil, young, longer)
	_, err = w.sealWith(held, domain.BlockID{}, noon)
	check(t, err) // what is sealed under a destroyed key opens nowhere
	_, err = w.handle(ada, "network", domain.OwnTier, noon)
	wantErr(t, err, domain.ErrPastDue)
	rec, _, err := w.Retention(background(), domain.RetentionKey{Class: "network", Tier: "0", Bucket: "2026-11-23"})
	check(t, err)
	if !rec.Destroyed || rec.Journal != 0 {
		t.Fatalf("record %+v, want destroyed by line 0", rec)
	}
}

func testShortenedPeriod(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada := w.person("ada")
	i := w.seal(ada, "messages", w.now)
	w.now = w.now.AddDate(0, 0, 10)
	w.wants(nil, i)
	w.policy = testPolicy()
	w.policy.Classes[1].Retention = domain.MustPeriod("P5D")
	w.wants(domain.ErrDenied, i)
	equal(t, "keys due", w.expire(), 1)
	w.policy = testPolicy()
	w.wantsTwice(domain.ErrExpired, i)

	// A period that is lengthened does not reach back.
	j := w.seal(ada, "network", w.now)
	w.policy.Classes[0].Retention = domain.MustPeriod("P1Y")
	w.now = w.now.AddDate(0, 0, 14)
	w.wantsTwice(domain.ErrDenied, j)
}

func testEarlyExpiryRefused(t *testing.T, open Open) {
	w := newWorld(t, open)
	i := w.seal(w.person("ada"), "messages", w.now)
	d := keys.Destruction{Command: domain.New[domain.CommandID](), Kind: keys.DestroyRetention, Retention: []domain.RetentionKey{i.where.RetentionKey()}}
	wantErr(t, w.ring.Fence(background(), d), domain.ErrNotDue)
	w.now = w.now.AddDate(0, 0, 30)
	w.clock = errors.New("set by hand")
	wantErr(t, w.ring.Fence(background(), d), domain.ErrClock)
	w.clock = nil
	w.now = w.now.AddDate(0, 0, -1)
	key, err := w.ring.Opening(background(), i.where, domain.BlockID{})
	check(t, err)
	w.now = w.now.AddDate(0, 0, 1)
	check(t, w.ring.Fence(background(), d))
	if _, err := key.Open(i.event); err == nil {
		t.Fatal("a key handed out before the fence still opens")
	}
}

// testUnknownKey: what another custodian sealed.
func testUnknownKey(t *testing.T, open Open) {
	w, other := newWorld(t, open), newWorld(t, open)
	foreign := other.seal(other.person("ada"), "messages", other.now)
	w.wants(domain.ErrUnknownKey, foreign)
	mine := w.seal(w.person("ada"), "messages", w.now)
	for name, edit := range map[string]func(*domain.Where){
		"gen":    func(p *domain.Where) { p.Gen = 2 },
		"class":  func(p *domain.Where) { p.Class = "chess" },
		"bucket": func(p *domain.Where) { p.Bucket = "2026-11-22" },
		"ledger": func(p *domain.Where) { p.Ledger = "other" },
		"scope":  func(p *domain.Where) { p.Scope = domain.Obligated },
	} {
		moved := mine
		edit(&moved.where)
		if _, err := w.ring.Opening(background(), moved.where, moved.block); !errors.Is(err, domain.ErrUnknownKey) {
			t.Errorf("the key of another %s: %v", name, err)
		}
	}
	moved := mine
	moved.block = domain.New[domain.BlockID]()
	w.wants(domain.ErrUnknownKey, moved)
}

// testUnavailable: an outage reads as one, except where the journal or the
// policy settles the matter alone.
func testUnavailable(t *testing.T, open Open) {
	w := newWorld(t, open)
	ada, bob, eve := w.person("ada"), w.person("bob"), w.person("eve")
	plain, erased := w.seal(ada, "messages", w.now), w.seal(bob, "messages", w.now)
	classed, expired := w.seal(eve, "messages", w.now), w.seal(ada, "network", w.now)
	both := w.seal(eve, "network", w.now)
	w.destroy(erasure(keys.DestroySubject, bob))
	w.destroy(erasure(keys.DestroyClass, eve, "messages", "network"))
	w.now = w.now.AddDate(0, 0, 14)
	w.expire()
	w.restart()
	w.faulty.Down()
	w.wants(domain.ErrUnavailable, plain)
	w.wants(domain.ErrErased, erased)
	w.wants(domain.ErrExpired, expired, both) // whatever became of S, R is gone
	w.wants(domain.ErrUnavailable, classed)   // a kept B might open it
	_, err := w.lookup("ada")
	wantErr(t, err, domain.ErrUnavailable)
	_, _, err = w.enrol("new")
	wantErr(t, err, domain.ErrUnavailable)
	_, err = w.handle(ada, "messages", domain.OwnTier, w.now)
	wantErr(t, err, domain.ErrUnavailable)
	_, _, err = w.ring.Anonymous(background())
	wantErr(t, err, domain.ErrUnavailable)
	w.now = w.now.AddDate(0, 0, 30)
	w.wants(domain.ErrDenied, plain) // past due by the policy alone
	w.now = w.now.AddDate(0, 0, -30)
	w.faulty.FailAt(0, Lost)
	w.wants(nil, plain)
	w.wants(domain.ErrErased, classed, both)
}
