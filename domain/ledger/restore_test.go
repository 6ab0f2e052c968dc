package ledger_test

import (
	"errors"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// Proves: INV-3
func TestWhatCameBackWithARestoredCustodianIsDestroyedAgain(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	events := []domain.Recorded{w.record(ada, "messages", w.now), w.record(bob, "messages", w.now)}
	subject, bundle, err := w.custodian.Bundle(t.Context(), ada)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := seal.DecodeBundle(bundle.Encode())
	if err != nil {
		t.Fatal(err)
	}
	head, _, err := w.custodian.Document(t.Context(), "journal/head")
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := w.erase(domain.RequestID{}, "ada", nil); err != nil {
		t.Fatal(err)
	}
	if found, err := w.RestoreWatch(t.Context()); err != nil || found.Behind != 0 {
		t.Errorf("nothing was restored, and the watch found %+v, %v", found, err)
	}

	// The custodian goes back to before the erasure, while the process runs.
	if _, err := w.custodian.Enrol(t.Context(), subject, copied); err != nil {
		t.Fatal(err)
	}
	_, version, err := w.custodian.Document(t.Context(), "journal/head")
	if err != nil {
		t.Fatal(err)
	}
	if len(head) == 0 {
		err = w.custodian.RemoveDocument(t.Context(), "journal/head", version)
	} else {
		_, err = w.custodian.PutDocument(t.Context(), "journal/head", version, head)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.reads("before the check", events[0], domain.ErrErased)
	found, err := w.RestoreWatch(t.Context())
	if err != nil || found.Behind != 1 || found.Again.Subjects != 1 {
		t.Errorf("the watch found %+v, %v", found, err)
	}
	if _, _, err := w.custodian.Bundle(t.Context(), ada); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("the keys that came back read %v", err)
	}
	w.reads("after the check", events[0], domain.ErrErased)
	w.reads("the other person", events[1], nil)
	if again, err := w.RestoreCheck(t.Context()); err != nil || again.Lines != 1 || again.Again.Subjects != 0 {
		t.Errorf("a second check found %+v, %v", again, err)
	}
}
