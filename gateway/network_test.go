package gateway

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func TestTrustedProxies(t *testing.T) {
	trusted := prefixes{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	table := &table{trusted: trusted}
	for _, tt := range []struct{ near, forwarded, want string }{
		{"10.0.0.1:1", "", "10.0.0.1"},
		{"10.0.0.1:1", "1.2.3.4", "1.2.3.4"},
		{"10.0.0.1:1", "6.6.6.6, 1.2.3.4", "1.2.3.4"},
		{"10.0.0.1:1", "1.2.3.4, 10.2.2.2", "1.2.3.4"},
		{"10.0.0.1:1", "10.3.3.3, 10.2.2.2", "10.3.3.3"},
		{"10.0.0.1:1", "1.2.3.4, junk, 10.2.2.2", "10.2.2.2"},
		{"[::1]:1", "[2001:db8::1]:99", "2001:db8::1"},
		{"[::ffff:10.0.0.1]:1", "1.2.3.4", "1.2.3.4"},
		{"8.8.8.8:1", "1.2.3.4", "8.8.8.8"},
	} {
		r := &http.Request{Header: http.Header{}, RemoteAddr: tt.near}
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		if got := table.peerOf(r).client.String(); got != tt.want {
			t.Errorf("%s for %q: %s, want %s", tt.near, tt.forwarded, got, tt.want)
		}
	}
}

func TestProxyProtocol(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	on := func(trusted []netip.Prefix) change {
		return func(_ *Config, s *Settings, l *Listen) { s.TrustedProxies, l.ProxyProtocol = trusted, true }
	}
	v2 := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 203, 0, 113, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb)
	for name, header := range map[string][]byte{"v1": []byte("PROXY TCP4 203.0.113.7 10.0.0.1 12345 443\r\n"), "v2": v2} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newBackend(t, nil, nil), on(loopback))
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			p := newPeer(t, c)
			p.send(header)
			p.handshake("/", "")
			rec, server := r.ledger.last(t), <-r.backend.conns
			if rec.origin.IP.String() != "203.0.113.7" {
				t.Fatalf("client %v", rec.origin.IP)
			}
			f := frame(true, 0x81, bytes.Repeat([]byte("x"), 5000))
			p.send(f)
			server.want(f)
			_, _ = p.Close(), server.Close()
			rec.ended(t)
		})
	}
	r := newRig(t, newBackend(t, nil, nil), on(nil))
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, c)
	_, _ = c.Write([]byte("PROXY TCP4 203.0.113.7 10.0.0.1 12345 443\r\n"))
	p.wantEnd()
}

func TestTLSBothSides(t *testing.T) {
	cert, roots := certificate(t)
	server := &tls.Config{Certificates: []tls.Certificate{cert}}
	r := newRig(t, newBackend(t, server, nil), func(c *Config, _ *Settings, l *Listen) {
		c.UpstreamTLS, l.TLS = &tls.Config{RootCAs: roots}, server
	})
	c, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, c)
	if res := p.handshake("/", ""); res.StatusCode != 101 {
		t.Fatalf("answer %s", res.Status)
	}
	up, rec := <-r.backend.conns, r.ledger.last(t)
	if rec.origin.TLS != tls.VersionTLS13 {
		t.Errorf("TLS version %x", rec.origin.TLS)
	}
	f, b := frame(true, 0x82, make([]byte, 100_000)), frame(false, 0x82, make([]byte, 100_000))
	go p.send(f)
	up.want(f)
	go up.send(b)
	p.want(b)
	rec.conn.Sever()
	p.wantClose(CodeSevered)
	_, _ = up.Close(), p.Close()
	rec.endedAs(t, CodeSevered, Severed)
}

func newPeer(t *testing.T, c net.Conn) *peerConn {
	t.Cleanup(func() { _ = c.Close() })
	return &peerConn{c, newReader(c), t}
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gw"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
