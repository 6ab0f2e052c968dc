package erasable

import (
	"bytes"
	"testing"
)

func leafOf(c *cache, value string) node {
	return encodeNode(c.buffer()[:plainSize], kindLeaf, []entry{{key: []byte("k"), rest: []byte(value)}})
}

func TestNodeInUseIsZeroedAtItsLastUnpin(t *testing.T) {
	c := newCache(1 << 20)
	r := ref{page: 3, kind: kindLeaf, key: nodeKey{1}}
	n := c.put(r, leafOf(c, "secret"))
	buf := n.buf
	again := c.get(r)
	c.drop(r.page)
	if c.get(r) != nil {
		t.Fatal("a dropped node is found")
	}
	c.unpin(n)
	if !bytes.Contains(again.buf, []byte("secret")) {
		t.Fatal("zeroed while in use")
	}
	c.unpin(again)
	if bytes.Contains(buf, []byte("secret")) {
		t.Fatal("not zeroed")
	}
}

func TestPageWrittenAnewIsNotFoundByTheOldKey(t *testing.T) {
	c := newCache(1 << 20)
	old, now := ref{page: 3, key: nodeKey{1}}, ref{page: 3, key: nodeKey{2}}
	c.unpin(c.put(old, leafOf(c, "old")))
	if c.get(now) != nil {
		t.Fatal("found by a key it was not read with")
	}
	c.unpin(c.put(now, leafOf(c, "new")))
	if c.get(old) != nil {
		t.Fatal("the old node is still there")
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(cacheShards * 20 * pageSize)
	for page := range uint64(5000) {
		c.unpin(c.put(ref{page: page, key: nodeKey{1}}, leafOf(c, "v")))
	}
	if held, _, _ := c.count(); held != cacheShards*20 {
		t.Fatalf("%d nodes held", held)
	}
}

// What an Update replaced is no longer in the memory that held it.
func TestReplacedNodeIsZeroed(t *testing.T) {
	tree := mustOpen(t, newDisk(1))
	defer func() { mustClose(t, tree) }()
	must(t, put(tree, "k", []byte("secret")))
	c, err := tree.o.pager.get(tree.o.roots.now.root)
	must(t, err)
	buf := c.buf
	tree.o.pager.cache.unpin(c)
	if !bytes.Contains(buf, []byte("secret")) {
		t.Fatal("the leaf does not hold the value")
	}
	must(t, del(tree, "k"))
	if bytes.Contains(buf, []byte("secret")) {
		t.Fatal("the replaced leaf is still in memory")
	}
}

func TestPageOpensOnlyInItsPlace(t *testing.T) {
	k := freshKey()
	raw := sealPage(nil, make([]byte, plainSize), treeID{1}, 5, k)
	for _, at := range []struct {
		id   treeID
		page uint64
		ok   bool
	}{{treeID{1}, 5, true}, {treeID{1}, 6, false}, {treeID{2}, 5, false}} {
		if _, err := openPage(bytes.Clone(raw), at.id, at.page, k); (err == nil) != at.ok {
			t.Fatalf("tree %v page %d: %v", at.id, at.page, err)
		}
	}
}
