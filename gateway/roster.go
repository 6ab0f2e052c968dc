package gateway

import (
	"maps"
	"sync"
	"time"
)

// slots is the number of slots of the wheel: the furthest a check can lie ahead
// is that many ticks, then it is looked at and put off again.
const slots = 512

// A roster holds every live session in a timing wheel, so that idle and lifetime
// bounds cost one goroutine and no timer per connection. It also holds the counts,
// so that a session leaves the live ones and enters the totals in one step.
type roster struct {
	tick time.Duration

	mu    sync.Mutex // protects what follows
	wheel [slots]node
	at    int64 // the last tick that was swept
	live  int
	pools map[string]*PoolCounts
}

// A node is a place in a slot's ring; a slot is itself a node without a session.
type node struct {
	prev, next *node
	s          *session
}

func newRoster(tick time.Duration, now time.Time) *roster {
	r := &roster{tick: tick, at: now.UnixNano() / int64(tick), pools: map[string]*PoolCounts{}}
	for i := range r.wheel {
		r.wheel[i].prev, r.wheel[i].next = &r.wheel[i], &r.wheel[i]
	}
	return r
}

// add makes the session live; it is looked at when due.
func (r *roster) add(s *session, due int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.node.s = s
	r.link(&s.node, due)
	r.live++
	c := r.counts(s.route.ID)
	c.Open++
	c.Total++
}

// remove takes a session out and adds what it did to the totals; one that never
// was live counts nothing.
func (r *roster) remove(s *session, why CloseReason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.node.s == nil {
		return
	}
	s.node.unlink()
	s.node.s = nil
	r.live--
	c := r.counts(s.route.ID)
	c.Open--
	c.Closed[why]++
	c.add(s)
}

func (r *roster) refused(pool string, why Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts(pool).Refused[why]++
}

// counts returns the counts of a pool; mu is held. Pool ids are those of the
// settings, so there are few.
func (r *roster) counts(pool string) *PoolCounts {
	c, ok := r.pools[pool]
	if !ok {
		c = &PoolCounts{Pool: pool, Refused: map[Refusal]int64{}, Closed: map[CloseReason]int64{}}
		r.pools[pool] = c
	}
	return c
}

// link puts n where it is looked at no sooner than due; mu is held.
func (r *roster) link(n *node, due int64) {
	t := due/int64(r.tick) + 1
	t = min(max(t, r.at+1), r.at+slots-1)
	head := &r.wheel[t%slots]
	n.prev, n.next = head.prev, head
	head.prev.next, head.prev = n, n
}

func (n *node) unlink() {
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
}

// sweep looks at every session that has come due. The lock is not held while a
// session is looked at.
func (r *roster) sweep(now time.Time) {
	for _, s := range r.due(now) {
		again := s.check(now.UnixNano())
		r.mu.Lock()
		if s.node.s != nil {
			s.node.unlink()
			r.link(&s.node, again)
		}
		r.mu.Unlock()
	}
}

func (r *roster) due(now time.Time) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*session
	target := now.UnixNano() / int64(r.tick)
	for first := max(r.at+1, target-slots+1); first <= target; first++ {
		head := &r.wheel[first%slots]
		for n := head.next; n != head; n = n.next {
			list = append(list, n.s)
		}
	}
	r.at = max(r.at, target)
	return list
}

// sessions returns every live session.
func (r *roster) sessions() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*session, 0, r.live)
	for i := range r.wheel {
		for n := r.wheel[i].next; n != &r.wheel[i]; n = n.next {
			list = append(list, n.s)
		}
	}
	return list
}

func (r *roster) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live
}

// PoolCounts counts a pool since the process began. Arrays are by Direction.
type PoolCounts struct {
	// Pool is the pool's id; empty where no pool had the path.
	Pool string
	// Open connections now, Total ever opened.
	Open, Total int64
	// Messages recorded, Controls (control frames) seen, Bytes forwarded.
	Messages, Controls, Bytes [2]int64
	Refused                   map[Refusal]int64
	Closed                    map[CloseReason]int64
}

func (c *PoolCounts) add(s *session) {
	for d := range 2 {
		c.Messages[d] += s.messages[d].Load()
		c.Controls[d] += s.controls[d].Load()
		c.Bytes[d] += s.bytes[d].Load()
	}
}

// snapshot copies the totals and adds what the live sessions did so far.
func (r *roster) snapshot() []PoolCounts {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := map[string]*PoolCounts{}
	for id, c := range r.pools {
		copied := *c
		copied.Refused, copied.Closed = maps.Clone(c.Refused), maps.Clone(c.Closed)
		now[id] = &copied
	}
	for i := range r.wheel {
		for n := r.wheel[i].next; n != &r.wheel[i]; n = n.next {
			now[n.s.route.ID].add(n.s)
		}
	}
	list := make([]PoolCounts, 0, len(now))
	for _, c := range now {
		list = append(list, *c)
	}
	return list
}
