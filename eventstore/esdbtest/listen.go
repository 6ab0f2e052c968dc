package esdbtest

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
)

// A door keeps a server's port while the server is stopped, so that nothing else
// on the machine is found there: it resets who comes then.
type door struct {
	listener net.Listener

	mu sync.Mutex
	to *splitter // nil while stopped
}

// openDoor listens at address until it is closed.
func openDoor(address string) (*door, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	d := &door{listener: l}
	go d.run()
	return d, nil
}

func (d *door) run() {
	for {
		c, err := d.listener.Accept()
		if err != nil {
			return // it is closed
		}
		d.mu.Lock()
		to := d.to
		d.mu.Unlock()
		if to == nil {
			reset(c)
			continue
		}
		go to.sort(to.conns.add(c, to.frozen))
	}
}

// lead gives new connections to a splitter; to nobody, if it is nil.
func (d *door) lead(to *splitter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = to
}

func (d *door) close() { _ = d.listener.Close() } // it was open

// reset ends a connection as a port does where nobody listens.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // without it the end is only more polite
	}
	_ = c.Close() // nothing was said on it
}

// A splitter serves gRPC and the admin API on one port, as the real server
// does, by looking at how a connection begins.
type splitter struct {
	addr   net.Addr
	tls    *tls.Config
	conns  *connections
	frozen *gate
	admin  *queue

	mu    sync.Mutex
	calls *queue
}

func newSplitter(addr net.Addr, t *tls.Config, conns *connections, frozen *gate) *splitter {
	if t != nil {
		t = t.Clone()
		t.NextProtos = []string{"h2", "http/1.1"}
	}
	return &splitter{addr: addr, tls: t, conns: conns, frozen: frozen, calls: newQueue(addr), admin: newQueue(addr)}
}

// preface begins every HTTP/2 connection, and nothing else.
const preface = "PRI"

func (s *splitter) sort(c *conn) {
	var inner net.Conn = c
	if s.tls != nil {
		inner = tls.Server(c, s.tls)
	}
	r := bufio.NewReader(inner)
	begin, err := r.Peek(len(preface))
	if err != nil {
		_ = inner.Close() // the caller has gone
		return
	}
	to := s.admin
	if string(begin) == preface {
		to = s.callQueue()
	}
	to.put(&peeked{Conn: inner, r: r})
}

func (s *splitter) callQueue() *queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// replace gives new connections to another server of calls; the queue before it
// is closed by the server that listens there.
func (s *splitter) replace(q *queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = q
}

func (s *splitter) close() {
	_ = s.callQueue().Close()
	_ = s.admin.Close()
}

// peeked is a connection of which the first bytes were read ahead.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// A queue is a listener that is handed its connections.
type queue struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newQueue(addr net.Addr) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (q *queue) put(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.done:
		_ = c.Close() // nobody will serve it
	}
}

// Accept gives out one connection.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close lets Accept fail. It may be called twice.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr is that of the port.
func (q *queue) Addr() net.Addr { return q.addr }

// connections are the open ones, by the address of the other side.
type connections struct {
	mu   sync.Mutex
	open map[string]*conn
}

// A conn stands still while its server is frozen: nothing is read or written,
// and the other side is not told.
type conn struct {
	net.Conn
	all    *connections
	frozen *gate
	ctx    context.Context
	cancel context.CancelFunc
}

func (cs *connections) add(c net.Conn, frozen *gate) *conn {
	ctx, cancel := context.WithCancel(context.Background())
	out := &conn{Conn: c, all: cs, frozen: frozen, ctx: ctx, cancel: cancel}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.open[c.RemoteAddr().String()] = out
	return out
}

// closeOf breaks the connection of one caller.
func (cs *connections) closeOf(remote string) {
	cs.mu.Lock()
	c := cs.open[remote]
	cs.mu.Unlock()
	if c != nil {
		_ = c.Close() // breaking it is all that is wanted
	}
}

func (cs *connections) closeAll() {
	cs.mu.Lock()
	open := make([]*conn, 0, len(cs.open))
	for _, c := range cs.open {
		open = append(open, c)
	}
	cs.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // breaking them is all that is wanted
	}
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if stopped := c.frozen.wait(c.ctx); stopped != nil {
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if stopped := c.frozen.wait(c.ctx); stopped != nil {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// Close may be called twice.
func (c *conn) Close() error {
	c.cancel()
	c.all.mu.Lock()
	delete(c.all.open, c.RemoteAddr().String())
	c.all.mu.Unlock()
	return c.Conn.Close()
}
