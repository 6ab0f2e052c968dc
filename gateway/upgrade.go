package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
)

// An admission is a handshake that may go on.
type admission struct {
	*session
	peer  peer
	claim claim
	owned []string // headers that only trusted peers may send
}

// refuse answers and counts a refusal.
func (g *Gateway) refuse(w http.ResponseWriter, pool string, why Refusal) {
	answer := refusalTable[why]
	g.countRefusal(pool, why)
	if why == RefusedHandshake {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Sec-WebSocket-Version", "13")
	}
	if why == RefusedDraining {
		w.Header().Set("Connection", "close")
	}
	http.Error(w, answer.sentence, answer.status)
}

func (g *Gateway) countRefusal(pool string, why Refusal) {
	g.roster.refused(pool, why)
	g.cfg.Recorder.Refused(pool, why)
}

// enter counts a handshake in, unless there are too many or the gateway drains.
// Drain reads the count after it set draining, so it misses none.
func (g *Gateway) enter(t *table) (Refusal, bool) {
	n := g.entered.Add(1)
	switch {
	case g.draining.Load():
		g.entered.Add(-1)
		return RefusedDraining, false
	case n > int64(t.busy):
		g.entered.Add(-1)
		return RefusedBusy, false
	}
	return 0, true
}

// handshakeContext ends with the request, the handshake's time, and when Drain
// cuts what is left.
func (g *Gateway) handshakeContext(ctx context.Context, route *route) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, route.HandshakeTimeout)
	stop := context.AfterFunc(g.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// admit runs every check that comes before the upstream. s must be new; once its
// place in the pool is taken and admit fails, the session is finished here.
func (g *Gateway) admit(ctx context.Context, t *table, route *route, r *http.Request, s *session) (*admission, Refusal) {
	a := &admission{session: s, peer: t.peerOf(r)}
	if !isHandshake(r) {
		return nil, RefusedHandshake
	}
	if !route.allows(r) {
		return nil, RefusedOrigin
	}
	s.g, s.route, s.network = g, route, a.peer.network()
	if why, ok := route.take(s.network, g.cfg.Clock()); !ok {
		return nil, why
	}
	var err error
	if a.claim, err = t.who(r, a.peer); err != nil {
		route.release(s.network)
		return nil, RefusedToken
	}
	if !a.claim.expires.IsZero() {
		s.expires = a.claim.expires.UnixNano()
	}
	for _, id := range t.identify {
		a.owned = append(a.owned, id.owns())
	}
	if why, ok := g.record(ctx, a); !ok {
		route.release(s.network)
		return nil, why
	}
	return a, 0
}

// record asks the recorder for a Recording.
func (g *Gateway) record(ctx context.Context, a *admission) (Refusal, bool) {
	rec, err := g.cfg.Recorder.Admit(ctx, a.claim.Identity, Connection{Pool: a.route.ID, Sever: a.sever})
	switch {
	case errors.Is(err, ErrErased):
		return RefusedErased, false
	case errors.Is(err, ErrKeysUnavailable):
		return RefusedKeys, false
	case err != nil:
		return RefusedLedger, false
	}
	a.mu.Lock()
	a.rec = rec
	a.mu.Unlock()
	return 0, true
}

// isHandshake checks the client's side of RFC 6455 §4.2.1.
func isHandshake(r *http.Request) bool {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-Websocket-Key"))
	return err == nil && len(key) == 16 &&
		r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ProtoMinor == 1 &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0 &&
		len(r.Header.Values("Sec-Websocket-Key")) == 1 &&
		r.Header.Get("Sec-Websocket-Version") == "13" &&
		hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket")
}

// hasToken looks for a token in a comma-separated header.
func hasToken(h http.Header, name, token string) bool {
	for p := range strings.SplitSeq(strings.Join(h.Values(name), ","), ",") {
		if strings.EqualFold(strings.TrimSpace(p), token) {
			return true
		}
	}
	return false
}

// hijack takes the connection from net/http, with what was read ahead of it.
func hijack(w http.ResponseWriter) (net.Conn, []byte, error) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	ahead, err := rw.Peek(rw.Reader.Buffered())
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	ahead = slices.Clone(ahead) // so that net/http's buffers can go
	plain, more, err := bare(c)
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return plain, append(ahead, more...), nil
}
