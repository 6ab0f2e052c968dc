package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 §1.3
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// maxAnswer bounds the header of an upstream's answer.
const maxAnswer = 64 << 10

// errInvalid says that the upstream's answer is no handshake.
var errInvalid = errors.New("invalid handshake of the upstream")

// An answer is an upstream's 101, and the connection it came on.
type answer struct {
	conn    net.Conn
	head    *http.Response
	ahead   []byte // bytes that came glued to the answer
	deflate bool
}

// dial reaches one of the route's upstreams, the next in turn first.
func (g *Gateway) dial(ctx context.Context, r *route) (net.Conn, *url.URL, error) {
	first := r.turn.Add(1)
	var failed error
	for i := range uint64(len(r.upstreams)) {
		u := r.upstreams[(first+i)%uint64(len(r.upstreams))]
		c, err := g.dialOne(ctx, r, u)
		if err == nil {
			return c, u, nil
		}
		failed = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, nil, fmt.Errorf("dial upstream of pool %s: %w", r.ID, failed)
}

func (g *Gateway) dialOne(ctx context.Context, r *route, u *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, r.DialTimeout)
	defer cancel()
	port := or(u.Port(), map[string]string{"ws": "80", "wss": "443"}[u.Scheme])
	c, err := g.cfg.Dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil || u.Scheme == "ws" {
		return c, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if g.cfg.UpstreamTLS != nil {
		conf = g.cfg.UpstreamTLS.Clone() // one dial's ServerName is not another's
	}
	conf.ServerName = or(conf.ServerName, u.Hostname())
	conf.NextProtos = []string{"http/1.1"}
	secure := tls.Client(c, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return secure, nil
}

// exchange speaks the handshake with the upstream. The request's context bounds
// it. An answer other than 101 is returned with conn still open and its body
// unread; the caller closes conn.
func (g *Gateway) exchange(ctx context.Context, r *http.Request, a *admission) (*answer, error) {
	conn, u, err := g.dial(ctx, a.route)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	limited := &io.LimitedReader{R: conn, N: maxAnswer}
	br := bufio.NewReader(limited)
	res, err := ask(conn, br, request(r, u, a)) //nolint:bodyclose // the answer goes to the caller, who closes it
	if err != nil {
		stop()
		return nil, errors.Join(err, conn.Close())
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		limited.N = 1 << 62 // the header is read; the body is bounded by ctx, which stays armed
		return &answer{conn: conn, head: res}, nil
	}
	ans := &answer{conn: conn, head: res}
	if ans.deflate, err = agreed(r, res); err == nil {
		ans.ahead, err = br.Peek(br.Buffered())
		ans.ahead = slices.Clone(ans.ahead)
	}
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return ans, nil
}

func ask(conn net.Conn, br *bufio.Reader, head []byte) (*http.Response, error) {
	if _, err := conn.Write(head); err != nil {
		return nil, fmt.Errorf("write handshake: %w", err)
	}
	res, err := http.ReadResponse(br, &http.Request{Method: http.MethodGet})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("read handshake: %w", err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	case res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols:
		return nil, errors.Join(errInvalid, res.Body.Close())
	}
	return res, nil
}

// agreed checks the server's side of RFC 6455 §4.2.2 and reports whether
// permessage-deflate is on. A walker cannot follow any other extension.
func agreed(r *http.Request, res *http.Response) (deflate bool, err error) {
	if !hasToken(res.Header, "Connection", "upgrade") || !hasToken(res.Header, "Upgrade", "websocket") ||
		res.Header.Get("Sec-Websocket-Accept") != acceptKey(r.Header.Get("Sec-Websocket-Key")) {
		return false, errInvalid
	}
	if chosen := res.Header.Values("Sec-Websocket-Protocol"); len(chosen) > 1 ||
		(len(chosen) == 1 && !slices.Contains(protocols(r.Header), chosen[0])) {
		return false, errInvalid
	}
	chosen := extensions(res.Header, nil)
	switch {
	case len(chosen) == 0:
		return false, nil
	case len(chosen) == 1 && isDeflate(chosen[0]) && len(extensions(r.Header, isDeflate)) > 0:
		return true, nil
	}
	return false, errInvalid
}

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 §1.3
	return base64.StdEncoding.EncodeToString(sum[:])
}

// extensions lists those that keep takes, or all.
func extensions(h http.Header, keep func(string) bool) []string {
	var list []string
	for e := range strings.SplitSeq(strings.Join(h.Values("Sec-Websocket-Extensions"), ","), ",") {
		if e = strings.TrimSpace(e); e != "" && (keep == nil || keep(e)) {
			list = append(list, e)
		}
	}
	return list
}

func isDeflate(e string) bool {
	name, _, _ := strings.Cut(e, ";")
	return strings.EqualFold(strings.TrimSpace(name), "permessage-deflate")
}

// request writes the handshake to the upstream: the client's own, but for what
// the package comment lists.
func request(r *http.Request, u *url.URL, a *admission) []byte {
	uri := r.RequestURI
	if !strings.HasPrefix(uri, "/") {
		uri = r.URL.RequestURI() // absolute form
	}
	h := r.Header.Clone()
	dropHops(h)
	if !a.peer.trusted && !a.peer.loopback {
		for _, name := range a.owned {
			h.Del(name)
		}
	}
	forwarded(h, r, a.peer)
	offers(h, a.claim)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("X-Lethe-Connection", publicID())

	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s%s HTTP/1.1\r\nHost: %s\r\n", strings.TrimSuffix(u.EscapedPath(), "/"), uri, or(a.route.Host, or(r.Host, u.Host)))
	writeHeader(&b, h)
	return b.Bytes()
}

// dropHops takes out what concerns one hop only (RFC 9110 §7.6.1).
func dropHops(h http.Header) {
	for name := range strings.SplitSeq(strings.Join(h.Values("Connection"), ","), ",") {
		if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); !strings.HasPrefix(name, "Sec-Websocket-") {
			h.Del(name)
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		h.Del(name)
	}
}

// forwarded says who the client is. What an untrusted peer says of that is
// dropped, what a trusted one says is continued.
func forwarded(h http.Header, r *http.Request, p peer) {
	if !p.trusted {
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
			h.Del(name)
		}
	}
	hops := append(h.Values("X-Forwarded-For"), addrText(p.near))
	h.Set("X-Forwarded-For", strings.Join(hops, ", "))
	h.Set("X-Forwarded-Proto", or(h.Get("X-Forwarded-Proto"), p.scheme()))
	h.Set("X-Forwarded-Host", or(h.Get("X-Forwarded-Host"), r.Host))
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return "unknown"
	}
	return a.String()
}

// offers leaves the extensions that can be followed, and takes a token out of the
// subprotocols where the rule says so.
func offers(h http.Header, c claim) {
	if list := extensions(h, isDeflate); len(list) > 0 {
		h.Set("Sec-Websocket-Extensions", strings.Join(list, ", "))
	} else {
		h.Del("Sec-Websocket-Extensions")
	}
	if !c.strip {
		return
	}
	list := slices.DeleteFunc(protocols(h), func(p string) bool { return p == bearer || p == c.token })
	if len(list) > 0 {
		h.Set("Sec-Websocket-Protocol", strings.Join(list, ", "))
	} else {
		h.Del("Sec-Websocket-Protocol")
	}
}

// publicID is what upstreams may know a connection by. It is not the ledger's id.
func publicID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return hex.EncodeToString(id[:])
}

// writeHeader writes a header and the empty line after it, with the spelling of
// RFC 6455, which some clients take literally.
func writeHeader(b *bytes.Buffer, h http.Header) {
	for name, values := range h {
		name = strings.Replace(name, "Sec-Websocket-", "Sec-WebSocket-", 1)
		for _, v := range values {
			fmt.Fprintf(b, "%s: %s\r\n", name, v)
		}
	}
	b.WriteString("\r\n")
}
