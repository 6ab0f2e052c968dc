package gateway

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Settings are a node's settings that can change while connections live. What is
// open keeps the limits it was opened with.
type Settings struct {
	// Pools are found by path; of several that match the longest path wins.
	Pools []Pool
	// Identify is tried in order; the first rule that finds something decides. A
	// token that is there but not valid is refused, never taken for nobody. Without
	// a match the connection is anonymous.
	Identify []Rule
	// TrustedProxies may say who the client is: X-Forwarded-For, X-Forwarded-Proto
	// and -Host, identification headers and the PROXY protocol are believed from
	// these addresses only. Whoever is listed wrongly can be anybody.
	TrustedProxies []netip.Prefix
	// MaxHandshakes bounds the handshakes under way at once; 0 is 1024.
	MaxHandshakes int
}

// A Pool is a set of connections under the same limits.
type Pool struct {
	// ID names the pool in the ledger and in metrics.
	ID string
	// Path is matched exactly; one that ends in "/" also covers all below it, so
	// "/" is every path.
	Path string
	// Upstreams are ws:// or wss:// URLs, taken in turn; one that cannot be dialled
	// is passed over. A path in the URL goes before the request's. Empty for a pool
	// that a Handler serves.
	Upstreams []string
	// Host replaces the Host header towards the upstream; empty keeps the client's,
	// so that an upstream's own same-origin check still works.
	Host string
	// MaxConnections bounds the open connections (503); 0 is 10,000.
	MaxConnections int
	// MaxPerAddress bounds those of one IPv4 address or IPv6 /64 (429); 0 is no
	// bound. Behind a proxy that is not trusted everybody has one address.
	MaxPerAddress int
	// HandshakesPerSecond bounds new connections, with bursts of one second (429);
	// 0 is no bound.
	HandshakesPerSecond int
	// IdleAfter is how long no data frame may cross before the connection is
	// recorded as idled; pings do not count. 0 is one minute.
	IdleAfter time.Duration
	// IdleTimeout is how long no byte may cross, pings included, before the
	// connection is closed with 1001. 0 is never.
	IdleTimeout time.Duration
	// MaxLifetime closes with 1001; each connection gets up to a tenth less, at
	// random, so that those opened together do not end together. 0 is never.
	MaxLifetime time.Duration
	// MaxMessage bounds a message on the wire (1009); 0 is 1 MiB.
	MaxMessage int64
	// MaxFragments bounds the frames of one message (1009); 0 is 65,536.
	MaxFragments int
	// WriteTimeout is how long a peer may take no byte of a read's worth before it
	// counts as slow and is cut; the other side gets 1013. 0 is 30 seconds.
	WriteTimeout time.Duration
	// DialTimeout bounds reaching one upstream, HandshakeTimeout everything from
	// the request to the answer. 0 is 5 and 10 seconds.
	DialTimeout, HandshakeTimeout time.Duration
	// CloseTimeout bounds what follows the first close frame; 0 is 5 seconds.
	CloseTimeout time.Duration
	// Origins are the web origins that may connect: "https://app.example.com",
	// "https://*.example.com" (any depth below, not the domain itself), "same"
	// (the origin's host and port are the request's Host), or "*" for all. Empty is
	// "same": any other site could otherwise connect with its visitor's cookies.
	Origins []string
	// RequireOrigin also refuses requests without Origin. They are no browser's,
	// and are let in by default.
	RequireOrigin bool
}

// withDefaults fills in what was left zero.
func (p Pool) withDefaults() Pool {
	p.MaxConnections = or(p.MaxConnections, 10_000)
	p.IdleAfter = or(p.IdleAfter, time.Minute)
	p.MaxMessage = or(p.MaxMessage, 1<<20)
	p.MaxFragments = or(p.MaxFragments, 1<<16)
	p.WriteTimeout = or(p.WriteTimeout, 30*time.Second)
	p.DialTimeout = or(p.DialTimeout, 5*time.Second)
	p.HandshakeTimeout = or(p.HandshakeTimeout, 10*time.Second)
	p.CloseTimeout = or(p.CloseTimeout, 5*time.Second)
	return p
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Validate reports the first thing wrong with the settings.
func (s Settings) Validate() error {
	ids, paths := map[string]bool{}, map[string]string{}
	for _, p := range s.Pools {
		if ids[p.ID] {
			return fmt.Errorf("pool %s: named twice", p.ID)
		}
		if other, taken := paths[p.Path]; taken {
			return fmt.Errorf("pool %s: path %s is taken by pool %s", p.ID, p.Path, other)
		}
		if err := p.validate(); err != nil {
			return fmt.Errorf("pool %q: %w", p.ID, err)
		}
		ids[p.ID], paths[p.Path] = true, p.ID
	}
	for i, r := range s.Identify {
		if err := r.validate(); err != nil {
			return fmt.Errorf("identify rule %d: %w", i+1, err)
		}
	}
	return nil
}

func (p Pool) validate() error {
	if p.ID == "" {
		return fmt.Errorf("has no id")
	}
	if !strings.HasPrefix(p.Path, "/") || !cleanPath(p.Path) {
		return fmt.Errorf("path %q: want a clean path that begins with /", p.Path)
	}
	for _, u := range p.Upstreams {
		if _, err := parseUpstream(u); err != nil {
			return err
		}
	}
	for _, o := range p.Origins {
		if _, err := parseOrigin(o); err != nil {
			return err
		}
	}
	return p.validateLimits()
}

func (p Pool) validateLimits() error {
	counts := min(int64(p.MaxConnections), int64(p.MaxPerAddress), int64(p.HandshakesPerSecond), p.MaxMessage, int64(p.MaxFragments))
	times := min(p.IdleAfter, p.IdleTimeout, p.MaxLifetime, p.WriteTimeout, p.DialTimeout, p.HandshakeTimeout, p.CloseTimeout)
	if counts < 0 || times < 0 {
		return fmt.Errorf("a limit is negative: leave it out for its default")
	}
	return nil
}

// parseUpstream takes ws:// and wss:// URLs without user, query or fragment.
func parseUpstream(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	if (u.Scheme != "ws" && u.Scheme != "wss") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("upstream %q: want ws://host:port or wss://host:port, with a path at most", u.Redacted())
	}
	return u, nil
}
