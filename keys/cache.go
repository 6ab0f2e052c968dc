package keys

import "sync"

// cacheShards is how many locks a cache has. Shards are chosen by a random byte
// of the key, so they fill evenly.
const cacheShards = 64

// A cache is a bounded map that forgets what was least recently used. Whoever
// computes a value to put in it takes the epoch first: a purge in between makes
// put refuse, so that nothing purged comes back through a read in flight.
type cache[K comparable, V any] struct {
	shards [cacheShards]cacheShard[K, V]
	// shardOf returns the random byte of a key.
	shardOf func(K) byte
	// evicted is told, under the shard's lock, of what left to make room.
	evicted func(K, V)
}

// A cacheShard's mutex guards all of it.
type cacheShard[K comparable, V any] struct {
	mu    sync.Mutex
	items map[K]*cacheItem[K, V]
	used  cacheItem[K, V] // sentinel of the list, most recently used first
	limit int
	epoch uint64
}

type cacheItem[K comparable, V any] struct {
	key        K
	value      V
	prev, next *cacheItem[K, V]
}

// newCache holds about limit values, at least one a shard.
func newCache[K comparable, V any](limit int, shardOf func(K) byte, evicted func(K, V)) *cache[K, V] {
	c := &cache[K, V]{shardOf: shardOf, evicted: evicted}
	for i := range c.shards {
		s := &c.shards[i]
		s.items = map[K]*cacheItem[K, V]{}
		s.limit = max(1, limit/cacheShards)
		s.used.prev, s.used.next = &s.used, &s.used
	}
	return c
}

func (c *cache[K, V]) shard(k K) *cacheShard[K, V] { return &c.shards[c.shardOf(k)%cacheShards] }

// get returns a value and marks it as used.
func (c *cache[K, V]) get(k K) (v V, ok bool) {
	s := c.shard(k)
	s.mu.Lock()
	item := s.items[k]
	if item != nil {
		v, ok = item.value, true
		if s.used.next != item {
			item.unlink()
			item.linkAfter(&s.used)
		}
	}
	s.mu.Unlock()
	return v, ok
}

// has reports whether a value is there, without marking it as used.
func (c *cache[K, V]) has(k K) bool {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items[k] != nil
}

// epoch is taken before the value is computed.
func (c *cache[K, V]) epoch(k K) uint64 {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

// put stores a value that was computed since epoch was taken and returns what
// stands there now: another value if somebody else was first. It reports false,
// and stores nothing, if a purge came between.
func (c *cache[K, V]) put(k K, v V, epoch uint64) (V, bool) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch {
		return v, false
	}
	if item := s.items[k]; item != nil {
		return item.value, true
	}
	item := &cacheItem[K, V]{key: k, value: v}
	s.items[k] = item
	item.linkAfter(&s.used)
	for len(s.items) > s.limit {
		last := s.used.prev
		s.remove(last)
		c.evicted(last.key, last.value)
	}
	return v, true
}

// purge takes out what match accepts, and outdates every value being computed.
// match is called under the shard's lock and may dispose of what it accepts.
func (c *cache[K, V]) purge(match func(K, V) bool) {
	for i := range c.shards {
		c.shards[i].purge(match)
	}
}

// purgeAt is purge for the one shard that holds k.
func (c *cache[K, V]) purgeAt(k K, match func(K, V) bool) { c.shard(k).purge(match) }

func (s *cacheShard[K, V]) purge(match func(K, V) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	for k, item := range s.items {
		if match(k, item.value) {
			s.remove(item)
		}
	}
}

func (c *cache[K, V]) len() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.items)
		s.mu.Unlock()
	}
	return n
}

func (s *cacheShard[K, V]) remove(item *cacheItem[K, V]) {
	item.unlink()
	delete(s.items, item.key)
}

func (i *cacheItem[K, V]) unlink() { i.prev.next, i.next.prev = i.next, i.prev }

func (i *cacheItem[K, V]) linkAfter(at *cacheItem[K, V]) {
	i.prev, i.next = at, at.next
	at.next.prev = i
	at.next = i
}
