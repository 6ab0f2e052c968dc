package esdb

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

// TestMain makes fewer draws of the model than usual, since each reads the whole
// log over the wire, and lets more tests wait at once than there are processors.
func TestMain(m *testing.M) {
	if err := errors.Join(flag.Set("rapid.checks", "15"), flag.Set("test.parallel", "12")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// A bench is one test's server and store.
type bench struct {
	*testing.T
	server *esdbtest.Server
	store  *Store
	ctx    context.Context
}

// newBench has a server of its own, which the test may disturb. With a real server
// given, the tests that do are skipped.
func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	inProcess(t)
	return newBenchOn(t, esdbtest.Start(t, esdbtest.Options{Clock: time.Now}), change...)
}

func inProcess(t *testing.T) {
	t.Helper()
	if os.Getenv(realServer) != "" {
		t.Skip("stops or disturbs its server, or needs one of its own")
	}
}

// onAny has the real server, if there is one: the test uses streams of its own.
func onAny(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	if url := os.Getenv(realServer); url != "" {
		return benchAt(t, url, change...)
	}
	return newBench(t, change...)
}

// own is a stream that nobody else has.
func own() domain.Stream { return domain.Stream("lethe.main.messages-0-1-" + uuid.NewString()) }

func newBenchOn(t *testing.T, server *esdbtest.Server, change ...func(*Config)) *bench {
	t.Helper()
	b := benchAt(t, server.URL(), change...)
	b.server = server
	return b
}

func benchAt(t *testing.T, url string, change ...func(*Config)) *bench {
	t.Helper()
	c := quiet(configOf(t, url))
	for _, f := range change {
		f(&c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	t.Cleanup(cancel)
	b := &bench{T: t, store: mustOpen(t, c), ctx: ctx}
	t.Cleanup(func() { mustClose(t, b.store) })
	return b
}

// lone keeps one connection of each kind.
func lone(c *Config) { c.Connections = Connections{Append: 1, Read: 1, Subscribe: 4, Dispose: 1} }

// hasty gives up soon.
func hasty(c *Config) {
	c.Deadlines = Deadlines{Connect: 2 * time.Second, Attempt: 2 * time.Second, Settle: 2500 * time.Millisecond, Read: 2 * time.Second, Resubscribe: time.Second}
}

const testStream domain.Stream = "lethe.main.messages-0-1-a"

func sealed(s domain.Stream, n, size int) []domain.Sealed {
	out := make([]domain.Sealed, n)
	for i := range out {
		out[i] = domain.NewSealed(domain.EventID(uuid.New()), s, "traffic.recorded.v1", []byte(`{"v":1}`), make([]byte, size))
	}
	return out
}

func (b *bench) append(s domain.Stream, at domain.Revision, es []domain.Sealed) eventstore.Appended {
	b.Helper()
	a, err := b.store.Append(b.ctx, s, at, es)
	if err != nil {
		b.Fatalf("append at %d: %v", at, err)
	}
	return a
}

// holds asks that a stream holds exactly es.
func (b *bench) holds(s domain.Stream, es []domain.Sealed) {
	b.Helper()
	got := b.read(s)
	if len(got) != len(es) {
		b.Fatalf("%d events in %s, want %d", len(got), s, len(es))
	}
	for i, e := range got {
		if e.ID() != es[i].ID() || e.Revision != domain.Revision(i) {
			b.Fatalf("event %d of %s is %s, want %s", i, s, e.ID(), es[i].ID())
		}
	}
}

func (b *bench) read(s domain.Stream) (out []domain.Recorded) {
	b.Helper()
	for e, err := range b.store.ReadStream(b.ctx, s, 0, eventstore.Forward, 0) {
		if err != nil {
			b.Fatalf("read %s: %v", s, err)
		}
		out = append(out, e)
	}
	return out
}

func (b *bench) unavailable(err error) {
	b.Helper()
	var wrong *eventstore.WrongRevision
	if !errors.Is(err, domain.ErrUnavailable) || errors.As(err, &wrong) || errors.Is(err, eventstore.ErrDeleted) {
		b.Fatalf("error %v, want an unavailability and nothing else", err)
	}
}

func (b *bench) is(err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Fatalf("error %v, want %v", err, want)
	}
}

// within asks that f returns in time.
func (b *bench) within(d time.Duration, f func()) {
	b.Helper()
	begin := time.Now()
	f()
	if took := time.Since(begin); took > d {
		b.Fatalf("took %s, want %s at most", took, d)
	}
}

func (b *bench) next(s eventstore.Subscription) eventstore.Delivery {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	d, err := s.Next(ctx)
	if err != nil {
		b.Fatalf("next: %v", err)
	}
	return d
}

func (b *bench) caughtUp(s eventstore.Subscription) {
	b.Helper()
	if d := b.next(s); !d.CaughtUp {
		b.Fatalf("event %d of %s, want the news of having caught up", d.Event.Revision, d.Event.Stream())
	}
}

// follow takes n events, in order and without a gap from revision first of one
// stream.
func (b *bench) follow(s eventstore.Subscription, first domain.Revision, n int) {
	b.Helper()
	for want := first; want < first+domain.Revision(n); {
		d := b.next(s)
		if d.CaughtUp {
			continue
		}
		if d.Event.Revision != want {
			b.Fatalf("revision %d, want %d", d.Event.Revision, want)
		}
		want++
	}
}

// A tally counts the calls of one method, and when they came.
type tally struct {
	mu    sync.Mutex
	times []time.Time
}

func (t *tally) hook(method string) func(context.Context, esdbtest.Call) error {
	return func(_ context.Context, c esdbtest.Call) error {
		if c.Method == method {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.times = append(t.times, time.Now())
		}
		return nil
	}
}

func (t *tally) all() []time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]time.Time(nil), t.times...)
}

// settledLate asks that exactly n tries came, three seconds apart at least.
func (b *bench) settledLate(t *tally, n int) {
	b.Helper()
	times := t.all()
	if len(times) != n {
		b.Fatalf("%d tries, want %d", len(times), n)
	}
	for i := 1; i < n; i++ {
		if gap := times[i].Sub(times[i-1]); gap < settleAfter {
			b.Fatalf("repeated after %s, want %s at least", gap, settleAfter)
		}
	}
}

// both runs hooks one after the other until one objects.
func both(hooks ...func(context.Context, esdbtest.Call) error) func(context.Context, esdbtest.Call) error {
	return func(ctx context.Context, c esdbtest.Call) error {
		for _, h := range hooks {
			if err := h(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
}

// peak counts how many are inside at once.
type peak struct{ now, most atomic.Int64 }

func (p *peak) in() {
	n := p.now.Add(1)
	for most := p.most.Load(); n > most && !p.most.CompareAndSwap(most, n); most = p.most.Load() {
	}
}
func (p *peak) out() { p.now.Add(-1) }

func stream(n int) domain.Stream {
	return domain.Stream(fmt.Sprintf("%s%d", strings.TrimSuffix(string(testStream), "a"), n))
}

// notLeader names the server itself as the leader: the client goes there at once,
// and leaves a connection behind where it finds nobody (doc.go).
func (b *bench) notLeader() error {
	host, port, err := net.SplitHostPort(b.server.Address())
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		b.Fatal(err)
	}
	return esdbtest.NotLeader(host, n)
}
