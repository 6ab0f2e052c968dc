package erasable

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	childMain()
	goleak.VerifyTestMain(m)
}

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func mustOpen(t failer, d FS) *Tree {
	t.Helper()
	tree, err := Open("dir", Options{FS: d, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return tree
}

func mustClose(t failer, tree *Tree) {
	t.Helper()
	if err := tree.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// put and del are one Update of one key.
func put(tree *Tree, key string, value []byte) error {
	return tree.Update(context.Background(), func(tx *Tx) error { return tx.Put([]byte(key), value) })
}

func del(tree *Tree, key string) error {
	return tree.Update(context.Background(), func(tx *Tx) error { return tx.Delete([]byte(key)) })
}

func must(t failer, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// dump returns all that the transaction sees, and fails if it does not ascend.
func dump(tx *Tx, prefix string) (map[string]string, error) {
	all := map[string]string{}
	last := []byte(nil)
	err := tx.Scan([]byte(prefix), func(k, v []byte) error {
		if last != nil && bytes.Compare(last, k) >= 0 {
			return fmt.Errorf("scan does not ascend at %q", k)
		}
		last = bytes.Clone(k)
		all[string(k)] = string(v)
		return nil
	})
	return all, err
}

func mustHold(t failer, tree *Tree, want map[string]string) {
	t.Helper()
	if got := contents(t, tree); !maps.Equal(got, want) {
		t.Fatalf("tree holds %d keys, want %d: %s", len(got), len(want), diff(got, want))
	}
}

func contents(t failer, tree *Tree) map[string]string {
	t.Helper()
	var got map[string]string
	must(t, tree.View(func(tx *Tx) error {
		var err error
		got, err = dump(tx, "")
		return err
	}))
	return got
}

func diff(got, want map[string]string) string {
	for k, v := range want {
		if g, ok := got[k]; !ok {
			return fmt.Sprintf("%q is missing", k)
		} else if g != v {
			return fmt.Sprintf("%q has another value", k)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			return fmt.Sprintf("%q should not be there", k)
		}
	}
	return "equal"
}

// mustBeSound walks the current version: all leaves equally deep, every key
// within its bounds, no page and no key twice, and every page of the file
// either reachable, free or waiting.
func mustBeSound(t failer, tree *Tree) {
	t.Helper()
	s := soundness{p: tree.o.pager, pages: map[uint64]bool{}, keys: map[nodeKey]bool{}, depth: -1}
	root := tree.o.roots.now.root
	if root.kind != kindNone {
		if err := s.visit(root, nil, nil, 0); err != nil {
			t.Fatalf("unsound tree: %v", err)
		}
	}
	waiting := 0
	for _, g := range tree.graves {
		waiting += len(g.pages)
	}
	sp := &tree.o.space
	if have := uint64(len(s.pages)+waiting) + sp.free; have != sp.pages {
		t.Fatalf("%d pages reachable, %d waiting, %d free: of %d", len(s.pages), waiting, sp.free, sp.pages)
	}
}

type soundness struct {
	p     *pager
	pages map[uint64]bool
	keys  map[nodeKey]bool
	depth int
}

func (s *soundness) note(r ref) error {
	if s.pages[r.page] || s.keys[r.key] {
		return fmt.Errorf("page %d, or its key, is used twice", r.page)
	}
	s.pages[r.page], s.keys[r.key] = true, true
	return nil
}

func (s *soundness) visit(r ref, low, high []byte, depth int) error {
	if err := s.note(r); err != nil {
		return err
	}
	c, err := s.p.get(r)
	if err != nil {
		return err
	}
	defer s.p.cache.unpin(c)
	if c.kind != kindInner && s.depth < 0 {
		s.depth = depth
	}
	if (c.kind == kindInner) == (s.depth == depth) {
		return fmt.Errorf("page %d: kind %d at depth %d, leaves at %d", r.page, c.kind, depth, s.depth)
	}
	for i := range c.n {
		e := c.at(i)
		if bytes.Compare(e.key, low) < 0 || (high != nil && bytes.Compare(e.key, high) >= 0) {
			return fmt.Errorf("page %d: key %q outside [%q, %q)", r.page, e.key, low, high)
		}
		if err := s.entry(c, i, high, depth); err != nil {
			return err
		}
	}
	return nil
}

func (s *soundness) entry(c *cached, i int, high []byte, depth int) error {
	e := c.at(i)
	if c.kind == kindInner {
		if i+1 < c.n {
			high = c.at(i + 1).key
		}
		return s.visit(e.child(), e.key, high, depth+1)
	}
	if e.tag != tagLarge {
		return nil
	}
	n, first := e.large()
	return s.p.eachChunk(first, n, func(r ref, _ []byte) error { return s.note(r) })
}

// machine compares a Tree with a map under random updates, views that stay
// open, reopening and power cuts.
type machine struct {
	d     *disk
	tree  *Tree
	model map[string]string
	views []*heldView
}

type heldView struct {
	want map[string]string
	stop chan struct{}
	got  chan error
}

func (m *machine) key(t *rapid.T) string {
	return fmt.Sprintf("%0*d", rapid.SampledFrom([]int{3, 3, 3, 40, 200}).Draw(t, "width"), rapid.IntRange(0, 150).Draw(t, "key"))
}

func (m *machine) value(t *rapid.T) string {
	n := rapid.SampledFrom([]int{0, 1, 300, 300, 300, 700, 900, 1000, chunkData, chunkData + 1, 30000}).Draw(t, "length")
	return string(bytes.Repeat([]byte{rapid.Byte().Draw(t, "fill")}, n))
}

// Update makes a handful of changes in one transaction, some of which fail.
func (m *machine) Update(t *rapid.T) {
	next := maps.Clone(m.model)
	fails := rapid.IntRange(0, 9).Draw(t, "fails") == 0
	err := m.tree.Update(context.Background(), func(tx *Tx) error {
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			k := m.key(t)
			if rapid.IntRange(0, 4).Draw(t, "what") < 2 {
				delete(next, k)
				must(t, tx.Delete([]byte(k)))
				continue
			}
			next[k] = m.value(t)
			must(t, tx.Put([]byte(k), []byte(next[k])))
		}
		got, err := dump(tx, "")
		if err != nil || !maps.Equal(got, next) {
			t.Fatalf("within the update: %v %s", err, diff(got, next))
		}
		if fails {
			return errInjected
		}
		return nil
	})
	if (err != nil) != fails {
		t.Fatalf("Update: %v", err)
	}
	if !fails {
		m.model = next
	}
}

// Sweep deletes everything under a prefix, so that nodes run empty.
func (m *machine) Sweep(t *rapid.T) {
	prefix := rapid.SampledFrom([]string{"0", "00", "01", "1", "000000", ""}).Draw(t, "prefix")
	must(t, m.tree.Update(context.Background(), func(tx *Tx) error {
		return tx.Scan([]byte(prefix), func(k, _ []byte) error {
			delete(m.model, string(k))
			return tx.Delete(k)
		})
	}))
}

func (m *machine) Scan(t *rapid.T) {
	prefix := rapid.SampledFrom([]string{"0", "00", "01", "1", "000000", "02", "x"}).Draw(t, "prefix")
	want := map[string]string{}
	for k, v := range m.model {
		if len(k) >= len(prefix) && k[:len(prefix)] == prefix {
			want[k] = v
		}
	}
	must(t, m.tree.View(func(tx *Tx) error {
		got, err := dump(tx, prefix)
		if err == nil && !maps.Equal(got, want) {
			t.Fatalf("scan %q: %s", prefix, diff(got, want))
		}
		return err
	}))
}

// Hold opens a view that is compared when it ends.
func (m *machine) Hold(t *rapid.T) {
	if len(m.views) == 3 {
		m.release(t)
	}
	v := &heldView{want: maps.Clone(m.model), stop: make(chan struct{}), got: make(chan error, 1)}
	begun := make(chan struct{})
	go func() {
		v.got <- m.tree.View(func(tx *Tx) error {
			close(begun)
			<-v.stop
			got, err := dump(tx, "")
			if err == nil && !maps.Equal(got, v.want) {
				err = fmt.Errorf("a held view changed: %s", diff(got, v.want))
			}
			return err
		})
	}()
	<-begun
	m.views = append(m.views, v)
}

func (m *machine) release(t failer) {
	close(m.views[0].stop)
	must(t, <-m.views[0].got)
	m.views = m.views[1:]
}

func (m *machine) close(t failer) {
	for len(m.views) > 0 {
		m.release(t)
	}
	mustClose(t, m.tree)
}

func (m *machine) Reopen(t *rapid.T) {
	m.close(t)
	if rapid.Bool().Draw(t, "power cut") {
		m.d.crash()
	}
	m.tree = mustOpen(t, m.d)
}

func (m *machine) Check(t *rapid.T) {
	mustHold(t, m.tree, m.model)
	mustBeSound(t, m.tree)
	k := m.key(t)
	must(t, m.tree.View(func(tx *Tx) error {
		v, ok, err := tx.Get([]byte(k))
		if want, there := m.model[k]; ok != there || string(v) != want {
			t.Fatalf("Get %q: %d bytes, %v", k, len(v), ok)
		}
		return err
	}))
}

func TestTreeIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{d: newDisk(rapid.Uint64().Draw(t, "seed")), model: map[string]string{}}
		m.tree = mustOpen(t, m.d)
		defer func() { m.close(t) }()
		t.Repeat(map[string]func(*rapid.T){
			"update": m.Update, "update again": m.Update, "sweep": m.Sweep,
			"scan": m.Scan, "hold": m.Hold, "reopen": m.Reopen, "": m.Check,
		})
	})
}

// A tree that loses nearly all its keys loses nearly all its pages and levels.
func TestTreeShrinks(t *testing.T) {
	d, model := grown(t, 3000)
	tree := mustOpen(t, d)
	defer func() { mustClose(t, tree) }()
	for i := range 3000 {
		if i%10 == 0 {
			continue
		}
		k := fmt.Sprintf("key%04d", i)
		delete(model, k)
		must(t, del(tree, k))
	}
	mustHold(t, tree, model)
	mustBeSound(t, tree)
	s := tree.Stats()
	if used := s.Pages - s.Free - s.Waiting; used > 100 {
		t.Fatalf("300 keys of 300 bytes take %d pages", used)
	}
	for k := range model {
		if k != "key0000" {
			must(t, del(tree, k))
		}
	}
	if root := tree.o.roots.now.root; root.kind != kindLeaf {
		t.Fatalf("one key stands below a node of kind %d", root.kind)
	}
	must(t, del(tree, "key0000"))
	if s := tree.Stats(); s.Pages != s.Free+s.Waiting {
		t.Fatalf("an empty tree uses %d of %d pages", s.Pages-s.Free-s.Waiting, s.Pages)
	}
	mustHold(t, tree, map[string]string{})
}
