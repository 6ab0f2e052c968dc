package gateway

import (
	"cmp"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A pool is what lives on across reloads under one id: the counts. Its settings
// are replaced whole; a session keeps the ones it began with.
type pool struct {
	id   string
	turn atomic.Uint64 // of the upstreams

	mu        sync.Mutex // protects what follows
	open      int
	addresses map[netip.Prefix]int
	tokens    float64 // handshakes that may begin now
	filled    time.Time
}

// A route is a pool with the settings of one reload.
type route struct {
	*pool
	Pool
	upstreams []*url.URL
	origins   []origin
}

// A table is everything that one reload decides.
type table struct {
	routes   []*route // longest path first
	identify []identifier
	trusted  prefixes
	busy     int
}

// newTable compiles validated settings. Pools keep the counts they have in old.
func newTable(s Settings, old *table, clock func() time.Time) (*table, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	t := &table{trusted: prefixes(s.TrustedProxies), busy: or(s.MaxHandshakes, 1024)}
	for _, p := range s.Pools {
		r, err := newRoute(p, old.find(p.ID))
		if err != nil {
			return nil, err
		}
		t.routes = append(t.routes, r)
	}
	slices.SortStableFunc(t.routes, func(a, b *route) int { return cmp.Compare(len(b.Path), len(a.Path)) })
	for _, r := range s.Identify {
		id, err := r.compile(clock)
		if err != nil {
			return nil, err
		}
		t.identify = append(t.identify, id)
	}
	return t, nil
}

func newRoute(p Pool, kept *route) (*route, error) {
	r := &route{Pool: p.withDefaults()}
	if kept != nil {
		r.pool = kept.pool
	} else {
		r.pool = &pool{id: p.ID, addresses: map[netip.Prefix]int{}}
	}
	for _, s := range p.Upstreams {
		u, err := parseUpstream(s)
		if err != nil {
			return nil, err
		}
		r.upstreams = append(r.upstreams, u)
	}
	for _, s := range slices.Concat(p.Origins, sameOrigin(p.Origins)) {
		o, err := parseOrigin(s)
		if err != nil {
			return nil, err
		}
		r.origins = append(r.origins, o)
	}
	return r, nil
}

// find returns the route of a pool, or nil.
func (t *table) find(id string) *route {
	if t == nil {
		return nil
	}
	for _, r := range t.routes {
		if r.id == id {
			return r
		}
	}
	return nil
}

// match returns the route with the longest path that covers p, or nil. A path
// that an upstream could read as another one ("/chat/../admin") matches nothing.
func (t *table) match(p string) *route {
	if !cleanPath(p) {
		return nil
	}
	for _, r := range t.routes {
		if p == r.Path || (strings.HasSuffix(r.Path, "/") && strings.HasPrefix(p, r.Path)) {
			return r
		}
	}
	return nil
}

func cleanPath(p string) bool {
	return p == "/" || path.Clean(p) == strings.TrimSuffix(p, "/")
}

// take reserves a connection from the address, or says which limit is reached.
func (r *route) take(from netip.Prefix, now time.Time) (Refusal, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.refill(now):
		return RefusedRate, false
	case r.open >= r.MaxConnections:
		return RefusedFull, false
	case r.MaxPerAddress > 0 && r.addresses[from] >= r.MaxPerAddress:
		return RefusedAddress, false
	}
	r.open++
	if r.HandshakesPerSecond > 0 {
		r.tokens--
	}
	if r.MaxPerAddress > 0 {
		r.addresses[from]++
	}
	return 0, true
}

// refill adds the tokens of the time gone by and reports whether there is one;
// mu is held.
func (r *route) refill(now time.Time) bool {
	rate := float64(r.HandshakesPerSecond)
	if rate == 0 {
		return true
	}
	if r.filled.IsZero() {
		r.tokens = rate
	} else {
		r.tokens = min(rate, r.tokens+rate*max(0, now.Sub(r.filled).Seconds()))
	}
	r.filled = now
	return r.tokens >= 1
}

// release gives back what take reserved. A count by address that a reload turned
// on or off meanwhile may be missing.
func (p *pool) release(from netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	if n, ok := p.addresses[from]; ok && n > 1 {
		p.addresses[from] = n - 1
	} else {
		delete(p.addresses, from)
	}
}
