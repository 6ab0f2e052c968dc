package vault_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// TestEnrolOnTwoNodes: whoever enrols the same person at the same time gets the
// same ref, whatever the order of their calls, and one bundle.
func TestEnrolOnTwoNodes(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	nodes := []*node{at.node(), at.node(), at.node()}
	for person := range byte(20) {
		refs := make([]domain.SubjectRef, len(nodes))
		errs := make([]error, len(nodes))
		var wg sync.WaitGroup
		for i, n := range nodes {
			wg.Go(func() {
				s, b := someone(person)
				_, err := n.Lookup(background(), s.Directory)
				if !errors.Is(err, domain.ErrNotFound) && err != nil {
					errs[i] = err
					return
				}
				stands, err := n.Enrol(background(), s, b)
				refs[i], errs[i] = stands.Ref, err
			})
		}
		wg.Wait()
		must(t, errors.Join(errs...))
		for i, n := range nodes {
			if refs[i] != refs[0] {
				t.Fatalf("node %d got another ref", i)
			}
			_, b, err := n.Bundle(background(), refs[0])
			must(t, err)
			if len(b.Subjects) != 2 {
				t.Fatalf("%d keys, want 2", len(b.Subjects))
			}
		}
	}
}

// TestEnrolBehindEachCall: one node enrols between any two calls of another's
// enrolment. Both come to the same ref.
func TestEnrolBehindEachCall(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	slow, quick := at.node(), at.node()
	for call := 1; ; call++ {
		held, release := slow.wire.hold(call)
		s, b := someone(byte(call))
		var got keys.Subject
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			got, err = slow.Enrol(background(), s, b)
		}()
		select {
		case <-held:
		case <-done:
			must(t, err)
			if call < 5 {
				t.Fatalf("an enrolment has only %d calls", call-1)
			}
			return
		}
		want := enrolled(t, quick, byte(call))
		close(release)
		<-done
		must(t, err)
		last := slow.wire.made()
		if got.Ref != want.Ref {
			t.Fatalf("call %d of %v was late and two refs stand", call, last)
		}
		_, _, err = slow.Bundle(background(), got.Ref)
		must(t, err)
	}
}

// TestEnrolWhileErased: an enrolment that runs while the person is removed ends
// with the old ref or a new one, never with an entry that leads nowhere.
func TestEnrolWhileErased(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	eraser, gateway := at.node(), at.node()
	for round := range 30 {
		old := enrolled(t, eraser, 1)
		var again keys.Subject
		var errs [2]error
		var wg sync.WaitGroup
		wg.Go(func() { errs[0] = eraser.Remove(background(), old.Ref) })
		wg.Go(func() {
			s, b := someone(1)
			again, errs[1] = gateway.Enrol(background(), s, b)
		})
		wg.Wait()
		must(t, errors.Join(errs[:]...))
		found, err := gateway.Lookup(background(), old.Directory)
		switch {
		case errors.Is(err, domain.ErrNotFound):
			if again.Ref != old.Ref {
				t.Fatalf("round %d: the new entry went with the old one", round)
			}
		case err != nil:
			t.Fatal(err)
		default:
			if found.Ref == old.Ref || found.Ref != again.Ref {
				t.Fatalf("round %d: the directory leads to %s", round, found.Ref)
			}
			_, _, err := gateway.Bundle(background(), found.Ref)
			must(t, err)
			must(t, eraser.Remove(background(), found.Ref))
		}
		_, _, err = gateway.Bundle(background(), old.Ref)
		wantErr(t, "the removed keys", err, domain.ErrNotFound)
	}
}

