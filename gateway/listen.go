package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/pires/go-proxyproto"
)

// Listen says how a listener is served.
type Listen struct {
	// TLS, where set, terminates TLS; certificates come from it.
	TLS *tls.Config
	// ProxyProtocol expects a PROXY header, version 1 or 2, on every connection.
	// Connections from outside TrustedProxies are dropped: who may send a header may
	// choose an address.
	ProxyProtocol bool
	// HeaderTimeout bounds reading a request's header and the TLS handshake; 0 is
	// 10 seconds.
	HeaderTimeout time.Duration
	// MaxHeaderBytes bounds a request's header; 0 is 16 KiB (net/http adds 4 KiB).
	MaxHeaderBytes int
}

// Serve takes connections from l until Drain, then returns nil. It closes l.
func (g *Gateway) Serve(l net.Listener, how Listen) error {
	timeout := or(how.HeaderTimeout, 10*time.Second)
	srv := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: timeout,
		IdleTimeout:       timeout,
		MaxHeaderBytes:    or(how.MaxHeaderBytes, 16<<10),
		TLSNextProto:      noUpgradeToH2(),
		// Its lines carry clients' addresses.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	if !g.own(srv) {
		return errors.Join(http.ErrServerClosed, l.Close())
	}
	if err := srv.Serve(g.wrap(l, how, timeout)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve gateway: %w", err)
	}
	return nil
}

// own keeps the server for Drain, unless that has begun.
func (g *Gateway) own(s *http.Server) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining.Load() {
		return false
	}
	g.servers = append(g.servers, s)
	return true
}

// wrap puts PROXY and TLS around the listener, in this order on the wire.
func (g *Gateway) wrap(l net.Listener, how Listen, timeout time.Duration) net.Listener {
	if how.ProxyProtocol {
		l = &proxyproto.Listener{Listener: l, ConnPolicy: g.proxyPolicy, ReadHeaderTimeout: timeout}
	}
	if how.TLS != nil {
		c := how.TLS.Clone()
		c.NextProtos = []string{"http/1.1"}
		l = tls.NewListener(l, c)
	}
	return l
}

// proxyPolicy asks the settings of the moment whom to believe.
func (g *Gateway) proxyPolicy(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
	if !g.table.Load().trusted.contain(addrOf(o.Upstream.String())) {
		return proxyproto.REJECT, proxyproto.ErrInvalidUpstream
	}
	return proxyproto.REQUIRE, nil
}

// bare takes the PROXY wrapper off a connection whose header was read, so that
// the pump can wait without a buffer. It returns what the wrapper had read ahead.
func bare(c net.Conn) (net.Conn, []byte, error) {
	wrapped, ok := c.(*proxyproto.Conn)
	if !ok {
		return c, nil, nil
	}
	// With a deadline in the past only what is buffered can be read.
	if err := wrapped.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return nil, nil, fmt.Errorf("unwrap connection: %w", err)
	}
	ahead, err := io.ReadAll(wrapped)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, nil, fmt.Errorf("unwrap connection: %w", err)
	}
	if err := wrapped.SetReadDeadline(time.Time{}); err != nil {
		return nil, nil, fmt.Errorf("unwrap connection: %w", err)
	}
	return wrapped.Raw(), ahead, nil
}
