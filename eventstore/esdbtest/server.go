package esdbtest

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// A Server is one node. Its methods may be called from any goroutine.
type Server struct {
	cluster *Cluster
	index   int
	hooks   atomic.Pointer[Hooks]
	frozen  gate // the whole process
	live    gate // what subscriptions send

	mu      sync.RWMutex // protects what follows; held for reading while committing
	address string       // kept over a restart
	door    *door        // to the port; nil before the first start and when closed
	running *running     // nil while stopped
	run     int          // counts the starts
	known   *uint64      // what a stalled server has of the log; nil for all of it
	deposed bool         // believes that it leads
	private *ledger      // holds events that nobody else has; nil for the shared log
	conns   connections

	scavenge scavenging
}

// running is what ends when the server stops.
type running struct {
	instance uuid.UUID
	split    *splitter
	calls    *grpc.Server
	admin    *http.Server
}

// New starts a server on a loopback port. The caller closes it.
func New(o Options) (*Server, error) {
	c, err := NewCluster(1, o)
	if err != nil {
		return nil, err
	}
	return c.servers[0], nil
}

// Start is New for the length of a test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatalf("start the protocol server: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

func newServer(c *Cluster, index int) *Server {
	s := &Server{cluster: c, index: index, address: "127.0.0.1:0"}
	s.hooks.Store(&Hooks{})
	s.conns.open = map[string]*conn{}
	return s
}

// Address is host and port, the same for calls and for the admin API.
func (s *Server) Address() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.address
}

// URL is the connection string of this one server.
func (s *Server) URL() string {
	return fmt.Sprintf("esdb://%s?tls=%t", s.Address(), s.cluster.options.TLS != nil)
}

// Admin is the base of the admin HTTP API.
func (s *Server) Admin() string {
	if s.cluster.options.TLS != nil {
		return "https://" + s.Address()
	}
	return "http://" + s.Address()
}

// Cluster is the one the server belongs to; one of its own if it is alone.
func (s *Server) Cluster() *Cluster { return s.cluster }

// Restart starts the server again on its port, after Stop or by stopping it
// first. It has a new instance id and has forgotten which ids were written
// recently; the log is whole.
func (s *Server) Restart() error {
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.door == nil {
		d, err := openDoor(s.address)
		if err != nil {
			return err
		}
		s.door, s.address = d, d.listener.Addr().String()
	}
	s.run++
	r := &running{instance: uuid.New(), calls: s.newCalls(), admin: &http.Server{Handler: s.adminHandler(), ReadHeaderTimeout: 10 * time.Second}}
	r.split = newSplitter(s.door.listener.Addr(), s.cluster.options.TLS, &s.conns, &s.frozen)
	s.running = r
	s.door.lead(r.split)
	go r.calls.Serve(r.split.calls) //nolint:errcheck // ends with the error of the closed listener
	go r.admin.Serve(r.split.admin) //nolint:errcheck // ends with the error of the closed listener
	return nil
}

// Stop ends the server as a kill does: connections break, what is in flight is
// not written. It may be called while stopped.
func (s *Server) Stop() {
	s.mu.Lock()
	r := s.running
	s.running = nil
	s.run++
	if r != nil {
		s.door.lead(nil)
	}
	s.mu.Unlock()
	if r == nil {
		return
	}
	s.cluster.forget(s)
	r.split.close()
	s.scavenge.forget()
	s.conns.closeAll()
	r.calls.Stop()
	_ = r.admin.Close() // the listener is closed already, and says so
}

// leave gives the port back.
func (s *Server) leave() {
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.door != nil {
		s.door.close()
		s.door = nil
	}
}

// Close stops the server, and the others of its cluster.
func (s *Server) Close() { s.cluster.Close() }

// newCalls makes a gRPC server with the services of 23.10 that the client uses.
func (s *Server) newCalls() *grpc.Server {
	g := grpc.NewServer(
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(maxTransport),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
	)
	api.RegisterStreamsServer(g, streams{s: s})
	gossip.RegisterGossipServer(g, gossiper{s: s})
	serverfeatures.RegisterServerFeaturesServer(g, features{s: s})
	return g
}

// forget loses what a killed leader had in memory.
func (c *Cluster) forget(s *Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader != s.index {
		return
	}
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	c.shared.recent = recentIDs{}
	c.shared.held = 0
	c.shared.show()
}

// view is the log as this server has it, and how much of it.
func (s *Server) view() (*ledger, *uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.private != nil {
		return s.private, nil
	}
	return s.cluster.shared, s.known
}

// bound is how much of l this server shows.
func (s *Server) bound(l *ledger) uint64 {
	end := l.end()
	if _, known := s.view(); known != nil {
		return min(*known, end)
	}
	return end
}

// stall keeps the server at what the log holds now.
func (s *Server) stall(deposed bool) {
	end := s.cluster.shared.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known, s.deposed = &end, deposed
}

// Stall makes a follower fall behind: it shows nothing that is written from now on.
func (s *Server) Stall() { s.stall(false) }

// CatchUp ends Stall, a deposition and the loss of contact: the server shows the
// whole log again and knows who leads.
func (s *Server) CatchUp() { s.catchUp() }

func (s *Server) catchUp() {
	s.mu.Lock()
	s.known, s.deposed, s.private = nil, false, nil
	s.mu.Unlock()
	s.cluster.shared.mu.Lock()
	defer s.cluster.shared.mu.Unlock()
	s.cluster.shared.wake()
}

// Instance is the id of this run of the server, and whether it runs.
func (s *Server) Instance() (uuid.UUID, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.running == nil {
		return uuid.Nil, false
	}
	return s.running.instance, true
}