// TestPausedEraser: an eraser stops before each of its calls in turn; another one
// ends the erasure, the person comes back, and the first wakes up.
func TestPausedEraser(t *testing.T) {
	for name, erase := range map[string]func(*node, domain.SubjectRef) error{
		"whole": func(n *node, ref domain.SubjectRef) error { return n.Remove(background(), ref) },
		"class": func(n *node, ref domain.SubjectRef) error {
			err := n.Change(background(), ref, dropClass("messages"))
			if errors.Is(err, domain.ErrNotFound) {
				return nil
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { pauseEach(t, erase) })
	}
}

func pauseEach(t *testing.T, erase func(*node, domain.SubjectRef) error) {
	at := newSite(t, vaulttest.InMemory)
	paused, other := at.node(), at.node()
	for call := 1; ; call++ {
		old := enrolled(t, other, byte(call))
		held, release := paused.wire.hold(call)
		woken := make(chan error, 1)
		go func() { woken <- erase(paused, old.Ref) }()
		select {
		case <-held:
		case err := <-woken:
			must(t, err)
			if call < 6 {
				t.Fatalf("an erasure has only %d calls", call-1)
			}
			return
		}
		must(t, other.Remove(background(), old.Ref))
		back := enrolled(t, other, byte(call))
		close(release)
		if err := <-woken; err != nil && !errors.Is(err, domain.ErrUnavailable) {
			t.Fatalf("call %d: %v", call, err)
		}
		found, err := other.Lookup(background(), old.Directory)
		must(t, err)
		if found.Ref != back.Ref || back.Ref == old.Ref {
			t.Fatalf("call %d: the directory leads to another ref", call)
		}
		_, b, err := other.Bundle(background(), back.Ref)
		must(t, err)
		if len(b.Subjects) != 2 {
			t.Fatalf("call %d: the person who came back has lost keys", call)
		}
		_, _, err = other.Bundle(background(), old.Ref)
		wantErr(t, "the erased keys", err, domain.ErrNotFound)
	}
}

// TestSlowClock: a node whose clock is weeks behind cannot have a retention key
// that was destroyed, whether it was ever issued or not.
func TestSlowClock(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	right, slow := at.node(), at.node()
	slow.now.move(-40 * 24 * time.Hour)
	issued := domain.RetentionKey{Class: "messages", Tier: "0", Bucket: "2026-10-01"}
	never := domain.RetentionKey{Class: "messages", Tier: "0", Bucket: "2026-10-02"}
	due := time.Now().AddDate(0, 0, -1)
	_, _, err := right.IssueRetention(background(), issued, due)
	must(t, err)
	_, key, err := slow.Retention(background(), issued)
	must(t, err)
	if key == (seal.Secret{}) {
		t.Fatal("no key before the destruction")
	}
	must(t, right.DestroyRetention(background(), []domain.RetentionKey{issued, never}, 3))
	slow.now.move(6 * time.Second)
	for _, k := range []domain.RetentionKey{issued, never} {
		for name, ask := range map[string]func() (keys.RetentionRecord, seal.Secret, error){
			"asked for":    func() (keys.RetentionRecord, seal.Secret, error) { return slow.Retention(background(), k) },
			"issued again": func() (keys.RetentionRecord, seal.Secret, error) { return slow.IssueRetention(background(), k, due) },
		} {
			rec, key, err := ask()
			must(t, err)
			if !rec.Destroyed || rec.Journal != 3 || key != (seal.Secret{}) {
				t.Fatalf("%s %s: %+v", k, name, rec)
			}
		}
	}
}

// TestIssueBehindDestruction: an R is issued by a node that stopped before each
// of its calls while another destroyed it.
func TestIssueBehindDestruction(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	paused, other := at.node(), at.node()
	for call := 1; ; call++ {
		k := domain.RetentionKey{Class: "messages", Tier: "0", Bucket: domain.BucketAt(time.Now().AddDate(0, 0, call), domain.Day)}
		held, release := paused.wire.hold(call)
		type answer struct {
			rec keys.RetentionRecord
			err error
		}
		woken := make(chan answer, 1)
		go func() {
			rec, _, err := paused.IssueRetention(background(), k, time.Now().AddDate(0, 1, 0))
			woken <- answer{rec, err}
		}()
		select {
		case <-held:
		case a := <-woken:
			must(t, a.err)
			if call < 5 {
				t.Fatalf("issuing has only %d calls", call-1)
			}
			return
		}
		must(t, other.DestroyRetention(background(), []domain.RetentionKey{k}, 1))
		close(release)
		a := <-woken
		must(t, a.err)
		if !a.rec.Destroyed {
			t.Fatalf("call %d: a key came out behind its destruction", call)
		}
	}
}

// TestFenceOnOtherNode: a fence that was acknowledged stands in the next answer of
// every node, in the directory and beside the keys; and so does its end.
func TestFenceOnOtherNode(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	eraser, gateway := at.node(), at.node()
	s := enrolled(t, eraser, 1)
	c := domain.New[domain.CommandID]()
	for _, command := range []domain.CommandID{c, {}} {
		_, _, err := gateway.Bundle(background(), s.Ref)
		must(t, err)
		must(t, eraser.Change(background(), s.Ref, fence(command)))
		found, err := gateway.Lookup(background(), s.Directory)
		must(t, err)
		beside, _, err := gateway.Bundle(background(), s.Ref)
		must(t, err)
		if found.Fence.Command != command || beside.Fence.Command != command {
			t.Fatalf("fences %v and %v, want %v", found.Fence, beside.Fence, command)
		}
	}
}

// TestChangesOnTwoNodes: a link that is written while a class is destroyed is in
// what stands afterwards, and the class is not.
func TestChangesOnTwoNodes(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	eraser, gateway := at.node(), at.node()
	for range 10 {
		s := enrolled(t, eraser, 1)
		link := seal.Link{Block: domain.New[domain.BlockID](), Ref: domain.New[domain.SubjectRef]()}
		var errs [2]error
		var wg sync.WaitGroup
		wg.Go(func() { errs[0] = eraser.Change(background(), s.Ref, dropClass("messages")) })
		wg.Go(func() {
			errs[1] = gateway.Change(background(), s.Ref, func(_ *keys.Subject, b *seal.Bundle) error {
				b.Links = append(b.Links, link)
				return nil
			})
		})
		wg.Wait()
		must(t, errors.Join(errs[:]...))
		_, b, err := gateway.Bundle(background(), s.Ref)
		must(t, err)
		_, there := b.Subject("messages", 1)
		if there || len(b.Links) != 1 || !bytes.Equal(b.Links[0].Ref[:], link.Ref[:]) {
			t.Fatalf("class there: %v, links %v", there, b.Links)
		}
		must(t, eraser.Remove(background(), s.Ref))
	}
}
