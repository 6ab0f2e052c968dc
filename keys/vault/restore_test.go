package vault_test

import (
	"errors"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// A drill is a ring above a node, with the journal of what it destroyed.
type drill struct {
	*site
	*node
	ring    *keys.Ring
	policy  *domain.Policy
	journal []keys.Line
}

func newDrill(t *testing.T) *drill {
	t.Helper()
	d := &drill{site: newSite(t, vaulttest.Raft), policy: &domain.Policy{Classes: []domain.ClassRule{
		{ID: "messages", Retention: domain.MustPeriod("P30D"), Bucket: domain.Day},
		{ID: "network", Retention: domain.MustPeriod("P14D"), Bucket: domain.Day},
	}}}
	d.start()
	t.Cleanup(func() { d.ring.Close() })
	return d
}

// start opens the custodian and makes a ring that knows the journal.
func (d *drill) start() {
	d.t.Helper()
	d.node = d.site.node()
	dead := keys.NewDead()
	for _, l := range d.journal {
		dead.Add(l.Dead...)
	}
	var err error
	d.ring, err = keys.NewRing(background(), keys.RingConfig{
		Custodian: d.node.Custodian, Ledger: d.ledger, Namespace: "people", Dead: dead, Clock: time.Now,
		Policy: func() *domain.Policy { return d.policy }, ClockTrusted: func() error { return nil },
	})
	must(d.t, err)
}

// restore brings the server back to a copy and starts over.
func (d *drill) restore(copied string) {
	d.t.Helper()
	d.ring.Close()
	d.server.RestoreData(copied)
	d.start()
}

func (d *drill) person(id string) domain.SubjectRef {
	d.t.Helper()
	p, err := d.ring.Person(id, domain.Erasable)
	must(d.t, err)
	s, _, err := d.ring.Enrol(background(), p)
	must(d.t, err)
	return s.Ref
}

// seal makes the handle that seals, and returns where that is.
func (d *drill) seal(ref domain.SubjectRef, class domain.Class, at time.Time) domain.Where {
	d.t.Helper()
	h, err := d.ring.Sealing(background(), ref, domain.Erasable, class, domain.OwnTier, domain.BucketAt(at, domain.Day))
	must(d.t, err)
	return h.Where()
}

func (d *drill) wants(outcome error, places ...domain.Where) {
	d.t.Helper()
	for _, w := range places {
		_, err := d.ring.Opening(background(), w, domain.BlockID{})
		if !errors.Is(err, outcome) || (outcome == nil && err != nil) {
			d.t.Fatalf("%s reads %v, want %v", w, err, outcome)
		}
	}
}

func (d *drill) destroy(x keys.Destruction) {
	d.t.Helper()
	x.Command = domain.New[domain.CommandID]()
	if x.Kind != keys.DestroyRetention {
		x.Scope = domain.Erasable
	}
	must(d.t, d.ring.Fence(background(), x))
	p, err := d.ring.Plan(background(), x)
	must(d.t, err)
	seq := uint64(len(d.journal))
	d.journal = append(d.journal, keys.Line{Seq: seq, Kind: x.Kind, Dead: p.Tags})
	must(d.t, d.ring.Execute(background(), x, p, seq))
	must(d.t, d.ring.Unfence(background(), x))
}

// TestRestore: what was destroyed comes back with a copy of Vault's data, opens
// nothing because the journal names it, and is destroyed again by the replay; what
// was kept opens all the time.
func TestRestore(t *testing.T) {
	d := newDrill(t)
	today, yesterday := time.Now(), time.Now().AddDate(0, 0, -1)
	ada, bob, eve := d.person("ada"), d.person("bob"), d.person("eve")
	whole := d.seal(ada, "messages", today)
	class, stays := d.seal(bob, "messages", today), d.seal(bob, "network", today)
	gone, kept := d.seal(eve, "messages", yesterday), d.seal(eve, "messages", today)
	d.wants(nil, whole, class, stays, gone, kept)
	copied := d.server.CopyData()
	d.settle()

	d.destroy(keys.Destruction{Kind: keys.DestroySubject, Ref: ada})
	d.destroy(keys.Destruction{Kind: keys.DestroyClass, Ref: bob, Classes: []domain.Class{"messages"}})
	d.destroy(keys.Destruction{Kind: keys.DestroyRange, Ref: eve, Classes: []domain.Class{"messages"}, Before: today})
	d.wants(domain.ErrErased, whole, class, gone)
	d.wants(nil, stays, kept)
	late := d.person("kim") // issued behind the copy

	d.restore(copied)
	if _, _, err := d.Bundle(background(), ada); err != nil {
		t.Fatalf("the copy does not bring the keys back, so the drill shows nothing: %v", err)
	}
	d.wants(domain.ErrErased, whole, class, gone)
	done, err := d.ring.Replay(background(), d.journal)
	must(t, err)
	if done.Subjects != 1 || done.Gens != 2 || done.Rescued == 0 {
		t.Fatalf("replayed %+v", done)
	}
	d.wants(domain.ErrErased, whole, class, gone)
	d.wants(nil, stays, kept)
	_, _, err = d.Bundle(background(), ada)
	wantErr(t, "the keys behind the replay", err, domain.ErrNotFound)
	_, b, err := d.Bundle(background(), bob)
	must(t, err)
	if _, there := b.Subject("messages", 1); there {
		t.Fatal("the class is still there behind the replay")
	}
	_, _, err = d.Bundle(background(), late)
	wantErr(t, "keys issued behind the copy", err, domain.ErrNotFound)
	done, err = d.ring.Replay(background(), d.journal)
	must(t, err)
	if done != (keys.Replayed{}) {
		t.Fatalf("a second replay still did %+v", done)
	}
	d.server.Restart() // and it is gone from the disk's state, too
	d.settle()
	_, _, err = d.Bundle(background(), ada)
	wantErr(t, "the keys behind a restart", err, domain.ErrNotFound)
}

// settle waits until the server answers again.
func (d *drill) settle() {
	d.t.Helper()
	var err error
	for range 100 {
		if _, err = d.Material(background()); err == nil {
			return
		}
		d.now.move(time.Second)
		time.Sleep(50 * time.Millisecond)
	}
	d.t.Fatalf("the server does not come back: %v", err)
}
