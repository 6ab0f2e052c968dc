package console

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lxzan/gws"
	"go.uber.org/goleak"
)

// openChat starts a chat and checks, when the test is over, that nothing of it is
// left.
func openChat(t *testing.T) *Chat {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	c, err := StartChat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// A client is one WebSocket to a chat. got is closed with it; closed tells how.
type client struct {
	gws.BuiltinEventHandler
	*gws.Conn
	got    chan Message
	pong   chan string
	closed chan error
}

func (c *client) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer m.Close()
	var said Message
	if err := json.Unmarshal(m.Bytes(), &said); err != nil {
		said.Text = err.Error()
	}
	c.got <- said
}

func (c *client) OnPong(_ *gws.Conn, payload []byte) { c.pong <- string(payload) }

func (c *client) OnClose(_ *gws.Conn, err error) {
	c.closed <- err
	close(c.got)
}

func dial(t *testing.T, c *Chat, user string) *client {
	t.Helper()
	cl := &client{got: make(chan Message, 1000), pong: make(chan string, 1), closed: make(chan error, 1)}
	conn, _, err := gws.NewClient(cl, &gws.ClientOption{Addr: c.URL() + "/?user=" + user})
	if err != nil {
		t.Fatal(err)
	}
	cl.Conn = conn
	done := make(chan struct{})
	go func() { defer close(done); conn.ReadLoop() }()
	t.Cleanup(func() { conn.NetConn().Close(); <-done })
	await(t, "a seat", func() bool { return c.seated(user) })
	return cl
}

func (c *Chat) seated(user string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if m.name == user {
			return true
		}
	}
	return false
}

func (c *Chat) taken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.places
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s within 10 s", what)
		}
	}
}

func (c *client) next(t *testing.T) Message {
	t.Helper()
	select {
	case m := <-c.got:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no message within 10 s")
		return Message{}
	}
}

func (c *client) code(t *testing.T) int {
	t.Helper()
	select {
	case err := <-c.closed:
		var closing *gws.CloseError
		if errors.As(err, &closing) {
			return int(closing.Code)
		}
		return 1006
	case <-time.After(10 * time.Second):
		t.Fatal("not closed within 10 s")
		return 0
	}
}

func TestChatBroadcasts(t *testing.T) {
	chat := openChat(t)
	ada, grace := dial(t, chat, "ada"), dial(t, chat, "grace")
	for i := range 50 {
		text := fmt.Sprintf(`%d "<b>" é`, i)
		if err := ada.WriteString(text); err != nil {
			t.Fatal(err)
		}
		want := Message{From: "ada", Text: text}
		if got := []Message{ada.next(t), grace.next(t)}; !slices.Equal(got, []Message{want, want}) {
			t.Fatalf("got %q, want %q twice", got, want)
		}
	}
}

func TestChatAnswersPings(t *testing.T) {
	ada := dial(t, openChat(t), "ada")
	if err := ada.WritePing([]byte("are you there")); err != nil {
		t.Fatal(err)
	}
	if got := <-ada.pong; got != "are you there" {
		t.Errorf("pong %q", got)
	}
}

func TestChatRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		send func(*client) error
		code int
	}{
		"binary":     {func(c *client) error { return c.WriteMessage(gws.OpcodeBinary, []byte("x")) }, 1003},
		"too long":   {func(c *client) error { return c.WriteString(strings.Repeat("x", chatText+1)) }, 1009},
		"not UTF-8":  {func(c *client) error { return raw(c, "\x81\x82\x00\x00\x00\x00\xc3\x28") }, 1007},
		"no mask":    {func(c *client) error { return raw(c, "\x81\x01x") }, 1002},
		"top bit":    {func(c *client) error { return raw(c, "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04") }, 1006},
		"bad opcode": {func(c *client) error { return raw(c, "\x83\x80\x00\x00\x00\x00") }, 1002},
	} {
		t.Run(name, func(t *testing.T) {
			chat := openChat(t)
			bad, good := dial(t, chat, "bad"), dial(t, chat, "good")
			if err := c.send(bad); err != nil {
				t.Fatal(err)
			}
			if got := bad.code(t); got != c.code {
				t.Errorf("closed with %d, want %d", got, c.code)
			}
			await(t, "free place", func() bool { return chat.taken() == 1 })
			if err := good.WriteString("still here"); err != nil || good.next(t).Text != "still here" {
				t.Errorf("the others are disturbed: %v", err)
			}
		})
	}
}

