package vault_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys/vault"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// tomorrow is when what the test leaves has become old enough.
const tomorrow = 25 * time.Hour

// TestSweep: whatever a call broke off at any request left over is gone a day
// later, what is in use is not touched, and neither is another ledger's.
func TestSweep(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	must(t, vault.Init(background(), at.admin, small("other")))
	o := optionsFor(at.server, "other")
	neighbour, n, sweeper := at.nodeWith(o), at.node(), at.node()
	neighbour.now.move(-tomorrow) // a slow clock makes all that is made look old
	n.now.move(-tomorrow)
	theirs, l := fill(t, neighbour), fill(t, n)
	inUse := at.transitKeys()
	for request := 1; request <= 12; request++ {
		for _, broken := range brokenOff(t, request) {
			n.wire.fail(request, true)
			_ = broken(n) // it fails, or has fewer requests
			n.wire.count()
		}
	}
	n.now.move(tomorrow)
	left := len(at.transitKeys()) - len(inUse)
	if left < 10 {
		t.Fatalf("only %d keys were left over", left)
	}
	for _, fast := range []time.Duration{0, tomorrow} { // and a fast one the sweeper
		sweeper.now.move(fast)
		young, err := sweeper.Sweep(background(), time.Time{})
		must(t, err)
		if young.Keys+young.Persons+young.Blocks+young.Finished != 0 || young.Examined == 0 {
			t.Fatalf("the sweep took what is young: %+v", young)
		}
		sweeper.now.move(-fast)
	}
	if since, err := sweeper.Sweep(background(), time.Now().Add(-time.Hour)); err != nil || since.Examined != 0 {
		t.Fatalf("the sweep went behind its beginning: %+v %v", since, err)
	}
	sweeper.wire.old(tomorrow)
	swept, err := sweeper.Sweep(background(), time.Time{})
	must(t, err)
	if swept.Persons == 0 || swept.Blocks == 0 || swept.Keys == 0 {
		t.Fatalf("the sweep left a kind out: %+v", swept)
	}
	now := at.transitKeys()
	if missing := slices.DeleteFunc(slices.Clone(inUse), func(k string) bool { return slices.Contains(now, k) }); len(missing) > 0 {
		t.Fatalf("the sweep took %d keys that were in use", len(missing))
	}
	l.wantAnswers(t, n)
	theirs.wantAnswers(t, neighbour)
	again, err := sweeper.Sweep(background(), time.Time{})
	must(t, err)
	if again.Keys+again.Persons+again.Blocks+again.Finished != 0 {
		t.Fatalf("a second sweep still found something: %+v", again)
	}
	t.Logf("%d keys left over by broken calls: %+v", left, swept)
}

// TestSweepFinishes: a destruction that was broken off and never called again is
// ended by the sweep.
func TestSweepFinishes(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	n, sweeper := at.node(), at.node()
	n.now.move(-tomorrow)
	s := enrolled(t, n, 1)
	before := at.transitKeys()
	n.wire.fail(6, true) // behind the write of the document
	err := n.Change(background(), s.Ref, dropClass("messages"))
	wantErr(t, "an erasure that was broken off", err, domain.ErrUnavailable)
	if !slices.Contains(at.transitKeys(), before[0]) || len(at.transitKeys()) <= len(before) {
		t.Fatal("the erasure was not broken off where it should")
	}
	sweeper.wire.old(tomorrow)
	swept, err := sweeper.Sweep(background(), time.Time{})
	must(t, err)
	if swept.Finished != 1 {
		t.Fatalf("swept %+v, want one destruction finished", swept)
	}
	_, b, err := n.Bundle(background(), s.Ref)
	must(t, err)
	if _, there := b.Subject("messages", 1); there || len(b.Subjects) != 1 {
		t.Fatal("the bundle is not what the erasure leaves")
	}
}

// TestFrozen: a call that was frozen for longer than a minute does not write what
// stands on a Transit key that may have been swept.
func TestFrozen(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	n, other := at.node(), at.node()
	for name, call := range map[string]func() error{
		"AddBlock":    func() error { return n.AddBlock(background(), domain.New[domain.BlockID](), time.Now(), &seal.Block{}) },
		"PutDocument": func() error { _, err := n.PutDocument(background(), "d", 0, nil); return err },
		"IssueRetention": func() error {
			k := domain.RetentionKey{Class: "network", Tier: "0", Bucket: "2026-11-23"}
			_, _, err := n.IssueRetention(background(), k, time.Now())
			return err
		},
	} {
		n.wire.count()
		n.wire.meanwhile("/datakey/", func() { n.now.move(2 * time.Minute) })
		wantErr(t, name, call(), domain.ErrUnavailable)
		n.wire.meanwhile("", nil)
		must(t, call())
	}
	// An enrolment begins anew, under a fresh key and with the same ref.
	s, b := someone(1)
	held, release := n.wire.hold(5) // the write of the directory
	done := make(chan error, 1)
	go func() { _, err := n.Enrol(background(), s, b); done <- err }()
	<-held
	enrolled(t, other, 4) // another person of the same table makes the write fail
	n.now.move(2 * time.Minute)
	close(release)
	must(t, <-done)
	keysOf := at.transitKeys()
	found, stands, err := other.Bundle(background(), s.Ref)
	must(t, err)
	if found.Ref != s.Ref || len(stands.Subjects) != 2 || len(keysOf) < 2 {
		t.Fatal("the enrolment did not begin anew")
	}
	must(t, n.Remove(background(), s.Ref))
	if left := at.transitKeys(); len(left) >= len(keysOf)-1 {
		t.Fatalf("%d keys are left of %d: the first key of the enrolment is still there", len(left), len(keysOf))
	}
}

// brokenOff are calls that leave something when they fail.
func brokenOff(t *testing.T, n int) []func(*node) error {
	t.Helper()
	s, b := someone(byte(100 + n))
	block := &seal.Block{Classes: []domain.Class{"network"}}
	k := domain.RetentionKey{Class: "network", Tier: "0", Bucket: domain.BucketAt(time.Now().AddDate(0, 0, n), domain.Day)}
	return []func(*node) error{
		func(n *node) error {
			if _, err := n.Lookup(background(), s.Directory); !errors.Is(err, domain.ErrNotFound) {
				return err
			}
			_, err := n.Enrol(background(), s, b)
			return err
		},
		func(n *node) error { return n.AddBlock(background(), domain.New[domain.BlockID](), time.Now(), block) },
		func(n *node) error {
			_, err := n.PutDocument(background(), domain.New[domain.CommandID]().String(), 0, []byte("x"))
			return err
		},
		func(n *node) error {
			_, _, err := n.IssueRetention(background(), k, time.Now().AddDate(1, 0, 0))
			return err
		},
	}
}
