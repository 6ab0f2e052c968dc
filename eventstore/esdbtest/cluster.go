package esdbtest

import (
	"fmt"
	"strings"
	"sync"
)

// A Cluster is several servers over one log, of which one leads.
type Cluster struct {
	options Options
	servers []*Server
	users   *users

	mu      sync.Mutex // protects what follows
	shared  *ledger
	leader  int // index of the leader, -1 while there is none
	flights map[string]bool
	dropped int
}

// NewCluster starts n servers on loopback ports of their own. The first one
// leads. The caller closes it.
func NewCluster(n int, o Options) (*Cluster, error) {
	o, err := o.check()
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: o, shared: newLedger(o.Clock), flights: map[string]bool{}, users: newUsers(o.Accounts)}
	c.shared.seed()
	for i := range n {
		s := newServer(c, i)
		if err := s.Restart(); err != nil {
			c.Close()
			return nil, fmt.Errorf("start server %d: %w", i, err)
		}
		c.servers = append(c.servers, s)
	}
	return c, nil
}

// Servers are the servers of the cluster, in the order in which they were made.
func (c *Cluster) Servers() []*Server { return c.servers }

// Leader is the server that leads; nil while there is none.
func (c *Cluster) Leader() *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader < 0 {
		return nil
	}
	return c.servers[c.leader]
}

// URL names all servers as gossip seeds.
func (c *Cluster) URL() string {
	hosts := make([]string, len(c.servers))
	for i, s := range c.servers {
		hosts[i] = s.Address()
	}
	return fmt.Sprintf("esdb://%s?tls=%t", strings.Join(hosts, ","), c.options.TLS != nil)
}

// Elect makes s the leader, which sees the whole log from then on. The one that
// led before becomes a follower that is up to date, unless it was deposed. A nil
// s leaves the cluster without a leader.
func (c *Cluster) Elect(s *Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = -1
	if s != nil {
		c.leader = s.index
		s.catchUp()
	}
}

// Depose elects next while the present leader does not learn of it: it goes on
// answering reads, those that require the leader included, with what it knows
// now, and refuses to write as not the leader. CatchUp ends that.
func (c *Cluster) Depose(next *Server) {
	old := c.Leader()
	if old != nil {
		old.stall(true)
	}
	c.Elect(next)
}

// Dropped counts the appends that were dropped because an equal one was in flight.
func (c *Cluster) Dropped() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

// Close ends all servers; the log is gone.
func (c *Cluster) Close() {
	for _, s := range c.servers {
		s.leave()
	}
}
