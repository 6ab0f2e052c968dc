package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	goleak.VerifyTestMain(m)
}

const testKey = "dGhlIHNhbXBsZSBub25jZQ=="

// A peerConn is a raw end of a connection: bytes, no library.
type peerConn struct {
	net.Conn
	br *bufio.Reader
	t  testing.TB
}

// A backend is a raw upstream: it answers handshakes as told and hands its
// connections over.
type backend struct {
	url    string
	conns  chan *peerConn
	heads  chan *http.Request
	answer func(r *http.Request) string
}

func newBackend(t testing.TB, conf *tls.Config, answer func(r *http.Request) string) *backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{url: "ws://" + l.Addr().String(), conns: make(chan *peerConn, 64), heads: make(chan *http.Request, 64), answer: answer}
	if conf != nil {
		b.url = "wss://" + l.Addr().String()
		l = tls.NewListener(l, conf)
	}
	if answer == nil {
		b.answer = func(*http.Request) string { return accepted("") }
	}
	t.Cleanup(func() { _ = l.Close() })
	go b.accept(t, l)
	return b
}

func (b *backend) accept(t testing.TB, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		br := bufio.NewReader(c)
		r, err := http.ReadRequest(br)
		if err != nil {
			_ = c.Close()
			continue
		}
		a := b.answer(r)
		if _, err := io.WriteString(c, a); err != nil || a == "" {
			_ = c.Close()
			continue
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		b.heads <- r
		b.conns <- &peerConn{c, br, t}
	}
}

// accepted is a 101 for testKey, with more header lines.
func accepted(more string) string {
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + acceptKey(testKey) + "\r\n" + more + "\r\n"
}

// A rig is a gateway between a raw client and a raw backend.
type rig struct {
	g       *Gateway
	ledger  *ledger
	backend *backend
	addr    string
}

type change func(*Config, *Settings, *Listen)

func newRig(t testing.TB, b *backend, changes ...change) *rig {
	t.Helper()
	r := &rig{ledger: newLedger(), backend: b}
	c := Config{Recorder: r.ledger, Clock: time.Now, Tick: 5 * time.Millisecond}
	s := Settings{Pools: []Pool{{ID: "chat", Path: "/", Origins: []string{"*"}}}}
	if b != nil {
		s.Pools[0].Upstreams = []string{b.url}
	}
	var how Listen
	for _, f := range changes {
		f(&c, &s, &how)
	}
	var err error
	if r.g, err = New(c, s); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.g.Serve(l, how) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_ = r.g.Drain(ctx)
		if err := <-served; err != nil && !strings.Contains(err.Error(), "closed") {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func pooled(f func(*Pool)) change {
	return func(_ *Config, s *Settings, _ *Listen) { f(&s.Pools[0]) }
}

// ask sends a handshake and returns the connection and the answer.
func (r *rig) ask(t testing.TB, path, headers string) (*peerConn, *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p := &peerConn{c, bufio.NewReader(c), t}
	return p, p.handshake(path, headers)
}

func (p *peerConn) handshake(path, headers string) *http.Response {
	p.t.Helper()
	if !strings.Contains(headers, "Host:") {
		headers = "Host: gw.example\r\n" + headers
	}
	_, err := fmt.Fprintf(p, "GET %s HTTP/1.1\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s\r\n", path, testKey, headers)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = p.SetReadDeadline(time.Now().Add(5 * time.Second))
	res, err := http.ReadResponse(p.br, nil)
	if err != nil {
		p.t.Fatalf("read answer: %v", err)
	}
	p.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// connect makes a tapped connection and returns both ends and its record.
func (r *rig) connect(t testing.TB, path, headers string) (client, server *peerConn, rec *record) {
	t.Helper()
	client, res := r.ask(t, path, headers)
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answer %s", res.Status)
	}
	select {
	case server = <-r.backend.conns:
	case <-time.After(5 * time.Second):
		t.Fatal("the upstream got no connection")
	}
	t.Cleanup(func() { _ = server.Close() })
	rec = r.ledger.last(t)
	r.settled(t)
	return client, server, rec
}

// settled waits until every handshake under way is through: the client has its 101
// a moment before the connection is live.
func (r *rig) settled(t testing.TB) {
	t.Helper()
	eventually(t, "the handshake to end", func() bool { return r.g.entered.Load() == 0 })
}

func (p *peerConn) send(frames ...[]byte) {
	p.t.Helper()
	if _, err := p.Write(bytes.Join(frames, nil)); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// want reads exactly b.
func (p *peerConn) want(b ...[]byte) {
	p.t.Helper()
	w := bytes.Join(b, nil)
	got := make([]byte, len(w))
	_ = p.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := io.ReadFull(p.br, got); err != nil || !bytes.Equal(got, w) {
		p.t.Fatalf("got %x (%d of %d bytes, %v), want %x", clip(got[:n]), n, len(w), err, clip(w))
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 64)] }

// wantClose reads one close frame with the code, then the end.
func (p *peerConn) wantClose(code int) {
	p.t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(5 * time.Second))
	all, err := io.ReadAll(p.br)
	if err != nil {
		p.t.Fatalf("read to the end: %v after %x", err, clip(all))
	}
	if len(all) < 4 || all[0] != 0x88 {
		p.t.Fatalf("got %x, want a close frame with %d", clip(all), code)
	}
	body := all[2:]
	if all[1]&0x80 != 0 {
		body = all[6:]
		mask(body, [4]byte(all[2:6]))
	}
	if got := int(binary.BigEndian.Uint16(body)); got != code || len(body) != 2 {
		p.t.Fatalf("close %d (%x), want %d alone", got, all, code)
	}
}

// wantEnd reads nothing but the end, clean or by reset.
func (p *peerConn) wantEnd() {
	p.t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(5 * time.Second))
	if b, err := p.br.ReadByte(); err == nil {
		p.t.Fatalf("got byte %x, want the end", b)
	} else if strings.Contains(err.Error(), "timeout") {
		p.t.Fatal("the connection did not end")
	}
}

// frame builds one frame; masked with a fixed key if from a client.
func frame(masked bool, first byte, payload []byte) []byte {
	b := []byte{first, 0}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	b[1] |= 0x80
	key := [4]byte{1, 2, 3, 4}
	b = append(b, key[:]...)
	body := bytes.Clone(payload)
	mask(body, key)
	return append(b, body...)
}

func closeFrame(masked bool, code int, reason string) []byte {
	return frame(masked, 0x88, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }
