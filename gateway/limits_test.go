package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// TestTapViolations: the offending frame goes nowhere, both sides get the code.
func TestTapViolations(t *testing.T) {
	ok := frame(true, 0x81, []byte("fine"))
	for _, tt := range conformance {
		if tt.err == 0 {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, newBackend(t, nil, nil))
			client, server, rec := r.connect(t, "/", "")
			all := bytes.Join(tt.frames, nil)
			frames, bad := reference(all, Rules{Masked: true, MaxMessage: 1 << 20, MaxFragments: 1 << 16})
			go func() { _, _ = client.Write(append(bytes.Clone(ok), all...)) }()
			server.want(ok, all[:bad])
			server.wantClose(tt.err.Code())
			_ = server.Close()
			client.wantClose(tt.err.Code())
			_ = client.Close()
			rec.endedAs(t, tt.err.Code(), ViolatedByClient)
			whole := 1
			for _, f := range frames {
				if f.header.Fin && f.header.Opcode < Close {
					whole++
				}
			}
			if in, _ := rec.counts(); in != whole {
				t.Fatalf("%d messages recorded, want %d", in, whole)
			}
		})
	}
}

func TestTapViolationOfUpstream(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil))
	client, server, rec := r.connect(t, "/", "")
	server.send(frame(true, 0x81, []byte("masked")))
	client.wantClose(CodeProtocol)
	server.wantClose(CodeProtocol)
	_, _ = client.Close(), server.Close()
	rec.endedAs(t, CodeProtocol, ViolatedByUpstream)
}

func TestIdleResumeAndTimeout(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil), pooled(func(p *Pool) { p.IdleAfter, p.IdleTimeout = 30*time.Millisecond, 150*time.Millisecond }))
	client, server, rec := r.connect(t, "/", "")
	idled := func() int { rec.mu.Lock(); defer rec.mu.Unlock(); return rec.idled }
	eventually(t, "idled", func() bool { return idled() == 1 })
	ping, text := frame(true, 0x89, nil), frame(true, 0x81, []byte("x"))
	client.send(ping) // keeps the connection, but it stays idle
	server.want(ping)
	if rec.resumed != 0 {
		t.Fatal("a ping resumed the connection")
	}
	client.send(text)
	server.want(text)
	eventually(t, "idled again", func() bool { return idled() == 2 })
	if rec.resumed != 1 {
		t.Fatalf("resumed %d times, want once", rec.resumed)
	}
	client.wantClose(CodeGoingAway)
	server.wantClose(CodeGoingAway)
	_, _ = client.Close(), server.Close()
	rec.endedAs(t, CodeGoingAway, IdleTooLong)
}

func TestTrafficIsNotIdle(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil), pooled(func(p *Pool) { p.IdleAfter, p.IdleTimeout = 300*time.Millisecond, 300*time.Millisecond }))
	client, server, rec := r.connect(t, "/", "")
	text := frame(true, 0x81, []byte("x"))
	for range 40 {
		client.send(text)
		server.want(text)
		time.Sleep(20 * time.Millisecond)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.idled != 0 || rec.closed != 0 {
		t.Fatalf("idled %d times, closed %d %v", rec.idled, rec.code, rec.why)
	}
}

func TestLifetime(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil), pooled(func(p *Pool) { p.MaxLifetime = 60 * time.Millisecond }))
	begin := time.Now()
	client, server, rec := r.connect(t, "/", "")
	client.wantClose(CodeGoingAway)
	server.wantClose(CodeGoingAway)
	if d := time.Since(begin); d < 50*time.Millisecond {
		t.Errorf("closed after %v", d)
	}
	_, _ = client.Close(), server.Close()
	rec.endedAs(t, CodeGoingAway, LivedTooLong)
}

func TestSeverWaitsForTheFrameBoundary(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil))
	client, server, rec := r.connect(t, "/", "")
	f := frame(true, 0x81, []byte("begun before"))
	client.send(f[:10])
	server.want(f[:10])
	rec.conn.Sever()
	rec.conn.Sever() // any number of times
	client.send(f[10:], frame(true, 0x81, []byte("after")))
	server.want(f[10:])
	server.wantClose(CodeSevered)
	client.wantClose(CodeSevered)
	_, _ = client.Close(), server.Close()
	rec.endedAs(t, CodeSevered, Severed)
	if in, _ := rec.counts(); in != 1 {
		t.Fatalf("%d messages recorded, want the one that had begun", in)
	}
}

// TestSeverCutsWhoDoesNotRead: neither a full socket nor a ledger that does not
// move keeps the connection beyond 250 ms.
func TestSeverCutsWhoDoesNotRead(t *testing.T) {
	for _, blocked := range []bool{false, true} {
		r := newRig(t, newBackend(t, nil, nil))
		if blocked {
			r.ledger.gate = make(chan struct{})
		}
		client, server, rec := r.connect(t, "/", "")
		go func() { // the client never reads
			for {
				if _, err := server.Write(frame(false, 0x82, make([]byte, 60000))); err != nil {
					return
				}
			}
		}()
		if blocked {
			client.send(frame(true, 0x81, []byte("waits")))
			eventually(t, "the ledger to block, both ways", func() bool { return rec.waiting.Load() == 2 })
		}
		time.Sleep(100 * time.Millisecond)
		begin := time.Now()
		rec.conn.Sever()
		rec.endedAs(t, CodeSevered, Severed)
		if d := time.Since(begin); d < 200*time.Millisecond || d > 500*time.Millisecond {
			t.Errorf("ledger blocked %v: ended after %v, want about 250 ms", blocked, d)
		}
		if blocked {
			client.wantClose(CodeSevered) // nothing was under way to it
		} else if _, err := io.Copy(io.Discard, client.br); err == nil {
			t.Error("the client saw a clean end: what the kernel held was sent on")
		}
	}
}

func TestSeverDuringTheHandshake(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil))
	r.ledger.sever = true
	_, res := r.ask(t, "/", "")
	if res.StatusCode != http.StatusForbidden {
		t.Fatalf("answer %s, want 403", res.Status)
	}
	r.ledger.last(t).ended(t)
}

// TestBlockedLedgerStopsReading: nothing is forwarded, nothing dropped, and what
// is held is bounded.
func TestBlockedLedgerStopsReading(t *testing.T) {
	gate := make(chan struct{})
	r := newRig(t, newBackend(t, nil, nil), pooled(func(p *Pool) { p.IdleTimeout = 300 * time.Millisecond }))
	r.ledger.gate = gate
	one := frame(true, 0x82, make([]byte, 60_000))
	const n = 2_000 // 120 MB: more than the kernel's own buffers (40 MB)
	sent, all := make(chan error, 1), bytes.Repeat(one, n)
	client, server, rec := r.connect(t, "/", "")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() {
		_, err := client.Write(all)
		sent <- err
	}()
	time.Sleep(time.Second) // far beyond the idle timeout: waiting is not idleness
	runtime.ReadMemStats(&after)
	select {
	case err := <-sent:
		t.Fatalf("120 MB were taken from the client while the ledger was blocked: %v", err)
	default:
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Fatalf("the heap grew by %d bytes", grown)
	}
	if in, _ := rec.counts(); in != 0 {
		t.Fatalf("%d messages recorded", in)
	}
	close(gate)
	for range n {
		server.want(one)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if in, _ := rec.counts(); in != n {
		t.Fatalf("%d messages recorded, want %d", in, n)
	}
}

func TestSlowClient(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil), pooled(func(p *Pool) { p.WriteTimeout = 50 * time.Millisecond }))
	_, server, rec := r.connect(t, "/", "")
	go func() {
		for {
			if _, err := server.Write(frame(false, 0x82, make([]byte, 60000))); err != nil {
				return
			}
		}
	}()
	server.wantClose(CodeTryLater)
	rec.endedAs(t, CodeTryLater, SlowClient)
}

func TestLedgerFailureEndsTheConnection(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil))
	client, server, rec := r.connect(t, "/", "")
	rec.gate = make(chan struct{})
	rec.Interrupt()
	client.send(frame(true, 0x81, []byte("unrecorded")))
	server.wantClose(CodeInternal) // and not the message
	client.wantClose(CodeInternal)
	_, _ = client.Close(), server.Close()
	rec.endedAs(t, CodeInternal, LedgerFailed)
}

func TestLimits(t *testing.T) {
	tests := []struct {
		name   string
		limit  func(*Pool)
		why    Refusal
		status int
	}{
		{"connections", func(p *Pool) { p.MaxConnections = 1 }, RefusedFull, 503},
		{"per address", func(p *Pool) { p.MaxPerAddress = 1 }, RefusedAddress, 429},
		{"rate", func(p *Pool) { p.HandshakesPerSecond = 1 }, RefusedRate, 429},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, newBackend(t, nil, nil), pooled(tt.limit))
			client, server, rec := r.connect(t, "/", "")
			_, res := r.ask(t, "/", "")
			if res.StatusCode != tt.status || r.ledger.refusals(tt.why) != 1 {
				t.Fatalf("answer %s, refused %d times", res.Status, r.ledger.refusals(tt.why))
			}
			_, _ = client.Close(), server.Close()
			rec.ended(t)
			if tt.why == RefusedRate {
				time.Sleep(1100 * time.Millisecond)
			}
			eventually(t, "the place to be free", func() bool {
				_, res := r.ask(t, "/", "")
				return res.StatusCode == 101
			})
		})
	}
}

func TestRecorderRefuses(t *testing.T) {
	for err, status := range map[error]int{ErrKeysUnavailable: 503, ErrErased: 403, ErrLedgerFull: 503, errors.New("other"): 503} {
		r := newRig(t, newBackend(t, nil, nil))
		r.ledger.fail = err
		_, res := r.ask(t, "/", "")
		if res.StatusCode != status {
			t.Errorf("%v: answer %s, want %d", err, res.Status, status)
		}
		select {
		case <-r.backend.heads:
			t.Errorf("%v: the upstream was contacted", err)
		default:
		}
	}
}

// TestPanicEndsOneConnection: a Recorder that panics does not end the process, nor
// another connection.
func TestPanicEndsOneConnection(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil))
	client, server, rec := r.connect(t, "/", "")
	other, otherServer, _ := r.connect(t, "/", "")
	rec.mu.Lock()
	rec.panics = true
	rec.mu.Unlock()
	text := frame(true, 0x81, []byte("x"))
	client.send(text)
	client.wantClose(CodeInternal)
	server.wantClose(CodeInternal)
	_, _ = client.Close(), server.Close()
	rec.endedAs(t, CodeInternal, Panicked)
	other.send(text)
	otherServer.want(text)
}
