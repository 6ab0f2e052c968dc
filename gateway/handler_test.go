package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lxzan/gws"
)

// crash is the frame whose length has its top bit set: 14 bytes that end a
// process which hands them to gws v1.8.9.
var crash = []byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}

// An app is an application on gws that does what it is told.
type app struct {
	gws.BuiltinEventHandler
	mu      sync.Mutex
	sockets chan *gws.Conn
	closed  int
	err     error
	pings   int
}

func newApp() *app { return &app{sockets: make(chan *gws.Conn, 8)} }

func (a *app) OnOpen(s *gws.Conn) { a.sockets <- s }

func (a *app) OnPing(*gws.Conn, []byte) { a.pings++ }

func (a *app) OnClose(_ *gws.Conn, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed++
	a.err = err
}

func (a *app) OnMessage(s *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	switch text := m.Data.String(); text {
	case "panic":
		panic("application")
	case "bye":
		_ = s.WriteClose(4000, []byte("told to"))
	case "flood":
		for s.WriteMessage(gws.OpcodeBinary, make([]byte, 60_000)) == nil {
		}
	default:
		_ = s.WriteMessage(m.Opcode, m.Bytes())
	}
}

// ended waits for OnClose and checks that it came once.
func (a *app) ended(t *testing.T) error {
	t.Helper()
	eventually(t, "OnClose", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.closed > 0 })
	time.Sleep(5 * time.Millisecond)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed != 1 {
		t.Fatalf("OnClose was called %d times", a.closed)
	}
	return a.err
}

// served puts an application behind a Handler and connects to it.
func served(t *testing.T, o HandlerOptions, headers string, changes ...change) (*rig, *app, *peerConn, *record) {
	t.Helper()
	r := newRig(t, nil, changes...)
	a := newApp()
	h, err := r.g.Handler("chat", a, o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	r.addr = l.Addr().String()
	p, res := r.ask(t, "/", headers)
	if res.StatusCode != 101 {
		t.Fatalf("answer %s", res.Status)
	}
	r.settled(t)
	return r, a, p, r.ledger.last(t)
}

func TestHandlerRecordsBothWays(t *testing.T) {
	_, a, p, rec := served(t, HandlerOptions{}, "")
	p.send(frame(true, 0x01, []byte("he")), frame(true, 0x89, []byte("are you there")), frame(true, 0x80, []byte("llo")))
	p.want(frame(false, 0x8a, []byte("are you there")), frame(false, 0x81, []byte("hello")))
	p.send(closeFrame(true, 1001, "leaving"))
	p.wantClose(1001) // echoed as it came
	_ = p.Close()
	rec.endedAs(t, 1001, ClosedByClient)
	var ce *gws.CloseError
	if err := a.ended(t); !errors.As(err, &ce) || ce.Code != 1001 {
		t.Errorf("OnClose got %v", err)
	}
	if !reflect.DeepEqual(rec.messages, [2][]message{{{Text, 5}}, {{Text, 5}}}) || rec.controls != [2]int{2, 2} || a.pings != 0 {
		t.Errorf("recorded %v and controls %v; %d pings reached the application", rec.messages, rec.controls, a.pings)
	}
}

// TestHandlerViolations runs the conformance cases against a server on gws.
func TestHandlerViolations(t *testing.T) {
	for _, tt := range conformance {
		if tt.err == 0 {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, a, p, rec := served(t, HandlerOptions{}, "")
			go func() { _, _ = p.Write(bytes.Join(tt.frames, nil)) }()
			_ = p.SetReadDeadline(time.Now().Add(5 * time.Second))
			all, _ := io.ReadAll(p.br)
			if want := closeFrame(false, tt.err.Code(), ""); !bytes.HasSuffix(all, want) {
				t.Fatalf("got %x, want %x at the end", clip(all), want)
			}
			_ = p.Close()
			rec.endedAs(t, tt.err.Code(), ViolatedByClient)
			_ = a.ended(t)
		})
	}
}

