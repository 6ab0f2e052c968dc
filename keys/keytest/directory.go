package keytest

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

func testDirectory(t *testing.T, open Open) {
	f := newFixture(t, open)
	s, b := someone(1)
	_, err := f.Lookup(background(), s.Directory)
	wantErr(t, err, domain.ErrNotFound)
	_, _, err = f.Bundle(background(), s.Ref)
	wantErr(t, err, domain.ErrNotFound)

	stands, err := f.Enrol(background(), s, b)
	check(t, err)
	equal(t, "ref", stands.Ref, s.Ref)
	late, other := someone(1)
	stands, err = f.Enrol(background(), late, other)
	check(t, err)
	equal(t, "ref of who came second", stands.Ref, s.Ref)

	f.twice(func() {
		found, err := f.Lookup(background(), s.Directory)
		check(t, err)
		sameSubject(t, found, s)
		wantBundle(t, f, s, b)
		_, _, err = f.Bundle(background(), late.Ref)
		wantErr(t, err, domain.ErrNotFound)
		equal(t, "entries", len(subjectsOf(t, f)), 1)
	})

	check(t, f.Remove(background(), s.Ref))
	check(t, f.Remove(background(), s.Ref))
	f.twice(func() {
		_, err := f.Lookup(background(), s.Directory)
		wantErr(t, err, domain.ErrNotFound)
		_, _, err = f.Bundle(background(), s.Ref)
		wantErr(t, err, domain.ErrNotFound)
		equal(t, "entries", len(subjectsOf(t, f)), 0)
	})
}

func testChange(t *testing.T, open Open) {
	f := newFixture(t, open)
	s, b := someone(1)
	never := func(*keys.Subject, *seal.Bundle) error {
		t.Error("change ran for somebody who is not there")
		return nil
	}
	wantErr(t, f.Change(background(), s.Ref, never), domain.ErrNotFound)
	_, err := f.Enrol(background(), s, b)
	check(t, err)

	refused := errors.New("no")
	wantErr(t, f.Change(background(), s.Ref, func(s *keys.Subject, b *seal.Bundle) error {
		s.Fence.Command = domain.New[domain.CommandID]()
		b.Drop("messages", true)
		return refused
	}), refused)
	wantBundle(t, f, s, b)

	s.Fence = keys.Fence{Command: domain.New[domain.CommandID](), Classes: []domain.Class{"messages"}}
	kept := seal.KeptKey{Class: "messages", Tier: "0", Bucket: "2026-11-23", Gen: 1, Key: secret(9)}
	link := seal.Link{Block: domain.New[domain.BlockID](), Ref: domain.New[domain.SubjectRef]()}
	edit := func(b *seal.Bundle) {
		b.Drop("messages", true)
		b.Kept, b.Links = append(b.Kept, kept), append(b.Links, link)
	}
	check(t, f.Change(background(), s.Ref, func(stored *keys.Subject, b *seal.Bundle) error {
		stored.Fence = s.Fence
		edit(b)
		return nil
	}))
	edit(b)
	f.twice(func() {
		found, err := f.Lookup(background(), s.Directory)
		check(t, err)
		sameSubject(t, found, s)
		wantBundle(t, f, s, b)
	})

	moved := f.Change(background(), s.Ref, func(s *keys.Subject, _ *seal.Bundle) error {
		s.Ref = domain.New[domain.SubjectRef]()
		return nil
	})
	if moved == nil {
		t.Fatal("a change moved an entry to another ref")
	}
	wantBundle(t, f, s, b)
}

func testRemoveLeavesSuccessor(t *testing.T, open Open) {
	f := newFixture(t, open)
	first, b := someone(1)
	_, err := f.Enrol(background(), first, b)
	check(t, err)
	check(t, f.Remove(background(), first.Ref))
	second, b := someone(1)
	_, err = f.Enrol(background(), second, b)
	check(t, err)
	check(t, f.Remove(background(), first.Ref))
	f.twice(func() {
		found, err := f.Lookup(background(), second.Directory)
		check(t, err)
		equal(t, "ref", found.Ref, second.Ref)
		wantBundle(t, f, second, b)
	})
}

func testBlocks(t *testing.T, open Open) {
	f := newFixture(t, open)
	id := domain.New[domain.BlockID]()
	_, err := f.Block(background(), id)
	wantErr(t, err, domain.ErrNotFound)
	wantErr(t, f.ChangeBlock(background(), id, func(*seal.Block) error { return nil }), domain.ErrNotFound)

	b := &seal.Block{Classes: []domain.Class{"network", "usage"}}
	for i := range seal.BlockSize {
		keys := []seal.Secret{secret(byte(i)), secret(byte(i + 1))}
		b.Refs = append(b.Refs, seal.BlockRef{Ref: domain.New[domain.SubjectRef](), Keys: keys})
	}
	check(t, f.AddBlock(background(), id, noon, b))
	check(t, f.AddBlock(background(), id, noon.AddDate(0, 0, 1), &seal.Block{}))
	f.twice(func() { wantBlock(t, f, id, b) })

	gone := b.Refs[7].Ref
	check(t, f.ChangeBlock(background(), id, func(b *seal.Block) error {
		b.Remove(gone)
		return nil
	}))
	b.Remove(gone)
	f.twice(func() { wantBlock(t, f, id, b) })

	check(t, f.RemoveBlock(background(), id))
	check(t, f.RemoveBlock(background(), id))
	f.twice(func() {
		_, err := f.Block(background(), id)
		wantErr(t, err, domain.ErrNotFound)
	})
}

func wantBlock(t *testing.T, f *fixture, id domain.BlockID, want *seal.Block) {
	t.Helper()
	got, err := f.Block(background(), id)
	check(t, err)
	if !bytes.Equal(got.Encode(), want.Encode()) {
		t.Fatal("the block is not what was added")
	}
	found := 0
	check(t, f.EachBlock(background(), eachBlock(func(listed domain.BlockID, at bool) {
		if listed == id && at {
			found++
		}
	})))
	equal(t, "blocks listed with the time of issue", found, 1)
}

func wantBundle(t *testing.T, f *fixture, s keys.Subject, want *seal.Bundle) {
	t.Helper()
	found, got, err := f.Bundle(background(), s.Ref)
	check(t, err)
	sameSubject(t, found, s)
	if !bytes.Equal(got.Encode(), want.Encode()) {
		t.Fatal("the bundle is not what was written")
	}
}

func sameSubject(t *testing.T, got, want keys.Subject) {
	t.Helper()
	same := got.Ref == want.Ref && got.Scope == want.Scope && got.Directory == want.Directory &&
		got.Issued.Equal(want.Issued) && got.Fence.Command == want.Fence.Command &&
		slices.Equal(got.Fence.Classes, want.Fence.Classes) && (got.Fence.Classes == nil) == (want.Fence.Classes == nil)
	if !same {
		t.Fatalf("entry %+v, want %+v", got, want)
	}
}

func subjectsOf(t *testing.T, f *fixture) (all []keys.Subject) {
	t.Helper()
	check(t, f.Subjects(background(), func(s keys.Subject) bool {
		all = append(all, s)
		return true
	}))
	return all
}
