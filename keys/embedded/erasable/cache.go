package erasable

import (
	"container/list"
	"sync"
)

const (
	cacheShards = 16
	spareBufs   = 64
)

// A cache keeps decrypted nodes, least recently used first out. A node in use
// is pinned and stays; one that leaves is zeroed, at its last unpin if pinned.
// A node is found only by page and key together, so that a page written anew
// never reads as what it held before.
type cache struct {
	shards [cacheShards]shard
	limit  int // nodes per shard

	mu    sync.Mutex // guards spare
	spare [][]byte
}

type shard struct {
	mu           sync.Mutex // guards everything here, and the cached nodes' pins and gone
	nodes        map[uint64]*cached
	used         list.List // of *cached, most recently used in front
	hits, misses uint64
}

type cached struct {
	node
	page uint64
	key  nodeKey
	pins int
	gone bool // no longer in the shard: zero it at the last unpin
	elem *list.Element
}

func newCache(bytes int64) *cache {
	c := &cache{limit: max(8, int(bytes/pageSize/cacheShards))}
	for i := range c.shards {
		c.shards[i].nodes = map[uint64]*cached{}
	}
	return c
}

func (c *cache) shard(page uint64) *shard { return &c.shards[page%cacheShards] }

// get returns the node pinned, or nil.
func (c *cache) get(r ref) *cached {
	s := c.shard(r.page)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[r.page]
	if n == nil || n.key != r.key {
		s.misses++
		return nil
	}
	s.hits++
	s.used.MoveToFront(n.elem)
	n.pins++
	return n
}

// put takes nd, whose buffer is the cache's from here on, and returns it
// pinned; or the same node that another reader put first.
func (c *cache) put(r ref, nd node) *cached {
	s := c.shard(r.page)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[r.page]; n != nil {
		if n.key == r.key {
			c.recycle(nd.buf)
			n.pins++
			return n
		}
		c.evict(s, n)
	}
	n := &cached{node: nd, page: r.page, key: r.key, pins: 1}
	n.elem = s.used.PushFront(n)
	s.nodes[r.page] = n
	c.shrink(s)
	return n
}

// shrink evicts what is over the limit and not in use.
func (c *cache) shrink(s *shard) {
	for e := s.used.Back(); e != nil && len(s.nodes) > c.limit; {
		n, prev := e.Value.(*cached), e.Prev() //nolint:errcheck,forcetypeassert // only get adds to the list
		if n.pins == 0 {
			c.evict(s, n)
		}
		e = prev
	}
}

func (c *cache) evict(s *shard, n *cached) {
	delete(s.nodes, n.page)
	s.used.Remove(n.elem)
	n.gone = true
	if n.pins == 0 {
		c.zero(n)
	}
}

func (c *cache) zero(n *cached) {
	clear(n.key[:])
	c.recycle(n.buf)
	n.node = node{}
}

// unpin ends one use. The node must not be touched afterwards.
func (c *cache) unpin(n *cached) {
	s := c.shard(n.page)
	s.mu.Lock()
	defer s.mu.Unlock()
	n.pins--
	if n.gone && n.pins == 0 {
		c.zero(n)
	}
}

// retire unpins a node that a rewrite has replaced: it is the next to go, so
// that a large commit does not push out what it has still to read.
func (c *cache) retire(n *cached) {
	s := c.shard(n.page)
	s.mu.Lock()
	if !n.gone {
		s.used.MoveToBack(n.elem)
	}
	s.mu.Unlock()
	c.unpin(n)
}

// drop forgets what is on page.
func (c *cache) drop(page uint64) {
	s := c.shard(page)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[page]; n != nil {
		c.evict(s, n)
	}
}

// dropAll forgets everything that is not in use.
func (c *cache) dropAll() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, n := range s.nodes {
			c.evict(s, n)
		}
		s.mu.Unlock()
	}
}

// buffer returns pageSize zero bytes.
func (c *cache) buffer() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.spare); n > 0 {
		b := c.spare[n-1]
		c.spare = c.spare[:n-1]
		return b
	}
	return make([]byte, pageSize)
}

// recycle zeroes b, of buffer or a prefix of it, and keeps a few for reuse.
func (c *cache) recycle(b []byte) {
	b = b[:pageSize]
	clear(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spare) < spareBufs {
		c.spare = append(c.spare, b)
	}
}

// count returns nodes held, hits and misses.
func (c *cache) count() (held int, hits, misses uint64) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		held, hits, misses = held+len(s.nodes), hits+s.hits, misses+s.misses
		s.mu.Unlock()
	}
	return held, hits, misses
}
