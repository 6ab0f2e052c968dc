package lethe_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lxzan/gws"
)

// An echoing is an upstream that answers each message with itself, and counts.
type echoing struct {
	gws.BuiltinEventHandler
	url      string
	received atomic.Int64
	sent     atomic.Int64
}

func (e *echoing) OnMessage(c *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	e.received.Add(1)
	if c.WriteMessage(m.Opcode, m.Bytes()) == nil {
		e.sent.Add(1)
	}
}

func newEchoing(t *testing.T) *echoing {
	t.Helper()
	e := &echoing{}
	up := gws.NewUpgrader(e, nil)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := up.Upgrade(w, r); err == nil {
			go c.ReadLoop()
		}
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	e.url = "ws" + strings.TrimPrefix(s.URL, "http")
	return e
}

// A talker is a WebSocket client. When an echo came back, and how the connection
// ended, is kept.
type talker struct {
	gws.BuiltinEventHandler
	conn *gws.Conn
	gone chan struct{} // closed when the connection has ended

	mu    sync.Mutex // protects what follows
	back  []time.Time
	texts []string
	why   error
	sent  int
}

// OnMessage implements gws.Event.
func (c *talker) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	now, text := time.Now(), m.Data.String()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.back, c.texts = append(c.back, now), append(c.texts, text)
}

// OnClose implements gws.Event.
func (c *talker) OnClose(_ *gws.Conn, err error) {
	c.mu.Lock()
	c.why = err
	c.mu.Unlock()
	close(c.gone)
}

// connect opens a connection; header may be nil.
func connect(url string, header http.Header) (*talker, *http.Response, error) {
	c := &talker{gone: make(chan struct{})}
	conn, answer, err := gws.NewClient(c, &gws.ClientOption{Addr: url, RequestHeader: header, HandshakeTimeout: 20 * time.Second})
	if err != nil {
		return nil, answer, err
	}
	c.conn = conn
	go conn.ReadLoop()
	return c, answer, nil
}

// join connects as a person and hangs up when the test ends.
func join(t *testing.T, gateway, user string) *talker {
	t.Helper()
	c, _, err := connect(gateway+"/?user="+user, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.conn.NetConn().Close() })
	return c
}

// say sends one message; false once the connection has ended.
func (c *talker) say(text string) bool {
	if c.conn.WriteString(text) != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	return true
}

// talk sends n messages and waits for their echoes.
func (c *talker) talk(t *testing.T, n int) {
	t.Helper()
	want := c.echoes() + n
	for range n {
		if !c.say("hello there") {
			t.Fatal("the connection is gone")
		}
	}
	within(t, 20*time.Second, "the echoes", func() bool { return c.echoes() >= want })
}

func (c *talker) echoes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.back)
}

// code waits for the end of the connection and returns its close code, 0 for an
// end without one.
func (c *talker) code(t *testing.T, d time.Duration) uint16 {
	t.Helper()
	select {
	case <-c.gone:
	case <-time.After(d):
		t.Fatalf("the connection lives on after %v", d)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var closed *gws.CloseError
	if !errors.As(c.why, &closed) {
		return 0
	}
	return closed.Code
}

// hangUp closes with 1000 and waits for the end.
func (c *talker) hangUp(t *testing.T) {
	t.Helper()
	if err := c.conn.WriteClose(1000, nil); err != nil {
		t.Fatal(err)
	}
	c.code(t, 10*time.Second)
}

func (c *talker) alive() bool {
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}
