package gateway

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// prefixes is a list of networks.
type prefixes []netip.Prefix

func (p prefixes) contain(a netip.Addr) bool {
	for _, n := range p {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// A peer is who stands at the other end of a request.
type peer struct {
	// near is whoever connected, or whom the PROXY protocol names.
	near netip.Addr
	// client is near, or whom trusted proxies name in X-Forwarded-For.
	client netip.Addr
	// trusted: near is a trusted proxy.
	trusted bool
	// loopback: the request came in on a loopback address.
	loopback bool
	tls      uint16
}

// peerOf resolves the client of a request. X-Forwarded-For is read from the right
// as long as the entries are trusted proxies; the first that is not is the client.
func (t *table) peerOf(r *http.Request) peer {
	p := peer{near: addrOf(r.RemoteAddr)}
	p.client, p.trusted = p.near, t.trusted.contain(p.near)
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		p.loopback = addrOf(local.String()).IsLoopback()
	}
	if r.TLS != nil {
		p.tls = r.TLS.Version
	}
	if p.trusted {
		p.client = t.forwardedFor(r, p.near)
	}
	return p
}

func (t *table) forwardedFor(r *http.Request, near netip.Addr) netip.Addr {
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	client := near
	for i := len(hops) - 1; i >= 0; i-- {
		a := addrOf(strings.TrimSpace(hops[i]))
		if !a.IsValid() {
			break
		}
		client = a
		if !t.trusted.contain(a) {
			break
		}
	}
	return client
}

// addrOf reads an address with or without a port; the zero Addr where it cannot.
func addrOf(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// network is what limits by address count: an IPv4 address, an IPv6 /64.
func (p peer) network() netip.Prefix {
	bits := 64
	if p.client.Is4() {
		bits = 32
	}
	n, err := p.client.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // an address that cannot be told counts with its like
	}
	return n
}

// scheme is how the client reached us, as X-Forwarded-Proto says it.
func (p peer) scheme() string {
	if p.tls != 0 {
		return "https"
	}
	return "http"
}

// origin is what is recorded of the peer.
func (p peer) origin(r *http.Request) Origin {
	return Origin{IP: p.client, UserAgent: head(r.UserAgent()), Origin: head(r.Header.Get("Origin")), TLS: p.tls}
}

// head cuts a header to 512 bytes of valid UTF-8.
func head(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), 512)], "")
}

// noUpgradeToH2 keeps a TLS server at HTTP/1.1, the only version a WebSocket
// handshake is spoken in here (RFC 8441 is not offered).
func noUpgradeToH2() map[string]func(*http.Server, *tls.Conn, http.Handler) {
	return map[string]func(*http.Server, *tls.Conn, http.Handler){}
}
