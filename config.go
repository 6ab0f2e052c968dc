package lethe

import (
	"net/netip"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// A Config is lethe.yaml. The policy is written to the log and versioned there;
// everything else is this node's own. LoadConfig reads one; DefaultConfig is
// what stands where a key is left out.
type Config struct {
	// Ledger names the installation: 1 to 16 characters of a-z and 0-9. It is a
	// part of every stream name and of everything that is sealed, so another name
	// is another ledger: what was sealed under the old one opens no more.
	Ledger domain.LedgerID `yaml:"ledger"`
	// Data is the directory of log, keys and views. Whoever can read it and waits
	// for no erasure can read everything in it: mode 0700, and no snapshots.
	Data string `yaml:"data"`
	// Policy says what is recorded, why and for how long. It stands in the log
	// unsealed: role addresses only. Shortening a period destroys keys for ever.
	Policy domain.Policy `yaml:"policy"`
	// Pools are this node's settings of the policy's pools, by their id.
	Pools map[string]PoolConfig `yaml:"pools"`
	// Listen is where WebSocket clients connect.
	Listen ListenConfig `yaml:"listen"`
	// Identify is tried in order; the first rule that finds something decides.
	// Without a match the connection is anonymous.
	Identify []IdentifyConfig `yaml:"identify"`
	// Store, Keys and Views choose the engines.
	Store StoreConfig `yaml:"store"`
	Keys  KeysConfig  `yaml:"keys"`
	Views ViewsConfig `yaml:"views"`
	// Journal is the erasure journal of this node.
	Journal JournalConfig `yaml:"journal"`
	// Admin is the API for commands, dashboards and metrics.
	Admin AdminConfig `yaml:"admin"`
	// Log is what goes to stderr.
	Log LogConfig `yaml:"log"`

	// trial: a small chat is the upstream, and the admin address shows a page.
	trial bool
	// adopt: ledger, policy and journal are those that the directory holds.
	adopt bool
}

// A PoolConfig is what one node does for a pool. It can change while connections
// live; what is open keeps the limits it was opened with.
type PoolConfig struct {
	// Upstream is the server behind the pool: ws://host:port or wss://host:port,
	// with a path at most. Upstreams names several, taken in turn.
	Upstream  string   `yaml:"upstream"`
	Upstreams []string `yaml:"upstreams"`
	// Handler says that the program that embeds Lethe serves the pool itself, so
	// that it needs no upstream.
	Handler bool `yaml:"handler"`
	// Host replaces the Host header towards the upstream; empty keeps the client's.
	Host string `yaml:"host"`
	// MaxConnections bounds the open connections; 0 is 10,000.
	MaxConnections int `yaml:"max_connections"`
	// MaxPerAddress bounds those of one IPv4 address or IPv6 /64; 0 is no bound.
	// Behind a proxy that is not trusted everybody has one address.
	MaxPerAddress int `yaml:"max_per_address"`
	// HandshakesPerSecond bounds new connections; 0 is no bound.
	HandshakesPerSecond int `yaml:"handshakes_per_second"`
	// IdleAfter is how long no data may cross before a connection is recorded as
	// idle; 0 is one minute. IdleTimeout is how long nothing at all may cross before
	// it is closed, MaxLifetime how long it lives; 0 is never.
	IdleAfter   time.Duration `yaml:"idle_after"`
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	MaxLifetime time.Duration `yaml:"max_lifetime"`
	// MaxMessage bounds a message on the wire, such as 1MiB (the default);
	// MaxFragments the frames of one message, 65,536 by default.
	MaxMessage   Size `yaml:"max_message"`
	MaxFragments int  `yaml:"max_fragments"`
	// WriteTimeout is how long a peer may take nothing before it is cut (30s).
	// DialTimeout (5s), HandshakeTimeout (10s) and CloseTimeout (5s) bound the rest.
	WriteTimeout     time.Duration `yaml:"write_timeout"`
	DialTimeout      time.Duration `yaml:"dial_timeout"`
	HandshakeTimeout time.Duration `yaml:"handshake_timeout"`
	CloseTimeout     time.Duration `yaml:"close_timeout"`
	// Origins are the web origins that may connect: https://app.example.com,
	// https://*.example.com, same, or * for all. Empty is same; with * any site can
	// connect with its visitor's cookies. RequireOrigin also refuses requests
	// without Origin, which are no browser's.
	Origins       []string `yaml:"origins"`
	RequireOrigin bool     `yaml:"require_origin"`
}

// A ListenConfig is where WebSocket clients connect.
type ListenConfig struct {
	// Address is host:port; an empty host is every address of the machine.
	Address string `yaml:"address"`
	// TLS needs both files. Without it everything crosses the network in clear.
	TLS *TLSConfig `yaml:"tls"`
	// TrustedProxies may say who the client is: forwarding and identification
	// headers and the PROXY protocol are believed from these addresses only.
	// Whoever is listed wrongly can be anybody.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// ProxyProtocol expects a PROXY header from trusted proxies.
	ProxyProtocol bool `yaml:"proxy_protocol"`
	// MaxHandshakes bounds the handshakes under way at once; 0 is 1024.
	MaxHandshakes int `yaml:"max_handshakes"`
}

// A TLSConfig names PEM files.
type TLSConfig struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// An IdentifyConfig is one way to learn who connects. Exactly one is set.
type IdentifyConfig struct {
	JWT *JWTConfig `yaml:"jwt"`
	// Header names a request header that a trusted proxy sets. Query names a
	// parameter that anybody can type: on loopback addresses only. Cookie names a
	// cookie; whoever sets cookies can be anybody.
	Header string `yaml:"header"`
	Cookie string `yaml:"cookie"`
	Query  string `yaml:"query"`
	// Not in this release.
	UpstreamHeader string `yaml:"upstream_header"`
	ForwardAuth    string `yaml:"forward_auth"`
	FirstMessage   string `yaml:"first_message"`
}

// A JWTConfig says which tokens are believed (RFC 7519).
type JWTConfig struct {
	// Key is a file: a PEM public key, or the secret itself for HMAC.
	Key string `yaml:"key"`
	// Algorithm pins the alg of every token, such as RS256; empty goes by the key.
	Algorithm string `yaml:"algorithm"`
	// Claim holds the external id; empty is sub.
	Claim string `yaml:"claim"`
	// Audience and Issuer must be those of the token where set; Leeway is how far
	// clocks may differ.
	Audience string        `yaml:"audience"`
	Issuer   string        `yaml:"issuer"`
	Leeway   time.Duration `yaml:"leeway"`
	// Query and Cookie name further places of the token. A token in a query string
	// is seen by every proxy's access log before it gets here.
	Query  string `yaml:"query"`
	Cookie string `yaml:"cookie"`
	// CloseAtExpiry ends the connection when its token expires.
	CloseAtExpiry bool `yaml:"close_at_expiry"`
	// StripProtocol takes the token out of the subprotocols offered upstream.
	StripProtocol bool `yaml:"strip_protocol"`
	// Not in this release.
	JWKS string `yaml:"jwks"`
}

// A JournalConfig says where this node keeps its copy of the erasure journal.
type JournalConfig struct {
	// Path is a file outside Data and outside the backups of keys: restored with
	// them, it could not name what was destroyed since. Empty is the folder beside
	// Data whose name ends in -journal.
	Path string `yaml:"path"`
}

// An AdminConfig is the API for commands, dashboards and metrics.
type AdminConfig struct {
	// Address is host:port on loopback: tokens would cross a network in clear.
	Address string `yaml:"address"`
}

// A LogConfig is what goes to stderr. Personal data never does.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug, info (default), warn or error
	Format string `yaml:"format"` // auto (default), console or json
}

// DefaultConfig is what stands where a file says nothing: everything embedded,
// on loopback, under the built-in policy that no controller has reviewed.
func DefaultConfig() *Config {
	c := &Config{
		Ledger: "main", Data: "lethe-data", Policy: domain.DefaultPolicy(),
		Listen: ListenConfig{Address: "127.0.0.1:8080"}, Admin: AdminConfig{Address: "127.0.0.1:8081"},
		Store: StoreConfig{Engine: "embedded"}, Keys: KeysConfig{Custodian: "embedded"}, Views: ViewsConfig{Engine: "sqlite"},
		Log: LogConfig{Level: "info", Format: "auto"},
	}
	c.SetData(c.Data)
	return c
}

// SetData moves the data directory, and with it the journal if its path was left
// to the default.
func (c *Config) SetData(dir string) {
	if c.Journal.Path == "" || c.Journal.Path == defaultJournal(c.Data) {
		c.Journal.Path = defaultJournal(dir)
	}
	c.Data = dir
}
