package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/lxzan/gws"
)

// Bounds of a Chat. Reaching one ends, or refuses, the connection that reached it
// and no other.
const (
	chatMembers = 64               // connections at once; the next is answered 503
	chatName    = 64               // bytes of a name; a longer one is answered 400
	chatText    = 4 << 10          // bytes of a message; a longer one is not read
	chatQueue   = 256              // messages that wait for a member; one more ends it
	chatStall   = 10 * time.Second // how long a member may take nothing
	chatHeader  = 5 * time.Second  // to read a handshake
)

// A Chat is a small WebSocket server to put behind a gateway: every text message
// goes to everybody, the sender too, as {"from":NAME,"text":TEXT}. The query
// parameter user is the sender's name, and nobody checks it. It listens on
// loopback only and keeps nothing. A member that does not keep up is cut off;
// there is no guarantee that a message arrives.
type Chat struct {
	listener net.Listener
	server   *http.Server
	upgrader *gws.Upgrader
	stall    time.Duration
	queue    int

	running sync.WaitGroup // the server, and every place that is taken

	// mu protects what follows.
	mu      sync.Mutex
	places  int
	members map[*gws.Conn]*member // those who get messages
	closed  bool
	failed  error // of the listener
}

// A Message is what the members of a Chat receive.
type Message struct {
	From string `json:"from"`
	Text string `json:"text"`
}

// StartChat listens on a free port of 127.0.0.1. Close it.
func StartChat(ctx context.Context) (*Chat, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the chat: %w", err)
	}
	c := &Chat{listener: l, stall: chatStall, queue: chatQueue, members: map[*gws.Conn]*member{}}
	c.upgrader = gws.NewUpgrader(room{chat: c}, &gws.ServerOption{
		CheckUtf8Enabled: true, ReadMaxPayloadSize: chatText, ReadBufferSize: 1 << 10, Logger: silent{},
	})
	c.server = &http.Server{
		Handler: c, ReadHeaderTimeout: chatHeader, IdleTimeout: chatHeader, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // its lines carry addresses
	}
	c.running.Go(c.serve)
	return c, nil
}

// URL is the upstream to give to a pool: ws://127.0.0.1:PORT.
func (c *Chat) URL() string { return "ws://" + c.listener.Addr().String() }

func (c *Chat) serve() {
	err := c.server.Serve(c.listener)
	if errors.Is(err, http.ErrServerClosed) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = fmt.Errorf("serving the chat: %w", err)
}

// Close ends every connection and waits for their goroutines. It returns why the
// chat had ended before, if it had.
func (c *Chat) Close() error {
	c.mu.Lock()
	c.closed = true
	for _, m := range c.members {
		m.cut()
	}
	c.mu.Unlock()
	err := c.server.Close()
	c.running.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(err, c.failed)
}

// ServeHTTP upgrades a request and runs the connection in a goroutine of its own.
func (c *Chat) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("user")
	switch {
	case len(name) > chatName:
		http.Error(w, "the name is too long", http.StatusBadRequest)
		return
	case foreign(r.Header.Get("Origin")):
		http.Error(w, "pages of other sites may not connect", http.StatusForbidden)
		return
	case !c.take():
		http.Error(w, "the chat is full", http.StatusServiceUnavailable)
		return
	}
	conn, ahead, err := http.NewResponseController(w).Hijack()
	if err != nil {
		c.leave(nil)
		return
	}
	socket, err := c.upgrader.UpgradeFromConn(conn, ahead.Reader, r)
	if err != nil { // gws answered and closed
		c.leave(nil)
		return
	}
	go c.run(newMember(name, socket, c.queue))
}

// foreign reports whether an Origin is a page from beyond this machine: any site
// can make its visitor's browser connect to loopback.
func foreign(origin string) bool {
	if origin == "" {
		return false // no browser
	}
	u, err := url.Parse(origin)
	if err != nil {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback())
}

// take reserves a place; leave gives it back.
func (c *Chat) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.places >= chatMembers {
		return false
	}
	c.places++
	c.running.Add(1)
	return true
}

func (c *Chat) leave(m *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m != nil {
		delete(c.members, m.socket)
	}
	c.places--
	c.running.Done()
}

// sit lets a member receive, unless the chat is closing.
func (c *Chat) sit(m *member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.members[m.socket] = m
	return true
}

// run is the goroutine of one member; it reads, and owns the one that writes. A
// frame that makes gws panic (a length with its top bit set) ends its own
// connection, without OnClose being called.
func (c *Chat) run(m *member) {
	defer c.leave(m)
	var writing sync.WaitGroup
	defer writing.Wait()
	defer m.end()
	defer func() { _ = recover() }() // its value says nothing that could be done about it
	stall := c.stall
	if !c.sit(m) {
		return
	}
	writing.Go(func() { m.write(stall) })
	m.socket.ReadLoop()
}

// say sends a text to everybody. Who cannot take one more is cut off.
func (c *Chat) say(from *gws.Conn, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sender, ok := c.members[from]
	if !ok {
		return
	}
	b, err := json.Marshal(Message{From: sender.name, Text: text})
	if err != nil {
		return // two strings always encode
	}
	for _, m := range c.members {
		m.offer(b)
	}
}
