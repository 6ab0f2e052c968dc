package erasable

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// An attacker has every byte that keys.tree ever held, and some contents of
// keys.root. It tries every key it can get hold of against every version of
// every page ever written, until nothing new opens.
type attacker struct {
	id       treeID
	versions []pageVersion
	tried    map[nodeKey]bool
	keys     []nodeKey
	opened   [][]byte
}

type pageVersion struct {
	page uint64
	raw  []byte
	open bool
}

func newAttacker(d *disk, roots ...[]byte) *attacker {
	a := &attacker{tried: map[nodeKey]bool{}}
	for _, w := range d.log {
		if w.file != TreeFile {
			continue
		}
		for at := 0; at < len(w.data); at += pageSize {
			page := (uint64(w.off) + uint64(at)) / pageSize
			a.versions = append(a.versions, pageVersion{page: page, raw: w.data[at : at+pageSize]})
		}
	}
	for _, root := range roots {
		for at := 0; at+slotSize <= len(root); at += slotSize {
			if s, err := decodeSlot(root[at:at+slotSize], nil); err == nil {
				a.id = s.id
				a.keys = append(a.keys, s.root.key)
			}
		}
	}
	return a
}

func (a *attacker) run() {
	for len(a.keys) > 0 {
		k := a.keys[0]
		a.keys = a.keys[1:]
		if a.tried[k] {
			continue
		}
		a.tried[k] = true
		for i := range a.versions {
			a.try(&a.versions[i], k)
		}
	}
}

// try opens a page version and takes the keys that stand in it. It looks at
// both shapes a page has, whatever its first byte says.
func (a *attacker) try(v *pageVersion, k nodeKey) {
	if v.open {
		return
	}
	plain, err := openPage(bytes.Clone(v.raw), a.id, v.page, k)
	if err != nil {
		return
	}
	v.open = true
	a.opened = append(a.opened, plain)
	if c, err := parseChunk(plain); err == nil && c.next.kind != kindNone {
		a.keys = append(a.keys, c.next.key)
	}
	nd, err := parseNode(plain)
	if err != nil {
		return
	}
	for _, e := range nd.entries() {
		switch {
		case nd.kind == kindInner:
			a.keys = append(a.keys, e.child().key)
		case e.tag == tagLarge:
			_, first := e.large()
			a.keys = append(a.keys, first.key)
		}
	}
}

// finds reports whether secret is in any page it opened.
func (a *attacker) finds(secret []byte) bool {
	return slices.ContainsFunc(a.opened, func(p []byte) bool { return bytes.Contains(p, secret) })
}

// inPlain reports whether secret was ever written as it is, to any file.
func inPlain(d *disk, secret []byte) bool {
	return slices.ContainsFunc(d.log, func(w logged) bool { return bytes.Contains(w.data, secret) })
}

// secrets is a random history of a tree: which values live, which are dead.
type secrets struct {
	rng  *rand.Rand
	live map[string][]byte
	dead [][]byte
}

// value is random, and so found only where it is; some are large.
func (s *secrets) value() []byte {
	n := 32 + s.rng.IntN(300)
	if s.rng.IntN(20) == 0 {
		n = 1000 + s.rng.IntN(10000)
	}
	v := make([]byte, n)
	for i := range v {
		v[i] = byte(s.rng.Uint32())
	}
	return v
}

// mark is what is looked for; it never lies across two chunks.
func mark(v []byte) []byte { return v[:32] }

func (s *secrets) update(t *testing.T, tree *Tree) {
	t.Helper()
	must(t, tree.Update(context.Background(), func(tx *Tx) error {
		for range 1 + s.rng.IntN(40) {
			k := fmt.Sprintf("key%03d", s.rng.IntN(400))
			if old, ok := s.live[k]; ok {
				s.dead = append(s.dead, old)
			}
			if s.rng.IntN(2) == 0 {
				delete(s.live, k)
				must(t, tx.Delete([]byte(k)))
				continue
			}
			s.live[k] = s.value()
			must(t, tx.Put([]byte(k), s.live[k]))
		}
		return nil
	}))
}

