package vault_test

import (
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
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

func wantCalls(t *testing.T, n *node, what string, want int, do func() error) {
	t.Helper()
	n.wire.count()
	must(t, do())
	if made := n.wire.made(); len(made) != want {
		t.Errorf("%s costs %d calls, want %d: %v", what, len(made), want, made)
	}
}
