package vault_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// An act is a call of the custodian that must come to the same end, whichever
// single request of it fails, lost or unanswered, when it is called again.
type act struct {
	name string
	// prepare makes what the act is about, and returns the act and what must hold
	// when it has succeeded.
	prepare func(t *testing.T, n *node) (do func() error, holds func(t *testing.T))
	// destroys says that no Transit key that there was before may be left.
	destroys bool
}

func acts() []act {
	return []act{
		{"enrol", actEnrol, false},
		{"link", actLink, false},
		{"fence", actFence, false},
		{"erase a class", actClass, true},
		{"remove a person", actRemove, true},
		{"change a block", actBlock, true},
		{"remove a block", actRemoveBlock, true},
		{"destroy a retention key", actExpire, true},
		{"put a document", actPut, false},
		{"remove a document", actRemoveDocument, true},
	}
}

// TestFaults fails every request of every act in turn, in both ways.
func TestFaults(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	for _, a := range acts() {
		for _, lost := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/lost=%v", a.name, lost), func(t *testing.T) {
				n := 1
				for failOnce(t, at, a, n, lost) {
					n++
				}
				if n < 3 {
					t.Fatalf("the act has only %d requests", n-1)
				}
			})
		}
	}
}

// failOnce fails the n-th request; false where the act has none.
func failOnce(t *testing.T, at *site, a act, n int, lost bool) bool {
	first := at.node()
	defer first.Close()
	kept := at.transitKeys()
	do, holds := a.prepare(t, first)
	made := slices.DeleteFunc(at.transitKeys(), func(k string) bool { return slices.Contains(kept, k) })
	first.wire.fail(n, lost)
	err := do()
	if err == nil && len(first.wire.made()) < n {
		first.wire.count()
		holds(t)
		return false
	}
	first.wire.count()
	if err == nil {
		t.Fatalf("request %d failed and nobody noticed", n)
	}
	if !errors.Is(err, domain.ErrUnavailable) || errors.Is(err, domain.ErrNotFound) {
		t.Fatalf("request %d: error %v, want unavailable", n, err)
	}
	must(t, do())
	holds(t)
	if a.destroys {
		left := at.transitKeys()
		for _, k := range made {
			if slices.Contains(left, k) {
				t.Fatalf("request %d: a Transit key is still there behind the destruction", n)
			}
		}
	}
	return true
}

func actEnrol(t *testing.T, n *node) (do func() error, holds func(*testing.T)) {
	s, b := someone(byte(time.Now().UnixNano()))
	s.Directory[9] = 1
	return func() error {
			_, err := n.Enrol(background(), s, b)
			return err
		}, func(t *testing.T) {
			found, err := n.Lookup(background(), s.Directory)
			must(t, err)
			_, stands, err := n.Bundle(background(), found.Ref)
			must(t, err)
			if found.Ref != s.Ref || len(stands.Subjects) != 2 {
				t.Fatal("not what was enrolled")
			}
			must(t, n.Remove(background(), s.Ref))
		}
}

func actLink(t *testing.T, n *node) (do func() error, holds func(*testing.T)) {
	s := enrolled(t, n, 1)
	link := seal.Link{Block: domain.New[domain.BlockID](), Ref: domain.New[domain.SubjectRef]()}
	return func() error {
			return n.Change(background(), s.Ref, func(_ *keys.Subject, b *seal.Bundle) error {
				if !slices.Contains(b.Links, link) {
					b.Links = append(b.Links, link)
				}
				return nil
			})
		}, func(t *testing.T) {
			_, b, err := n.Bundle(background(), s.Ref)
			must(t, err)
			if len(b.Links) != 1 || len(b.Subjects) != 2 {
				t.Fatalf("%d links, %d keys", len(b.Links), len(b.Subjects))
			}
			must(t, n.Remove(background(), s.Ref))
		}
}

func actFence(t *testing.T, n *node) (do func() error, holds func(*testing.T)) {
	s := enrolled(t, n, 1)
	c := domain.New[domain.CommandID]()
	return func() error { return n.Change(background(), s.Ref, fence(c)) }, func(t *testing.T) {
		found, err := n.Lookup(background(), s.Directory)
		must(t, err)
		beside, _, err := n.Bundle(background(), s.Ref)
		must(t, err)
		if found.Fence.Command != c || beside.Fence.Command != c {
			t.Fatalf("fences %v and %v", found.Fence, beside.Fence)
		}
		must(t, n.Remove(background(), s.Ref))
	}
}

func actClass(t *testing.T, n *node) (do func() error, holds func(*testing.T)) {
	s := enrolled(t, n, 1)
	return func() error { return n.Change(background(), s.Ref, dropClass("messages")) }, func(t *testing.T) {
		_, b, err := n.Bundle(background(), s.Ref)
		must(t, err)
		if _, there := b.Subject("messages", 1); there || len(b.Subjects) != 1 || b.LastOf("messages") != 1 {
			t.Fatal("not what the erasure of a class leaves")
		}
		must(t, n.Remove(background(), s.Ref))
	}
}

func actRemove(t *testing.T, n *node) (do func() error, holds func(*testing.T)) {
	s := enrolled(t, n, 1)
	return func() error { return n.Remove(background(), s.Ref) }, func(t *testing.T) {
		_, err := n.Lookup(background(), s.Directory)
		wantErr(t, "the entry", err, domain.ErrNotFound)
		_, _, err = n.Bundle(background(), s.Ref)
		wantErr(t, "the bundle", err, domain.ErrNotFound)
	}
}

func aBlock(t *testing.T, n *node) (domain.BlockID, *seal.Block) {
	t.Helper()
	b := &seal.Block{Classes: []domain.Class{"network"}}
	for i := range seal.BlockSize {
		b.Refs = append(b.Refs, seal.BlockRef{Ref: domain.New[domain.SubjectRef](), Keys: []seal.Secret{secret(1, byte(i))}})
	}
	id := domain.New[domain.BlockID]()
	must(t, n.AddBlock(background(), id, time.Now(), b))
	return id, b
}

func actBlock(t *testing.T, n *node) (do func() error, holds func(*testing.T)) {
	id, b := aBlock(t, n)
	return func() error {
			return n.ChangeBlock(background(), id, func(stored *seal.Block) error {
				stored.Remove(b.Refs[3].Ref)
				return nil
			})
		}, func(t *testing.T) {
			stands, err := n.Block(background(), id)
			must(t, err)
			if _, there := stands.Subject(b.Refs[3].Ref, "network"); there {
				t.Fatal("the ref's key is still there")
			}
			if _, there := stands.Subject(b.Refs[4].Ref, "network"); !there {
				t.Fatal("another ref's key is gone")
			}
			must(t, n.RemoveBlock(background(), id))
		}
}

func actRemoveBlock(t *testing.T, n *node) (do func() error, holds func(*testing.T)) {
	id, _ := aBlock(t, n)
	return func() error { return n.RemoveBlock(background(), id) }, func(t *testing.T) {
		_, err := n.Block(background(), id)
		wantErr(t, "the block", err, domain.ErrNotFound)
		must(t, n.EachBlock(background(), func(listed domain.BlockID, _ time.Time) bool {
			if listed == id {
				t.Error("the block is still listed")
			}
			return true
		}))
	}
}

func actExpire(t *testing.T, n *node) (do func() error, holds func(*testing.T)) {
	k := domain.RetentionKey{
		Class: "messages", Tier: "0",
		Bucket: domain.BucketAt(time.Unix(time.Now().UnixNano()%(1<<31), 0), domain.HourW),
	}
	_, _, err := n.IssueRetention(background(), k, time.Now().AddDate(0, 0, 1))
	must(t, err)
	return func() error { return n.DestroyRetention(background(), []domain.RetentionKey{k}, 5) }, func(t *testing.T) {
		rec, key, err := n.Retention(background(), k)
		must(t, err)
		if !rec.Destroyed || rec.Journal != 5 || key != (seal.Secret{}) {
			t.Fatalf("record %+v", rec)
		}
	}
}

func actPut(t *testing.T, n *node) (do func() error, holds func(*testing.T)) {
	name := "erasure/" + domain.New[domain.CommandID]().String()
	return func() error {
			_, v, err := n.Document(background(), name)
			if err != nil && !errors.Is(err, domain.ErrNotFound) {
				return err
			}
			_, err = n.PutDocument(background(), name, v, []byte("plan"))
			return err
		}, func(t *testing.T) {
			value, v, err := n.Document(background(), name)
			must(t, err)
			if string(value) != "plan" {
				t.Fatalf("document %q", value)
			}
			must(t, n.RemoveDocument(background(), name, v))
		}
}

func actRemoveDocument(t *testing.T, n *node) (do func() error, holds func(*testing.T)) {
	name := "erasure/" + domain.New[domain.CommandID]().String()
	v, err := n.PutDocument(background(), name, 0, []byte("plan"))
	must(t, err)
	return func() error { return n.RemoveDocument(background(), name, v) }, func(t *testing.T) {
		_, _, err := n.Document(background(), name)
		wantErr(t, "the document", err, domain.ErrNotFound)
		_, err = n.PutDocument(background(), name, v, []byte("late"))
		wantErr(t, "a write from an old version", err, domain.ErrConflict)
	}
}