func raw(c *client, bytes string) error {
	_, err := c.NetConn().Write([]byte(bytes))
	return err
}

func TestChatHandshakes(t *testing.T) {
	chat := openChat(t)
	for _, c := range []struct {
		query, origin string
		status        int
	}{
		{"user=ada", "", 101},
		{"", "", 101},
		{"user=ada", "http://127.0.0.1:8081", 101},
		{"user=ada", "http://localhost:8081", 101},
		{"user=ada", "https://evil.example", 403},
		{"user=ada", "null", 403},
		{"user=ada", "http://127.0.0.1.evil.example", 403},
		{"user=" + strings.Repeat("x", chatName+1), "", 400},
	} {
		if got := handshake(t, chat, c.query, c.origin); got != c.status {
			t.Errorf("%q from %q: %d, want %d", c.query, c.origin, got, c.status)
		}
	}
	r, err := http.Get("http" + strings.TrimPrefix(chat.URL(), "ws"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusBadRequest {
		t.Errorf("no upgrade: %d", r.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	await(t, "free places", func() bool { return chat.taken() == 0 })
}

func handshake(t *testing.T, chat *Chat, query, origin string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(chat.URL(), "ws://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := "GET /?" + query + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	if origin != "" {
		head += "Origin: " + origin + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	return r.StatusCode
}

// A first message that comes in one packet with the handshake is not lost.
func TestChatReadsWhatCameWithTheHandshake(t *testing.T) {
	chat := openChat(t)
	ada := dial(t, chat, "ada")
	conn, err := net.Dial("tcp", strings.TrimPrefix(chat.URL(), "ws://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /?user=eager HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x82\x00\x00\x00\x00hi")
	if err != nil {
		t.Fatal(err)
	}
	if got := ada.next(t); got != (Message{From: "eager", Text: "hi"}) {
		t.Errorf("got %q", got)
	}
}

func TestChatIsFull(t *testing.T) {
	chat := openChat(t)
	for i := range chatMembers {
		dial(t, chat, fmt.Sprint("m", i))
	}
	if got := handshake(t, chat, "user=late", ""); got != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", got)
	}
}

// deaf connects and never reads.
func deaf(t *testing.T, chat *Chat) {
	t.Helper()
	cl := &client{}
	conn, _, err := gws.NewClient(cl, &gws.ClientOption{Addr: chat.URL() + "/?user=deaf"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.NetConn().Close() })
	_ = conn.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
	await(t, "a seat", func() bool { return chat.seated("deaf") })
}

// Whoever does not read is cut off: by the queue while others talk, and by the
// time it takes when they do not.
func TestChatCutsOffTheSlow(t *testing.T) {
	for name, set := range map[string]func(*Chat){
		"queue": func(c *Chat) { c.queue, c.stall = 8, time.Hour },
		"time":  func(c *Chat) { c.queue, c.stall = 1<<20, 50*time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			chat := openChat(t)
			set(chat)
			deaf(t, chat)
			chat.queue, chat.stall = 1<<20, time.Hour // for who talks: the test floods faster than it reads
			ada := dial(t, chat, "ada")
			text := strings.Repeat("x", chatText)
			for i := 0; chat.seated("deaf"); i++ {
				if i > 20_000 {
					t.Fatal("80 MB wait for somebody who reads nothing")
				}
				if err := ada.WriteString(text); err != nil {
					t.Fatal(err)
				}
				if got := ada.next(t); got.Text != text {
					t.Fatalf("ada got %.20q", got.Text)
				}
			}
			await(t, "free place", func() bool { return chat.taken() == 1 })
		})
	}
}

func TestChatCloses(t *testing.T) {
	chat := openChat(t)
	ada := dial(t, chat, "ada")
	deaf(t, chat)
	if err := chat.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ada.code(t); got != 1006 {
		t.Errorf("closed with %d", got)
	}
	if chat.taken() != 0 || chat.take() {
		t.Error("a place is taken after Close")
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(chat.URL(), "ws://")); err == nil {
		t.Error("still listening")
	}
}

func TestChatTellsWhyItEnded(t *testing.T) {
	chat, err := StartChat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = chat.listener.Close()
	await(t, "error", func() bool { chat.mu.Lock(); defer chat.mu.Unlock(); return chat.failed != nil })
	if err := chat.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
}
