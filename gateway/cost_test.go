package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// pumped is a tap with its upstream's socket drained, and no pump running: the
// test calls the inner step itself.
func pumped(t testing.TB) *half {
	t.Helper()
	g, err := New(Config{Recorder: Unrecorded{}, Clock: time.Now}, Settings{Pools: []Pool{{ID: "p", Path: "/", Upstreams: []string{"ws://127.0.0.1:1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	client, _ := tcpPair(t)
	upstream, far := tcpPair(t)
	go func() { _, _ = io.Copy(io.Discard, far) }()
	c := &tap{}
	c.g, c.route = g, g.table.Load().routes[0]
	c.rec, _ = Unrecorded{}.Admit(context.Background(), Identity{}, Connection{})
	r := Rules{MaxMessage: 1 << 20, MaxFragments: 1 << 16}
	c.halves[Out].init(c, Out, upstream, client, r)
	r.Masked = true
	c.halves[In].init(c, In, client, upstream, r)
	c.body = c
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = g.Drain(ctx)
	})
	return &c.halves[In]
}

func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

// load puts bytes where the next chunk looks for them.
func (h *half) load(b []byte) int {
	h.got = h.buffers.Get().(*buffer)
	return copy(h.got.bytes[maxCarry:], b)
}

func TestPumpAllocatesNothing(t *testing.T) {
	h := pumped(t)
	one := bytes.Join([][]byte{frame(true, 0x01, make([]byte, 60)), frame(true, 0x89, nil), frame(true, 0x80, make([]byte, 68))}, nil)
	h.chunk(h.load(one))
	if n := testing.AllocsPerRun(2000, func() { h.chunk(h.load(one[:70])); h.giveBack(); h.chunk(h.load(one[70:])); h.giveBack() }); n != 0 {
		t.Fatalf("%v allocations a message", n)
	}
	if got := h.s.messages[In].Load(); got < 2000 {
		t.Fatalf("%d messages pumped", got)
	}
}

// BenchmarkPump is the inner step with its write, on one read's worth of messages
// of 128 bytes each.
func BenchmarkPump(b *testing.B) {
	for _, depth := range []int{1, 16} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			h := pumped(b)
			p := bytes.Repeat(frame(true, 0x82, make([]byte, 128)), depth)
			b.ReportAllocs()
			for b.Loop() {
				h.chunk(h.load(p))
				h.giveBack()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*depth), "ns/message")
		})
	}
}

// BenchmarkWalker is the walker alone.
func BenchmarkWalker(b *testing.B) {
	p := bytes.Repeat(frame(true, 0x82, make([]byte, 128)), 16)
	w := NewWalker(Rules{Masked: true, MaxMessage: 1 << 20, MaxFragments: 1 << 16})
	b.ReportAllocs()
	for b.Loop() {
		for at, ok := 0, true; ok; {
			var n int
			n, _, ok, _ = w.Next(p[at:])
			at += n
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*16), "ns/message")
}

// TestIdleMemory bounds what an idle proxied connection costs the process that
// serves it: both sockets and both goroutines. The peers live in the parent.
// GATEWAY_IDLE sets how many connections; 5000 is the figure to report.
func TestIdleMemory(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("GATEWAY_IDLE"))
	if err != nil {
		n = 500
	}
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = upstream.Close() }()
	go answerAll(upstream)
	c := startChild(t, "tap", upstream.Addr().String())
	open(t, c.addr, 50) // pools and maps are there
	before := c.rss(t)
	open(t, c.addr, n)
	per := float64(c.rss(t)-before) / float64(n)
	t.Logf("%d idle connections: %.1f KiB RSS each", n, per)
	if per > 14 && n >= 500 && !race {
		t.Errorf("%.1f KiB RSS for an idle connection, the aim is 14", per)
	}
}

// answerAll is an upstream that accepts and stays silent.
func answerAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			p := make([]byte, 2048)
			if _, err := c.Read(p); err == nil {
				_, _ = io.WriteString(c, accepted(""))
			}
		}()
	}
}

// open makes n connections that live as long as the test.
func open(t *testing.T, addr string, n int) {
	t.Helper()
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range n / 10 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { _ = c.Close() })
				_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n", testKey)
				p := make([]byte, 2048)
				if got, err := c.Read(p); err != nil || !strings.Contains(string(p[:got]), " 101 ") {
					t.Errorf("answer %q, %v", p[:got], err)
					return
				}
			}
		})
	}
	all.Wait()
}

// rss is the child's resident memory in KiB, after it gave back what it can.
func (c *childProcess) rss(t *testing.T) int {
	t.Helper()
	if _, err := io.WriteString(c.in, "free\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		t.Skip("no /proc")
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}
