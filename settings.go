package lethe

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway"
)

// UpstreamConfig is what `serve --upstream URL` stands for: one pool on every
// path, the built-in policy, and identification by ?user= or X-Lethe-Subject,
// which only a loopback address accepts.
func UpstreamConfig(url string) *Config {
	c := DefaultConfig()
	c.Pools = map[string]PoolConfig{c.Policy.Pools[0].ID: {Upstream: url}}
	c.identifyOnLoopback()
	return c
}

// TrialConfig is what `serve` alone stands for: a small chat as the upstream, a
// class whose buckets last a minute, and a page that shows it.
func TrialConfig() *Config {
	c := DefaultConfig()
	c.Ledger = "trial"
	c.Policy = domain.TrialPolicy()
	c.Pools = map[string]PoolConfig{c.Policy.Pools[0].ID: {}}
	c.trial = true
	c.identifyOnLoopback()
	return c
}

// identifyOnLoopback believes what anybody can type, where nobody else can
// connect.
func (c *Config) identifyOnLoopback() {
	if onLoopback(c.Listen.Address) {
		c.Identify = []IdentifyConfig{{Query: "user"}, {Header: "X-Lethe-Subject"}}
	}
}

// SetListen moves the gateway. Off a loopback address, the identification that
// anybody can type is given up.
func (c *Config) SetListen(address string) {
	c.Listen.Address = address
	if onLoopback(address) {
		return
	}
	kept := c.Identify[:0:0]
	for _, rule := range c.Identify {
		if rule.Query == "" && (rule.Header == "" || len(c.Listen.TrustedProxies) > 0) {
			kept = append(kept, rule)
		}
	}
	c.Identify = kept
}

func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// gatewaySettings are the node settings that can change while connections live, of
// the pools of a policy.
func (c *Config) gatewaySettings(p *domain.Policy) (gateway.Settings, error) {
	s := gateway.Settings{TrustedProxies: c.Listen.TrustedProxies, MaxHandshakes: c.Listen.MaxHandshakes}
	for _, rule := range p.Pools {
		s.Pools = append(s.Pools, c.Pools[rule.ID].pool(rule))
	}
	for i, rule := range c.Identify {
		r, err := rule.rule()
		if err != nil {
			return s, fmt.Errorf("identify rule %d: %w", i+1, err)
		}
		s.Identify = append(s.Identify, r)
	}
	return s, nil
}

func (p PoolConfig) pool(rule domain.PoolRule) gateway.Pool {
	upstreams := p.Upstreams
	if p.Upstream != "" {
		upstreams = append([]string{p.Upstream}, upstreams...)
	}
	return gateway.Pool{
		ID: rule.ID, Path: rule.Path, Upstreams: upstreams, Host: p.Host,
		MaxConnections: p.MaxConnections, MaxPerAddress: p.MaxPerAddress, HandshakesPerSecond: p.HandshakesPerSecond,
		IdleAfter: p.IdleAfter, IdleTimeout: p.IdleTimeout, MaxLifetime: p.MaxLifetime,
		MaxMessage: int64(p.MaxMessage), MaxFragments: p.MaxFragments,
		WriteTimeout: p.WriteTimeout, DialTimeout: p.DialTimeout, HandshakeTimeout: p.HandshakeTimeout, CloseTimeout: p.CloseTimeout,
		Origins: p.Origins, RequireOrigin: p.RequireOrigin,
	}
}

func (i IdentifyConfig) rule() (gateway.Rule, error) {
	r := gateway.Rule{Header: i.Header, Query: i.Query, Cookie: i.Cookie}
	if i.JWT == nil {
		return r, nil
	}
	key, err := verificationKey(i.JWT.Key)
	if err != nil {
		return r, err
	}
	r.JWT = &gateway.JWT{
		Key: key, Algorithm: i.JWT.Algorithm, Claim: i.JWT.Claim, Audience: i.JWT.Audience, Issuer: i.JWT.Issuer, Leeway: i.JWT.Leeway,
		Query: i.JWT.Query, Cookie: i.JWT.Cookie, CloseAtExpiry: i.JWT.CloseAtExpiry, StripProtocol: i.JWT.StripProtocol,
	}
	return r, nil
}

var errPrivateKey = errors.New("the file holds a private key; the gateway verifies only, give it the public one")

// verificationKey reads a PEM public key, or takes the file for an HMAC secret.
func verificationKey(path string) (any, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the key of tokens: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return []byte(strings.TrimRight(string(b), "\r\n")), nil
	}
	if strings.Contains(block.Type, "PRIVATE") {
		return nil, fmt.Errorf("%s: %w", path, errPrivateKey)
	}
	if block.Type == "CERTIFICATE" {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return cert.PublicKey, nil
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// listen says how the gateway's listener is served.
func (c *Config) listen() (gateway.Listen, error) {
	how := gateway.Listen{ProxyProtocol: c.Listen.ProxyProtocol}
	if c.Listen.TLS == nil {
		return how, nil
	}
	cert, err := tls.LoadX509KeyPair(c.Listen.TLS.Cert, c.Listen.TLS.Key)
	if err != nil {
		return how, fmt.Errorf("reading the certificate: %w", err)
	}
	how.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	return how, nil
}

// Reload takes new node settings without touching live connections. The policy,
// the addresses and the engines stay as they are.
func (l *Lethe) Reload(c *Config) error {
	e := l.edge.Load()
	if e == nil {
		return errors.New("nothing is served")
	}
	settings, err := c.gatewaySettings(l.servedPolicy(c))
	if err != nil {
		return err
	}
	if err := e.gateway.Reload(settings); err != nil {
		return err
	}
	e.config.Store(c)
	return nil
}
