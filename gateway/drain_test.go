package gateway

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

func TestReloadKeepsLiveSockets(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil))
	client, server, rec := r.connect(t, "/", "")
	other := newBackend(t, nil, nil)
	if err := r.g.Reload(Settings{Pools: []Pool{{ID: "chat", Path: "/", Upstreams: []string{other.url}, MaxConnections: 2}}}); err != nil {
		t.Fatal(err)
	}
	f := frame(true, 0x81, []byte("on"))
	client.send(f)
	server.want(f)
	if _, res := r.ask(t, "/", ""); res.StatusCode != 101 {
		t.Fatalf("answer %s", res.Status)
	}
	select {
	case moved := <-other.conns:
		defer func() { _ = moved.Close() }()
	case <-time.After(5 * time.Second):
		t.Fatal("the new upstream got nothing")
	}
	if _, res := r.ask(t, "/", ""); res.StatusCode != 503 {
		t.Fatalf("answer %s: the live socket was not counted", res.Status)
	}
	if r.g.Reload(Settings{Pools: []Pool{{}}}) == nil {
		t.Fatal("bad settings were taken")
	}
	_, _ = client.Close(), server.Close()
	rec.ended(t)
}

func TestDrain(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil))
	var recs []*record
	for range 20 {
		client, server, rec := r.connect(t, "/", "")
		recs = append(recs, rec)
		go func() { // well-behaved peers: they close when told
			_, _ = io.Copy(io.Discard, client.br)
			_ = client.Close()
		}()
		go func() {
			_, _ = io.Copy(io.Discard, server.br)
			_ = server.Close()
		}()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	begin := time.Now()
	if err := r.g.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d < 700*time.Millisecond || d > 1900*time.Millisecond {
		t.Errorf("drained in %v, want the closes spread over a second", d)
	}
	for _, rec := range recs {
		if rec.closed != 1 || rec.code != CodeGoingAway || rec.why != Drained {
			t.Fatalf("closed %d times, %d %v", rec.closed, rec.code, rec.why)
		}
	}
	if r.g.Ready() {
		t.Error("ready after Drain")
	}
	if _, err := net.Dial("tcp", r.addr); err == nil {
		t.Error("still accepting")
	}
}

// TestDrainCuts: peers that do not close, and a ledger that does not move, hold up
// nothing beyond the deadline.
func TestDrainCuts(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil))
	r.ledger.gate = make(chan struct{})
	client, _, rec := r.connect(t, "/", "")
	client.send(frame(true, 0x81, []byte("waits for ever")))
	eventually(t, "the ledger to block", func() bool { return rec.waiting.Load() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := r.g.Drain(ctx); err == nil {
		t.Error("no error, although a connection was cut")
	}
	if d := time.Since(begin); d > time.Second {
		t.Errorf("drained in %v", d)
	}
	if rec.closed != 1 || rec.why != Drained {
		t.Fatalf("closed %d times, %v", rec.closed, rec.why)
	}
}

func TestSnapshot(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil))
	client, server, rec := r.connect(t, "/", "")
	f := frame(true, 0x81, []byte("x"))
	client.send(f, f, frame(true, 0x89, nil))
	server.want(f, f)
	r.ledger.mu.Lock()
	r.ledger.fail = ErrLedgerFull
	r.ledger.mu.Unlock()
	r.ask(t, "/", "")
	check := func(open int64) {
		t.Helper()
		s := r.g.Snapshot()
		if len(s) != 1 || s[0].Pool != "chat" || s[0].Open != open || s[0].Total != 1 || s[0].Messages != [2]int64{2, 0} || s[0].Controls[In] != 1 || s[0].Refused[RefusedLedger] != 1 {
			t.Fatalf("snapshot %+v", s)
		}
	}
	eventually(t, "the bytes", func() bool { return r.g.Snapshot()[0].Bytes[In] == int64(2*len(f)+6) })
	check(1)
	_, _ = client.Close(), server.Close()
	rec.ended(t)
	eventually(t, "the end", func() bool { return r.g.Snapshot()[0].Open == 0 })
	check(0)
	if r.g.Snapshot()[0].Closed[rec.why] != 1 {
		t.Fatalf("snapshot %+v", r.g.Snapshot())
	}
}