func TestHandlerUTF8(t *testing.T) {
	_, a, p, rec := served(t, HandlerOptions{}, "")
	p.send(frame(true, 0x81, []byte("\xff\xfe")))
	got := make([]byte, 4)
	if _, err := io.ReadFull(p.br, got); err != nil || got[0] != 0x88 || got[2] != 1007>>8 || got[3] != 1007&0xff {
		t.Fatalf("got %x, %v, want close 1007", got, err)
	}
	_ = p.Close()
	rec.ended(t)
	_ = a.ended(t)
}

func TestHandlerPanic(t *testing.T) {
	_, a, p, rec := served(t, HandlerOptions{}, "")
	p.send(frame(true, 0x81, []byte("panic")))
	p.wantClose(CodeInternal)
	_ = p.Close()
	rec.endedAs(t, CodeInternal, Panicked)
	_ = a.ended(t)
}

func TestHandlerApplicationCloses(t *testing.T) {
	_, a, p, rec := served(t, HandlerOptions{}, "")
	// What is unread when the application closes must not reset the close frame away.
	p.send(frame(true, 0x81, []byte("bye")), bytes.Repeat(frame(true, 0x82, make([]byte, 1000)), 300))
	time.Sleep(50 * time.Millisecond)
	p.want(closeFrame(false, 4000, "told to"))
	if rest, err := io.ReadAll(p.br); err != nil || len(rest) > 0 {
		t.Errorf("after the close frame %x, %v, want a clean end", clip(rest), err)
	}
	_ = p.Close()
	rec.endedAs(t, 4000, ClosedByUpstream)
	_ = a.ended(t)
}

// TestHandlerErrorsStayInside: a reset or a time-out is no close reason.
func TestHandlerErrorsStayInside(t *testing.T) {
	_, a, p, rec := served(t, HandlerOptions{}, "")
	s := <-a.sockets
	if err := s.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	p.wantClose(CodeGoingAway) // and not 1000 "read tcp 127.0.0.1:35325->…: i/o timeout"
	_ = p.Close()
	rec.endedAs(t, CodeGoingAway, IdleTooLong)
	if err := a.ended(t); strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("OnClose got %v", err)
	}
}

func TestHandlerClientVanishes(t *testing.T) {
	_, a, p, rec := served(t, HandlerOptions{}, "")
	_ = p.Close()
	rec.endedAs(t, CodeAbnormal, LostClient)
	_ = a.ended(t)
}

// TestHandlerSlowClient: a write that is stuck holds gws's own lock, so only TCP
// frees it.
func TestHandlerSlowClient(t *testing.T) {
	_, a, p, rec := served(t, HandlerOptions{}, "", pooled(func(p *Pool) { p.WriteTimeout = 50 * time.Millisecond }))
	begin := time.Now()
	p.send(frame(true, 0x81, []byte("flood")))
	rec.endedAs(t, CodeAbnormal, SlowClient)
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
	_ = a.ended(t)
}

func TestHandlerSever(t *testing.T) {
	_, a, p, rec := served(t, HandlerOptions{}, "")
	rec.conn.Sever()
	p.wantClose(CodeSevered)
	_ = p.Close()
	rec.endedAs(t, CodeSevered, Severed)
	_ = a.ended(t)
}

func TestHandlerSubprotocolAndDeflate(t *testing.T) {
	r, a, p, rec := served(t, HandlerOptions{Subprotocols: []string{"v2", "v1"}, Compress: true}, "Sec-WebSocket-Protocol: v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n")
	s := <-a.sockets
	if s.SubProtocol() != "v1" {
		t.Errorf("subprotocol %q", s.SubProtocol())
	}
	if err := s.WriteMessage(gws.OpcodeText, bytes.Repeat([]byte("a"), 5000)); err != nil {
		t.Fatal(err)
	}
	if b, err := p.br.ReadByte(); err != nil || b != 0xc1 {
		t.Fatalf("first byte %x, %v, want a compressed text", b, err)
	}
	_, res := r.ask(t, "/", "Sec-WebSocket-Protocol: v3\r\n")
	if res.StatusCode != 101 || res.Header.Get("Sec-WebSocket-Protocol") != "" {
		t.Errorf("answer %s with %q to an unknown subprotocol", res.Status, res.Header.Get("Sec-WebSocket-Protocol"))
	}
	_ = p.Close()
	rec.ended(t)
	if _, out := rec.counts(); out != 1 {
		t.Errorf("%d messages recorded", out)
	}
}
