package lethe

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lethe-ledger/lethe/domain"
)

// noPolicy is the policy before a file is read. Whoever writes one has reviewed
// it, unless the file says otherwise.
func noPolicy() domain.Policy { return domain.Policy{Reviewed: true} }

// A check finds what is wrong with the values of a decoded file.
type check struct {
	*decoder
	config *Config
}

func (c *check) all() {
	if err := c.config.Ledger.Validate(); err != nil {
		c.add("ledger", "%s", err)
	}
	if _, ok := c.nodes["policy"]; ok {
		for _, p := range c.config.Policy.Validate() {
			c.add("policy."+p.Path, "%s", p.Message)
		}
	} else {
		c.add("policy", "is missing: say what is recorded, why and for how long; docs/lethe.yaml is a file to begin with")
	}
	c.engines()
	c.policyOfThisRelease()
	c.pools()
	c.listen()
	for i, rule := range c.config.Identify {
		c.identify(fmt.Sprintf("identify[%d]", i), rule)
	}
	c.paths()
	c.word("log.level", c.config.Log.Level, "debug", "info", "warn", "error")
	c.word("log.format", c.config.Log.Format, "auto", "console", "json")
}

func (c *check) word(path, have string, want ...string) {
	if !slices.Contains(want, have) {
		c.add(path, "%q is not known: write one of %s", have, strings.Join(want, ", "))
	}
}

// unbuilt refuses what the schema names and this release does not do. Passing
// over it would record something else than was asked for.
func (c *check) unbuilt(path, what, instead string) {
	c.add(path, "%s is not in this release: %s", what, instead)
}

func (c *check) policyOfThisRelease() {
	for i, r := range c.config.Policy.Pools {
		at := fmt.Sprintf("policy.pools[%d].", i)
		for _, later := range []struct{ key, have, unbuilt, instead string }{
			{"mode", r.Mode, domain.ModeMessage, domain.ModeTap},
			{"record", r.Record, domain.RecordBeforeForward, domain.RecordAsync},
			{"after_erasure", r.AfterErasure, domain.ErasureRefuse, domain.ErasureEnrol},
			{"after_erasure", r.AfterErasure, domain.ErasureUnrecorded, domain.ErasureEnrol},
		} {
			if later.have == later.unbuilt {
				c.unbuilt(at+later.key, later.unbuilt, "write "+later.instead)
			}
		}
		if len(r.Extract) > 0 {
			c.unbuilt(at+"extract", "extract", "leave it out; message content is not looked into")
		}
		if r.Recipient != "" {
			c.unbuilt(at+"recipient", "recipient", "leave it out")
		}
	}
}

func (c *check) pools() {
	for i, r := range c.config.Policy.Pools {
		s, ok := c.config.Pools[r.ID]
		if r.ID != "" && (!ok || s.Upstream == "" && len(s.Upstreams) == 0 && !s.Handler) {
			path := fmt.Sprintf("policy.pools[%d].id", i)
			if ok {
				path = "pools." + r.ID
			}
			c.add(path, "pool %s has no upstream: write pools: {%s: {upstream: \"ws://127.0.0.1:9000\"}}", r.ID, r.ID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.config.Pools)) {
		if _, ok := c.config.Policy.Pool(id); !ok {
			c.add("pools."+id, "the policy has no pool %s: add it to policy.pools, or take the settings away", id)
		}
		c.pool("pools."+id, c.config.Pools[id])
	}
}

func (c *check) pool(at string, p PoolConfig) {
	if p.Upstream != "" {
		c.upstream(at+".upstream", p.Upstream)
		if len(p.Upstreams) > 0 {
			c.add(at+".upstreams", "stands beside upstream: write one of the two")
		}
	}
	for i, u := range p.Upstreams {
		c.upstream(fmt.Sprintf("%s.upstreams[%d]", at, i), u)
	}
	if p.Handler && (p.Upstream != "" || len(p.Upstreams) > 0) {
		c.add(at+".handler", "a pool has an upstream or a handler, not both")
	}
	for i, o := range p.Origins {
		scheme, host, ok := strings.Cut(o, "://")
		if o != "same" && o != "*" && (!ok || scheme == "" || host == "" || strings.ContainsAny(strings.TrimPrefix(host, "*."), "*/?#@ ")) {
			c.add(fmt.Sprintf("%s.origins[%d]", at, i), "%q: want https://app.example.com, https://*.example.com, same or *", o)
		}
	}
}

func (c *check) upstream(path, text string) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "ws" && u.Scheme != "wss") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		c.add(path, "want ws://host:port or wss://host:port, with a path at most")
	}
}

