package esdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/lethe-ledger/lethe/domain"
)

// ErrVersion is a server older than the oldest one that the rules of this package
// were measured on. It matches domain.ErrUnavailable as well.
var ErrVersion = errors.New("server is older than 23.10.8")

// oldest is the first version whose answers are known.
var oldest = [3]int{23, 10, 8}

// A compass knows where the leader is. Whoever finds it first tells all others.
type compass struct {
	store *Store

	mu     sync.Mutex
	node   string // the last one found
	lostIt bool   // it has to be looked for
	epoch  int    // rises when another node is found; 0 before the first
	search *search
	reign  context.Context //nolint:containedctx // ends when another node than the one found leads; nil while nobody asked
	over   context.CancelFunc
}

// A search is one look for the leader, which many may wait for. The fields are
// written before done is closed.
type search struct {
	done  chan struct{}
	node  string
	epoch int
	err   error
}

// find answers where the leader is, host:port. It waits for a search no longer
// than ctx; the search itself goes on for whoever comes next.
func (c *compass) find(ctx context.Context) (node string, epoch int, err error) {
	s := c.join() //nolint:contextcheck // a search outlives whoever asked first
	select {
	case <-s.done:
		return s.node, s.epoch, s.err
	case <-ctx.Done():
		return "", 0, ended(ctx)
	}
}

func (c *compass) join() *search {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch > 0 && !c.lostIt {
		s := &search{done: make(chan struct{}), node: c.node, epoch: c.epoch}
		close(s.done)
		return s
	}
	if c.search == nil {
		s := &search{done: make(chan struct{})}
		if !c.store.spawn(func() { c.look(s) }) {
			s.err = errClosed
			close(s.done)
			return s
		}
		c.search = s
	}
	return c.search
}

// lost says that the leader of an epoch did not answer as one.
func (c *compass) lost(epoch int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch && !c.lostIt {
		c.lostIt = true
		c.store.Logf("event store: node %s does not answer as the leader", c.node)
	}
}

// reigning returns a context that ends when another node leads than now. A node
// that was deposed and does not know it goes on answering; what is open there for
// long would deliver nothing any more.
func (c *compass) reigning() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reign == nil {
		c.reign, c.over = context.WithCancel(context.Background())
	}
	return c.reign
}

// found moves to a node. Lanes to the one before are closed as they come back.
func (c *compass) found(node string) {
	c.lostIt = false
	if c.node != node {
		if c.node != "" && c.reign != nil {
			c.over()
			c.reign = nil
		}
		c.node = node
		c.epoch++
		c.store.Logf("event store: the leader is %s", node)
	}
}

// look ends a search. It belongs to the store, not to whoever asked first.
func (c *compass) look(s *search) {
	ctx, cancel := context.WithTimeout(c.store.life, c.store.Deadlines.Connect)
	defer cancel()
	node, err := c.store.locate(ctx)
	if err == nil {
		err = c.store.checkVersion(ctx, node)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		s.err = unavailable(err)
	} else {
		c.found(node)
		s.node, s.epoch = node, c.epoch
	}
	c.search = nil
	close(s.done)
}

// locate answers the leader's address. One node is what the URL says; of a
// cluster every node is asked at once, and what most of them say counts: one that
// was frozen and wakes up believes for a moment that it still leads.
func (t *target) locate(ctx context.Context) (string, error) {
	if !t.cluster() {
		return t.seeds[0], nil
	}
	votes := make(chan vote, len(t.seeds))
	for _, seed := range t.seeds {
		go func() {
			leader, err := t.askLeader(ctx, seed)
			votes <- vote{leader, err}
		}()
	}
	return count(votes, len(t.seeds))
}

// A vote is what one node says about who leads.
type vote struct {
	leader string
	err    error
}

// count waits until one leader has more votes than all others together still can
// get, or everybody has voted; every voter ends with its context.
func count(votes <-chan vote, voters int) (string, error) {
	tally := map[string]int{}
	var errs []error
	for range voters {
		v := <-votes
		if v.err != nil {
			errs = append(errs, v.err)
			continue
		}
		if tally[v.leader]++; tally[v.leader] > voters/2 {
			return v.leader, nil
		}
	}
	best := ""
	for leader, n := range tally {
		if n > tally[best] || (n == tally[best] && leader < best) {
			best = leader
		}
	}
	if best == "" {
		return "", fmt.Errorf("no node tells who leads: %w", errors.Join(errs...))
	}
	return best, nil
}

// askLeader asks one node who leads.
func (t *target) askLeader(ctx context.Context, node string) (leader string, err error) {
	members, err := t.members(ctx, node)
	if err != nil {
		return "", err
	}
	for _, m := range members {
		if m.GetState() == gossip.MemberInfo_Leader && m.GetIsAlive() {
			return endpoint(m), nil
		}
	}
	return "", fmt.Errorf("node %s knows no leader", node)
}

// members asks one node for all it knows.
func (t *target) members(ctx context.Context, node string) (ms []*gossip.MemberInfo, err error) {
	conn, err := t.dial(node)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	info, err := gossip.NewGossipClient(conn).Read(ctx, &shared.Empty{})
	if err != nil {
		return nil, fmt.Errorf("gossip of %s: %w", node, err)
	}
	return info.GetMembers(), nil
}

func endpoint(m *gossip.MemberInfo) string {
	e := m.GetHttpEndPoint()
	return net.JoinHostPort(e.GetAddress(), strconv.FormatUint(uint64(e.GetPort()), 10))
}

// checkVersion refuses a node that is too old or does not tell.
func (t *target) checkVersion(ctx context.Context, node string) (err error) {
	conn, err := t.dial(node)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	methods, err := serverfeatures.NewServerFeaturesClient(conn).GetSupportedMethods(ctx, &shared.Empty{})
	if err != nil {
		if status.Code(err) == codes.Unimplemented {
			return fmt.Errorf("node %s: %w", node, ErrVersion)
		}
		return fmt.Errorf("version of %s: %w", node, err)
	}
	v := methods.GetEventStoreServerVersion()
	if !recent(v) {
		return fmt.Errorf("node %s runs %q: %w", node, v, ErrVersion)
	}
	return nil
}

// recent compares dotted integers, of which the first three count.
func recent(version string) bool {
	parts := strings.SplitN(version, ".", 4)
	for i, least := range oldest {
		if i >= len(parts) {
			return false
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil || n < least {
			return false
		}
		if n > least {
			return true
		}
	}
	return true
}

func (t *target) dial(node string) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if t.tls {
		creds = credentials.NewTLS(t.tlsConfig())
	}
	conn, err := grpc.NewClient(node, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, fmt.Errorf("%w: node %s: %w", domain.ErrUnavailable, node, err)
	}
	return conn, nil
}
