package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// A tap is a connection between a client and an upstream. Each half is run by a
// goroutine of its own; the last one to end finishes the session.
type tap struct {
	session
	halves  [2]half
	running atomic.Int32
}

// ServeHTTP taps a WebSocket connection through to the upstream of the pool whose
// path matches. Everything else is refused.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := g.table.Load()
	if why, ok := g.enter(t); !ok {
		g.refuse(w, "", why)
		return
	}
	defer g.entered.Add(-1)
	route := t.match(r.URL.Path)
	if route == nil || len(route.upstreams) == 0 {
		g.refuse(w, "", RefusedNoPool)
		return
	}
	ctx, cancel := g.handshakeContext(r.Context(), route)
	defer cancel()
	c := &tap{}
	c.body = pending{cancel}
	a, why := g.admit(ctx, t, route, r, &c.session)
	if a == nil {
		g.refuse(w, route.ID, why)
		return
	}
	if !g.tap(ctx, w, r, c, a) {
		c.cause(CodeAbnormal, HandshakeFailed)
		c.finish()
	}
}

// tap takes an admitted request to the upstream and back. It reports false if no
// pump was started.
func (g *Gateway) tap(ctx context.Context, w http.ResponseWriter, r *http.Request, c *tap, a *admission) bool {
	ans, err := g.exchange(ctx, r, a)
	if err != nil {
		g.refuseUpstream(w, c, err)
		return false
	}
	defer func() { _ = ans.head.Body.Close() }()
	if ans.head.StatusCode != http.StatusSwitchingProtocols {
		g.countRefusal(c.route.ID, RefusedUpstream)
		relay(w, ans)
		return false
	}
	if err := c.rec.Opened(g.cfg.Clock(), a.peer.origin(r)); err != nil {
		_ = ans.conn.Close()
		g.refuse(w, c.route.ID, RefusedLedger)
		return false
	}
	client, ahead, err := hijack(w)
	if err != nil {
		_ = ans.conn.Close()
		g.refuse(w, c.route.ID, RefusedHandshake)
		return false
	}
	if !c.open(client, ans, a.claim) {
		_, _ = client.Close(), ans.conn.Close()
		return false
	}
	c.start(ahead, ans.ahead)
	return true
}

// refuseUpstream answers 502 or 504, or 403 to somebody erased meanwhile.
func (g *Gateway) refuseUpstream(w http.ResponseWriter, c *tap, err error) {
	var timeout net.Error
	why := RefusedUnreachable
	switch {
	case c.ended.Load():
		why = RefusedErased
	case errors.Is(err, errInvalid):
		why = RefusedInvalid
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		why = RefusedTimeout
	}
	g.cfg.Log.Warn().Str("pool", c.route.ID).Stringer("refusal", why).Msg("upstream handshake failed")
	g.refuse(w, c.route.ID, why)
}

// relay passes an answer that is no 101 on as it is.
func relay(w http.ResponseWriter, ans *answer) {
	defer func() { _ = ans.conn.Close() }()
	dropHops(ans.head.Header)
	maps.Copy(w.Header(), ans.head.Header)
	w.WriteHeader(ans.head.StatusCode)
	_, _ = io.Copy(w, ans.head.Body) // the client sees a short body, as it would without us
}

// open writes the upstream's 101 to the client and makes the session live.
func (c *tap) open(client net.Conn, ans *answer, who claim) bool {
	h := ans.head.Header
	if who.protocol && h.Get("Sec-Websocket-Protocol") == "" {
		// Chromium gives up when it offered subprotocols and none is chosen.
		h.Set("Sec-Websocket-Protocol", bearer)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %s\r\n", ans.head.Status)
	writeHeader(&b, h)
	now := c.g.cfg.Clock()
	if client.SetWriteDeadline(now.Add(c.route.WriteTimeout)) != nil {
		return false
	}
	if _, err := client.Write(b.Bytes()); err != nil || client.SetDeadline(time.Time{}) != nil || ans.conn.SetDeadline(time.Time{}) != nil {
		return false
	}
	rules := Rules{Deflate: ans.deflate, MaxMessage: c.route.MaxMessage, MaxFragments: c.route.MaxFragments}
	c.halves[Out].init(c, Out, ans.conn, client, rules)
	rules.Masked = true
	c.halves[In].init(c, In, client, ans.conn, rules)
	return c.live(c, now)
}

// start begins to pump; what was read ahead goes first.
func (c *tap) start(in, out []byte) {
	c.running.Store(2)
	c.halves[In].first, c.halves[Out].first = in, out
	go c.halves[In].run()
	go c.halves[Out].run()
}

// wind implements body.
func (c *tap) wind(code int) {
	for i := range c.halves {
		c.halves[i].wind(code)
	}
}

// kill implements body. What the kernel still holds for the peers is dropped: the
// grace is over, and of an erased person nothing goes on.
func (c *tap) kill() {
	for _, conn := range []net.Conn{c.halves[In].src, c.halves[Out].src} {
		kill(conn)
	}
}

func kill(c net.Conn) {
	if under, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = under.NetConn() // TLS would wait to say goodbye
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// closeWrite sends FIN, so that the peer learns at once that nothing more comes.
func closeWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite() // the peer may be gone already
	}
}

// rawOf returns the way to read without holding a buffer; nil where the bytes on
// the socket are not those of the connection.
func rawOf(c net.Conn) syscall.RawConn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

func newMask() (key [4]byte) {
	_, _ = rand.Read(key[:]) // never fails (crypto/rand)
	return key
}