// Given every byte that any file ever held, except what keys.root held before,
// nothing that was deleted or replaced is found, also not after a commit that
// was cut off at any point. All that lives is found, so the attacker works.
func TestDeletedIsUnreadable(t *testing.T) {
	for seed := range uint64(6) {
		d := newDisk(seed)
		s := &secrets{rng: rand.New(rand.NewPCG(seed, 2)), live: map[string][]byte{}}
		tree := mustOpen(t, d)
		for range 15 {
			for range 4 {
				s.update(t, tree)
			}
			tree = cutOff(t, d, tree, int(seed)+s.rng.IntN(6))
		}
		a := newAttacker(d, d.content(RootFile))
		a.run()
		for k, v := range s.live {
			if !a.finds(mark(v)) {
				t.Fatalf("seed %d: the attacker does not find what lives at %s", seed, k)
			}
		}
		for i, v := range s.dead {
			if end := v[len(v)-16:]; a.finds(mark(v)) || a.finds(end) || inPlain(d, mark(v)) {
				t.Fatalf("seed %d: dead value %d of %d is found", seed, i, len(s.dead))
			}
		}
		if len(s.dead) < 100 || len(s.live) < 50 {
			t.Fatalf("seed %d: only %d dead and %d live values", seed, len(s.dead), len(s.live))
		}
		mustClose(t, tree)
	}
}

// cutOff lets a commit fail at the k-th op from here, then opens the tree anew.
// It puts a key that is then deleted, so that it does not matter which state
// the tree comes back with.
func cutOff(t *testing.T, d *disk, tree *Tree, k int) *Tree {
	t.Helper()
	d.failAt, d.mode = d.ops+1+k, faultMode(k%3)
	err := put(tree, "cut off", []byte("value"))
	d.failAt = 0
	mustClose(t, tree)
	if err != nil {
		d.crash()
	}
	tree = mustOpen(t, d)
	must(t, del(tree, "cut off"))
	return tree
}

// The control: the same attacker with one earlier content of keys.root finds
// the deleted value, wherever it was, and without it does not.
func TestAttackerWithTheOldRootFindsIt(t *testing.T) {
	s := &secrets{rng: rand.New(rand.NewPCG(1, 2))}
	for _, size := range []int{300, 9000} {
		d, _ := grown(t, 500)
		tree := mustOpen(t, d)
		secret := append(s.value(), make([]byte, size)...)
		must(t, put(tree, "key0100x", secret))
		before := d.content(RootFile)
		must(t, del(tree, "key0100x"))
		mustClose(t, tree)

		without := newAttacker(d, d.content(RootFile))
		without.run()
		if without.finds(mark(secret)) {
			t.Fatalf("%d bytes: found without the old root", size)
		}
		with := newAttacker(d, d.content(RootFile), before)
		with.run()
		if !with.finds(mark(secret)) {
			t.Fatalf("%d bytes: not found with the old root", size)
		}
	}
}

// After each acknowledged commit one slot is valid; the other holds nothing of
// what it held before.
func TestOldSlotIsWiped(t *testing.T) {
	d := newDisk(1)
	tree := mustOpen(t, d)
	defer func() { mustClose(t, tree) }()
	for i := range 10 {
		before := d.content(RootFile)
		must(t, put(tree, "k", fmt.Append(nil, i)))
		after := d.content(RootFile)
		for _, at := range []int{0, slotSize} {
			_, was := decodeSlot(before[at:at+slotSize], nil)
			_, is := decodeSlot(after[at:at+slotSize], nil)
			if (was == nil) == (is == nil) {
				t.Fatalf("commit %d: slot at %d valid before: %v, after: %v", i, at, was, is)
			}
			for b := at; was == nil && b < at+slotSize; b += 16 {
				if bytes.Equal(before[b:b+16], after[b:b+16]) {
					t.Fatalf("commit %d: bytes at %d are as before", i, b)
				}
			}
		}
	}
}

// A commit that was cut off before the old slot was wiped is completed by Open:
// the new state is there, the old slot is not, nor what the commit deleted.
func TestOpenWipesTheOldSlot(t *testing.T) {
	for _, back := range []int{0, 1} { // the wipe's write, its sync
		for mode := faultLost; mode <= faultTorn; mode++ {
			d, model := grown(t, 200)
			secret := model["key0100"]
			tree := mustOpen(t, d)
			d.failAt, d.mode = d.ops+opsOf(t, d, "key0100")-1+back, mode
			if err := del(tree, "key0100"); err == nil {
				t.Fatal("no fault was met")
			}
			mustClose(t, tree)
			d.crash()
			tree = mustOpen(t, d)
			delete(model, "key0100")
			mustHold(t, tree, model)
			a := newAttacker(d, d.content(RootFile))
			if a.run(); a.finds([]byte(secret)) || len(a.opened) == 0 {
				t.Fatalf("op %d, mode %d: found in one of %d pages", back, mode, len(a.opened))
			}
			mustClose(t, tree)
		}
	}
}

// opsOf returns how many writes and syncs it takes to delete key.
func opsOf(t *testing.T, d *disk, key string) int {
	t.Helper()
	d = d.copy()
	tree := mustOpen(t, d)
	defer func() { mustClose(t, tree) }()
	before := d.ops
	must(t, del(tree, key))
	return d.ops - before
}