func (c *check) listen() {
	c.address("listen.address", c.config.Listen.Address)
	c.address("admin.address", c.config.Admin.Address)
	if !loopback(c.config.Admin.Address) {
		c.add("admin.address", "%s is reachable from outside and tokens would cross the network in clear: take 127.0.0.1, and a proxy with TLS before it", c.config.Admin.Address)
	}
	if t := c.config.Listen.TLS; t != nil {
		c.file("listen.tls.cert", t.Cert, "the certificate")
		c.file("listen.tls.key", t.Key, "its key")
	}
	if c.config.Listen.ProxyProtocol && len(c.config.Listen.TrustedProxies) == 0 {
		c.add("listen.proxy_protocol", "nobody is trusted to send it: list the proxy in listen.trusted_proxies")
	}
}

func (c *check) address(path, address string) {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		c.add(path, "%q: want host:port, such as 127.0.0.1:8080 or :443", address)
	}
}

// loopback reports whether only this machine can connect to an address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true // reported as no address
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}

func (c *check) identify(at string, r IdentifyConfig) {
	ways := 0
	for _, set := range []bool{r.JWT != nil, r.Header != "", r.Cookie != "", r.Query != "", r.UpstreamHeader != "", r.ForwardAuth != "", r.FirstMessage != ""} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		c.add(at, "want exactly one of jwt, header, cookie and query: write each rule as an item of its own")
	}
	for key, set := range map[string]bool{"upstream_header": r.UpstreamHeader != "", "forward_auth": r.ForwardAuth != "", "first_message": r.FirstMessage != ""} {
		if set {
			c.unbuilt(at+"."+key, "identification by "+key, "use jwt, header, cookie or query")
		}
	}
	public := !loopback(c.config.Listen.Address)
	if r.Query != "" && public {
		c.add(at+".query", "anybody could be anybody: listen.address %s is reachable from outside; use jwt, or listen on 127.0.0.1", c.config.Listen.Address)
	}
	if r.Header != "" && public && len(c.config.Listen.TrustedProxies) == 0 {
		c.add(at+".header", "anybody could be anybody: listen.address %s is reachable from outside; list the proxy that sets %s in listen.trusted_proxies", c.config.Listen.Address, r.Header)
	}
	if r.JWT != nil {
		c.jwt(at+".jwt", *r.JWT)
	}
}

func (c *check) jwt(at string, j JWTConfig) {
	if j.JWKS != "" {
		c.unbuilt(at+".jwks", "jwks", "name a file with one key under key")
		return
	}
	c.file(at+".key", j.Key, "the key that tokens are verified with")
}

// file wants a file that can be read now, so that a start fails before anything
// listens.
func (c *check) file(path, name, what string) {
	if name == "" {
		c.add(path, "is missing: name the file of %s", what)
		return
	}
	f, err := os.Open(name)
	if err != nil {
		c.add(path, "%s cannot be read: give this user read access to it, or name another file", name)
		return
	}
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		c.add(path, "%s is not a file: name the file of %s", name, what)
	}
	_ = f.Close() // nothing was written
}

// paths checks the data directory and that the journal lies outside it.
func (c *check) paths() {
	if c.config.Data == "" {
		c.add("data", "is empty: name the directory of log, keys and views")
		return
	}
	if info, err := os.Stat(c.config.Data); err == nil && !info.IsDir() {
		c.add("data", "%s is not a directory: name one, or take the file away", c.config.Data)
	} else if err == nil {
		if _, err := os.ReadDir(c.config.Data); err != nil {
			c.add("data", "%s cannot be read: give it to the user that runs lethe, mode 0700", c.config.Data)
		}
	}
	c.readableRoot()
	rel, err := filepath.Rel(c.config.Data, c.config.Journal.Path)
	if err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		c.add("journal.path", "%s lies inside the data directory: it would be restored with the keys that it names as destroyed; choose another disk or folder", c.config.Journal.Path)
	}
}

// readableRoot looks at the custodian's root where a ledger stands already.
func (c *check) readableRoot() {
	root := filepath.Join(c.config.Data, "keys", "keys.root")
	info, err := os.Lstat(root)
	if err != nil {
		return // a new ledger; Open says so if only the log is there
	}
	if f, err := os.Open(root); err != nil || !info.Mode().IsRegular() {
		c.add("data", "%s cannot be read: it is the root of all keys; give it to the user that runs lethe, mode 0600, or restore it", root)
	} else {
		_ = f.Close() // nothing was written
	}
}
