package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Config is what a gateway is made of; it does not change while it runs.
type Config struct {
	// Recorder is told of everything. Required.
	Recorder Recorder
	// Clock tells the time. Required. Deadlines of sockets are computed from it, so
	// it must run with the machine's.
	Clock func() time.Time
	// Log takes what an operator should know. No line has personal data.
	Log zerolog.Logger
	// UpstreamTLS is cloned for each wss:// upstream; nil is the system's roots.
	UpstreamTLS *tls.Config
	// Dial reaches upstreams; nil is a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Tick is how finely idle and lifetime bounds are watched; 0 is 250 ms.
	Tick time.Duration
}

// A Gateway is the WebSocket edge. It is an http.Handler for taps; Serve runs it
// on a listener. New makes one; Drain ends it, and must be called.
type Gateway struct {
	cfg     Config
	table   atomic.Pointer[table]
	roster  *roster
	buffers sync.Pool // of *buffer

	entered  atomic.Int64 // handshakes under way
	draining atomic.Bool

	mu      sync.Mutex // protects servers, and orders Reload
	servers []*http.Server

	life    context.Context // of handshakes; halt ends it
	halt    context.CancelFunc
	stop    chan struct{} // closed by Drain: ends the sweeper
	stopped chan struct{} // closed by the sweeper
	once    sync.Once
}

// New starts a gateway. It owns one goroutine, the sweeper, which Drain ends.
func New(c Config, s Settings) (*Gateway, error) {
	if c.Recorder == nil || c.Clock == nil {
		return nil, errors.New("gateway: a Recorder and a Clock are required")
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	c.Tick = or(c.Tick, 250*time.Millisecond)
	t, err := newTable(s, nil, c.Clock)
	if err != nil {
		return nil, fmt.Errorf("gateway settings: %w", err)
	}
	g := &Gateway{cfg: c, roster: newRoster(c.Tick, c.Clock()), stop: make(chan struct{}), stopped: make(chan struct{})}
	g.buffers.New = func() any { return new(buffer) }
	g.life, g.halt = context.WithCancel(context.Background())
	g.table.Store(t)
	go g.sweep()
	return g, nil
}

func (g *Gateway) sweep() {
	defer close(g.stopped)
	ticker := time.NewTicker(g.cfg.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-g.stop:
			return
		case <-ticker.C:
			g.roster.sweep(g.cfg.Clock())
		}
	}
}

// Reload replaces the settings for connections to come; live ones keep theirs. A
// pool that keeps its id keeps its counts. On an error nothing has changed.
func (g *Gateway) Reload(s Settings) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	t, err := newTable(s, g.table.Load(), g.cfg.Clock)
	if err != nil {
		return fmt.Errorf("reload gateway settings: %w", err)
	}
	g.table.Store(t)
	return nil
}

// Ready reports whether new connections are taken.
func (g *Gateway) Ready() bool { return !g.draining.Load() }

// Snapshot returns the counts of every pool.
func (g *Gateway) Snapshot() []PoolCounts { return g.roster.snapshot() }

// Drain ends the gateway: not ready, listeners closed, live connections closed
// with 1001 one after the other over half the time until ctx ends (at most 30
// seconds), and whatever is left then cut. It returns when Closed was called for
// every connection; an error says that some had to be cut. With a ctx that has no
// end everything is closed at once.
func (g *Gateway) Drain(ctx context.Context) error {
	g.draining.Store(true)
	defer g.once.Do(func() { g.halt(); close(g.stop); <-g.stopped })
	var closing sync.WaitGroup
	defer closing.Wait()
	g.mu.Lock()
	for _, s := range g.servers {
		closing.Go(func() { _ = s.Shutdown(ctx) }) // what it does not wait for is cut below
	}
	g.mu.Unlock()
	g.closeAll(ctx)
	left := g.await(ctx)
	if left == 0 {
		return nil
	}
	g.halt()
	for _, s := range g.roster.sessions() {
		s.end(0, Drained, 0)
	}
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if stuck := g.await(final); stuck > 0 {
		return fmt.Errorf("drain: %d of %d connections that were cut have not ended", stuck, left)
	}
	return fmt.Errorf("drain: %d connections were cut: %w", left, ctx.Err())
}

// closeAll ends the live sessions, spread over time.
func (g *Gateway) closeAll(ctx context.Context) {
	list := g.roster.sessions()
	pause := time.Duration(0)
	if end, ok := ctx.Deadline(); ok && len(list) > 0 {
		pause = min(end.Sub(g.cfg.Clock())/2, 30*time.Second) / time.Duration(len(list))
	}
	for _, s := range list {
		s.end(CodeGoingAway, Drained, s.route.CloseTimeout)
		if pause > 0 && !sleep(ctx, pause) {
			return
		}
	}
}

// await waits until nothing is live; it also ends what a handshake under way made
// live meanwhile. It returns how many are left when ctx ends.
func (g *Gateway) await(ctx context.Context) int {
	for {
		left := g.roster.count() + int(g.entered.Load())
		if left == 0 || !sleep(ctx, 5*time.Millisecond) {
			return left
		}
		for _, s := range g.roster.sessions() {
			if !s.ended.Load() {
				s.end(CodeGoingAway, Drained, s.route.CloseTimeout)
			}
		}
	}
}

// sleep reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
