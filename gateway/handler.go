package gateway

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"

	"github.com/lxzan/gws"
)

// HandlerOptions are what a Handler has beyond its pool.
type HandlerOptions struct {
	// Subprotocols are chosen from in this order; a client that offers none of them
	// gets none.
	Subprotocols []string
	// Compress takes permessage-deflate where it is offered, without context
	// takeover. MaxMessage bounds what a message decompresses to.
	Compress bool
}

// A Handler serves WebSocket connections with the message API of gws, under the
// limits, the identification and the Recorder of its gateway. What is known to be
// wrong with gws v1.8.9 is contained:
//
//   - frames are walked before gws sees them, so a length with its top bit set or
//     a reserved bit ends the connection with 1002, not the process;
//   - a panic in a callback, or in gws, ends its connection with 1011, and OnClose
//     is still called, exactly once;
//   - pings are answered here, with their payload; OnPing is not called;
//   - every write has a deadline, and a stuck peer is cut by TCP;
//   - errors of the network never reach the peer as a close reason, and the code of
//     a peer's close frame is echoed as it came;
//   - text is checked to be UTF-8.
//
// Left to the application: gws queues what WriteAsync and Broadcaster send without
// a bound, and takes a message's whole buffer on its header, up to MaxMessage a
// connection. MaxMessage is that of the settings when the Handler was made, or
// less if a reload lowers it.
type Handler struct {
	g        *Gateway
	pool     string
	app      gws.Event
	options  HandlerOptions
	upgrades map[string]*gws.Upgrader // by chosen subprotocol
}

// Handler returns a handler for the pool, which may be without upstreams. The
// callbacks of app run in the connection's own goroutine, one after the other.
func (g *Gateway) Handler(pool string, app gws.Event, o HandlerOptions) (*Handler, error) {
	route := g.table.Load().find(pool)
	if route == nil {
		return nil, fmt.Errorf("handler: no pool %q", pool)
	}
	h := &Handler{g: g, pool: pool, app: app, options: o, upgrades: map[string]*gws.Upgrader{}}
	for _, p := range append([]string{"", bearer}, o.Subprotocols...) {
		h.upgrades[p] = gws.NewUpgrader(contained{app}, upgradeOption(p, o.Compress, int(route.MaxMessage)))
	}
	return h, nil
}

func upgradeOption(protocol string, compress bool, limit int) *gws.ServerOption {
	o := &gws.ServerOption{
		CheckUtf8Enabled:   true,
		ReadMaxPayloadSize: limit,
		ReadBufferSize:     1 << 10, // the guard reads ahead
		Logger:             silent{},
		PermessageDeflate:  gws.PermessageDeflate{Enabled: compress, ServerMaxWindowBits: 15, ClientMaxWindowBits: 15},
	}
	if protocol != "" {
		o.SubProtocols = []string{protocol}
	}
	return o
}

// silent keeps what gws would print from stderr: its errors name addresses.
type silent struct{}

func (silent) Error(...any) {}

// ServeHTTP upgrades the request and runs the connection in a goroutine of its own.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := h.g.table.Load()
	if why, ok := h.g.enter(t); !ok {
		h.g.refuse(w, h.pool, why)
		return
	}
	defer h.g.entered.Add(-1)
	route := t.find(h.pool)
	if route == nil {
		h.g.refuse(w, "", RefusedNoPool)
		return
	}
	ctx, cancel := h.g.handshakeContext(r.Context(), route)
	defer cancel()
	c := &guard{}
	c.body = pending{cancel}
	a, why := h.g.admit(ctx, t, route, r, &c.session)
	if a == nil {
		h.g.refuse(w, h.pool, why)
		return
	}
	if !h.serve(w, r, c, a) {
		c.cause(CodeAbnormal, HandshakeFailed)
		c.finish()
	}
}

// serve reports false if no goroutine was started.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, c *guard, a *admission) bool {
	if err := c.rec.Opened(h.g.cfg.Clock(), a.peer.origin(r)); err != nil {
		h.g.refuse(w, h.pool, RefusedLedger)
		return false
	}
	conn, ahead, err := hijack(w)
	if err != nil {
		h.g.refuse(w, h.pool, RefusedHandshake)
		return false
	}
	deflate := h.options.Compress && len(extensions(r.Header, isDeflate)) > 0
	c.init(conn, h.app, ahead, deflate)
	socket, err := h.upgrades[h.choose(r, a.claim)].UpgradeFromConn(c, bufio.NewReaderSize(c, 1<<10), r)
	if err != nil {
		_ = conn.Close()
		return false
	}
	c.framed = true
	if !c.live(c, h.g.cfg.Clock()) {
		kill(conn)
		return false
	}
	go c.run(socket)
	return true
}

// choose picks the subprotocol; a browser that sent its token as one needs an
// answer.
func (h *Handler) choose(r *http.Request, who claim) string {
	offered := protocols(r.Header)
	for _, p := range h.options.Subprotocols {
		if slices.Contains(offered, p) {
			return p
		}
	}
	if who.protocol {
		return bearer
	}
	return ""
}

// contained is the gws.Event around the application's.
type contained struct{ app gws.Event }

func (c contained) OnOpen(s *gws.Conn) { c.app.OnOpen(s) }

// OnClose implements gws.Event; the guard makes it once.
func (contained) OnClose(s *gws.Conn, err error) {
	if g, ok := s.NetConn().(*guard); ok {
		g.tell(s, err)
	}
}

// OnPing answers with the ping's payload (RFC 6455 §5.5.3).
func (contained) OnPing(s *gws.Conn, payload []byte) {
	_ = s.WritePong(payload) // a write that fails ends the connection by itself
}

func (c contained) OnPong(s *gws.Conn, payload []byte) { c.app.OnPong(s, payload) }

func (c contained) OnMessage(s *gws.Conn, m *gws.Message) { c.app.OnMessage(s, m) }
