package vault_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// TestCalls: what a person costs. The numbers are promises.
func TestCalls(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	first, cold := at.node(), at.node()
	s, b := someone(1)
	wantCalls(t, first, "a new person", 5, func() error {
		if _, err := first.Lookup(background(), s.Directory); err == nil {
			t.Fatal("found somebody who is new")
		}
		_, err := first.Enrol(background(), s, b)
		return err
	})
	wantCalls(t, cold, "a known person", 3, func() error {
		found, err := cold.Lookup(background(), s.Directory)
		if err == nil {
			_, _, err = cold.Bundle(background(), found.Ref)
		}
		return err
	})
	wantCalls(t, cold, "the keys of a ref", 2, func() error {
		_, _, err := cold.Bundle(background(), s.Ref)
		return err
	})
	k := domain.RetentionKey{Class: "messages", Tier: "0", Bucket: "2026-11-23"}
	_, _, err := first.IssueRetention(background(), k, time.Now().AddDate(0, 1, 0))
	must(t, err)
	for _, want := range []int{2, 0} {
		wantCalls(t, cold, "a retention key", want, func() error {
			_, _, err := cold.Retention(background(), k)
			return err
		})
	}
	cold.now.move(6 * time.Second)
	wantCalls(t, cold, "a retention key after some seconds", 2, func() error {
		_, _, err := cold.Retention(background(), k)
		return err
	})
}

// TestCallsOfAConnection: what a connection costs that records in three classes, of
// people met first, and of the first one of a process: above all the calls for a
// person's keys. Retention keys are everybody's and not counted.
func TestCallsOfAConnection(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	first, cold := at.node(), at.node()
	ringOf := map[*node]*keys.Ring{first: newRing(t, first), cold: newRing(t, cold)}
	for _, id := range []string{"ada", "bob"} {
		for _, c := range []struct {
			what string
			on   *node
			want int
		}{
			{"new", first, 5}, {"warm", first, 0}, {"known, cold", cold, 3}, {"known, warm", cold, 0},
		} {
			c.on.wire.count()
			connect(t, ringOf[c.on], id)
			made := slices.DeleteFunc(c.on.wire.made(), func(call string) bool { return strings.Contains(call, "-r-") || strings.Contains(call, "/retention/") })
			if len(made) != c.want {
				t.Errorf("%s, %s: %d calls, want %d: %v", id, c.what, len(made), c.want, made)
			}
		}
	}
}

func newRing(t *testing.T, n *node) *keys.Ring {
	t.Helper()
	policy := domain.DefaultPolicy()
	r, err := keys.NewRing(background(), keys.RingConfig{
		Custodian: n, Ledger: "main", Namespace: "subjects", Clock: time.Now, Dead: keys.NewDead(),
		ClockTrusted: func() error { return nil }, Policy: func() *domain.Policy { return &policy },
	})
	must(t, err)
	t.Cleanup(r.Close)
	must(t, r.IssueAhead(background()))
	return r
}

// connect asks for what a connection needs of the keys.
func connect(t *testing.T, r *keys.Ring, id string) {
	t.Helper()
	who, err := r.Person(id, domain.Erasable)
	must(t, err)
	s, _, err := r.Enrol(background(), who)
	must(t, err)
	for _, class := range []domain.Class{"network", "lifecycle", "messages"} {
		rule, _ := r.Policy().Class(class)
		_, err := r.Sealing(background(), s.Ref, domain.Erasable, class, domain.OwnTier, domain.BucketAt(time.Now(), rule.Bucket))
		must(t, err)
	}
}

func wantCalls(t *testing.T, n *node, what string, want int, do func() error) {
	t.Helper()
	n.wire.count()
	must(t, do())
	if made := n.wire.made(); len(made) != want {
		t.Errorf("%s costs %d calls, want %d: %v", what, len(made), want, made)
	}
}
