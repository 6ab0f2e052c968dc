package esdb

// Faults of the client, each contained.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

// A client whose discovery failed once answers nothing any more, and lets those
// hang who wait for it.
func TestAFailedDiscoveryEndsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, hasty)
	b.server.Stop()
	b.within(12*time.Second, func() {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				_, err := b.store.Append(b.ctx, stream(i), domain.NoStream, sealed(stream(i), 1, 10))
				if !errors.Is(err, domain.ErrUnavailable) {
					b.Errorf("error %v", err)
				}
			})
		}
		wg.Wait()
	})
	if err := b.server.Restart(); err != nil {
		t.Fatal(err)
	}
	es := sealed(testStream, 1, 10)
	b.append(testStream, domain.NoStream, es)
	b.holds(testStream, es)
}

// The client does not look at a context while it looks for its server.
func TestContextsEndCallsToAServerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	inProcess(t)
	server := esdbtest.Start(t, esdbtest.Options{Clock: time.Now})
	server.Freeze()
	s, err := New(quiet(configOf(t, server.URL())))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, server: server, store: s, ctx: t.Context()}
	sub, err := s.SubscribeAll(b.ctx, domain.Start)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func(ctx context.Context) error{
		"append": func(ctx context.Context) error {
			_, err := s.Append(ctx, testStream, -1, sealed(testStream, 1, 1))
			return err
		},
		"last":     func(ctx context.Context) error { _, err := s.Last(ctx, testStream); return err },
		"truncate": func(ctx context.Context) error { return s.Truncate(ctx, stream(1), 1) },
		"delete":   func(ctx context.Context) error { return s.Delete(ctx, stream(2)) },
		"next":     func(ctx context.Context) error { _, err := sub.Next(ctx); return err },
		"scavenge": func(ctx context.Context) error { return s.Scavenge(ctx) },
		"read all": func(ctx context.Context) error {
			for _, err := range s.ReadAll(ctx, domain.Start, eventstore.Forward, 0) {
				return err
			}
			return nil
		},
	} {
		ctx, cancel := context.WithTimeout(b.ctx, 100*time.Millisecond)
		b.within(time.Second, func() {
			err := call(ctx)
			b.Log(name)
			b.unavailable(err)
			b.is(err, context.DeadlineExceeded)
		})
		cancel()
	}
	server.Thaw()
	es := sealed(testStream, 1, 10)
	b.append(testStream, domain.NoStream, es)
	b.holds(testStream, es)
	mustClose(t, s)
}

// A client whose own discovery fails dies under those who wait for it: only one
// ever does.
func TestAClientThatFindsNobodyHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, hasty)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	b.store.leader.mu.Lock()
	b.store.leader.found(nobody.Addr().String())
	b.store.leader.mu.Unlock()
	es := make([][]domain.Sealed, 40)
	var wg sync.WaitGroup
	b.within(12*time.Second, func() {
		for i := range es {
			es[i] = sealed(stream(i), 1, 10)
			wg.Go(func() { b.append(stream(i), domain.NoStream, es[i]) })
		}
		wg.Wait()
	})
	for i := range es {
		b.holds(stream(i), es[i])
	}
}

// A lane knows that its client has a connection by what the client does next. If
// a release of the client did that earlier, lanes would let callers in too soon.
func TestTheClientLooksAtTheDeadlineLast(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	raw, err := client.NewClient(b.store.client(b.server.Address(), Account{}))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	var has atomic.Bool
	b.server.SetHooks(esdbtest.Hooks{Arrived: func(_ context.Context, c esdbtest.Call) error {
		if ok := has.Load(); ok == (c.Method == esdbtest.MethodFeatures) {
			b.Errorf("%s came while the client had its connection: %t", c.Method, ok)
		}
		return nil
	}})
	for name, call := range map[string]func(ctx context.Context) error{
		"append": func(ctx context.Context) error {
			_, err := raw.AppendToStream(ctx, string(testStream), client.AppendToStreamOptions{}, client.EventData{EventType: "t"})
			return err
		},
		"read": func(ctx context.Context) error {
			r, err := raw.ReadStream(ctx, string(testStream), client.ReadStreamOptions{}, 1)
			if err == nil {
				_, _ = r.Recv() // it may be there by now or not
				r.Close()
			}
			return err
		},
		"read all": func(ctx context.Context) error {
			r, err := raw.ReadAll(ctx, client.ReadAllOptions{}, 1)
			if err == nil {
				_, err = r.Recv()
				r.Close()
			}
			return err
		},
		"subscribe": func(ctx context.Context) error {
			s, err := raw.SubscribeToAll(ctx, client.SubscribeToAllOptions{})
			return errors.Join(err, s.Close())
		},
		"tombstone": func(ctx context.Context) error {
			_, err := raw.TombstoneStream(ctx, string(stream(1)), client.TombstoneStreamOptions{})
			return err
		},
	} {
		has.Store(false)
		if err := call(&passing{b.ctx, func() { has.Store(true) }}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !has.Load() {
			t.Errorf("%s: the client never looked", name)
		}
	}
}

// A call that fails retires its client before another caller can make that one look
// for a connection again, which would leave the first one behind.
func TestAFailureRetiresTheClientFirst(t *testing.T) {
	inProcess(t)
	before := goleak.IgnoreCurrent()
	server := esdbtest.Start(t, esdbtest.Options{Clock: time.Now})
	c := quiet(configOf(t, server.URL()))
	hasty(&c)
	s := mustOpen(t, c)
	b := &bench{T: t, server: server, store: s, ctx: t.Context()}
	var n atomic.Int64
	server.SetHooks(esdbtest.Hooks{BeforeCommit: func(context.Context, esdbtest.Call) error {
		if n.Add(1)%40 == 0 {
			return esdbtest.Unavailable()
		}
		return nil
	}})
	var wg sync.WaitGroup
	for w := range callsAtOnce {
		wg.Go(func() {
			for i := range 60 {
				name := stream(1000*w + i)
				_, err := s.Append(b.ctx, name, domain.NoStream, sealed(name, 1, 10))
				if err != nil && !errors.Is(err, domain.ErrUnavailable) {
					b.Errorf("error %v", err)
				}
			}
		})
	}
	wg.Wait()
	mustClose(t, s)
	server.Close()
	goleak.VerifyNone(t, before)
}

// Closing the client while it looks for its server panics in those who wait.
func TestCloseWhileCallersWaitForTheServer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.server.Freeze()
	defer b.server.Thaw()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := b.store.Append(b.ctx, stream(i), domain.NoStream, sealed(stream(i), 1, 10))
			if !errors.Is(err, domain.ErrUnavailable) {
				b.Errorf("error %v", err)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	b.within(b.store.Deadlines.Connect+time.Second, func() { mustClose(t, b.store) })
	wg.Wait()
}

// The client puts requires-leader where nobody reads it.
func TestEveryCallRequiresTheLeader(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var mu sync.Mutex
	seen := map[string]int{}
	b.server.SetHooks(esdbtest.Hooks{Arrived: func(ctx context.Context, c esdbtest.Call) error {
		if c.Method == esdbtest.MethodFeatures { // of whichever node was asked
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		md, _ := metadata.FromIncomingContext(ctx)
		if got := md.Get("requires-leader"); len(got) != 1 || got[0] != "true" {
			b.Errorf("%s came with requires-leader %q", c.Method, got)
		}
		seen[c.Method]++
		return nil
	}})
	b.append(testStream, domain.NoStream, sealed(testStream, 3, 10))
	b.read(testStream)
	for _, dir := range []eventstore.Direction{eventstore.Forward, eventstore.Backward} {
		for _, err := range b.store.ReadAll(b.ctx, map[eventstore.Direction]domain.Position{eventstore.Backward: domain.End}[dir], dir, 0) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	sub, err := b.store.SubscribeStream(b.ctx, testStream, domain.NoStream)
	if err != nil {
		t.Fatal(err)
	}
	b.follow(sub, 0, 3)
	if err := errors.Join(b.store.Truncate(b.ctx, testStream, 1), b.store.Delete(b.ctx, testStream)); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, m := range []string{esdbtest.MethodAppend, esdbtest.MethodRead, esdbtest.MethodSubscribe, esdbtest.MethodTombstone} {
		if seen[m] == 0 {
			t.Errorf("no %s came", m)
		}
	}
}

// When the server refuses an append before all of it is sent, the client loses why
// and tells of the end of a file.
func TestALostStatusIsAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var tries tally
	refuse := esdbtest.Times(1, esdbtest.MethodAppend, func(context.Context, esdbtest.Call) error {
		return status.Error(codes.InvalidArgument, "something that is over soon")
	})
	b.server.SetHooks(esdbtest.Hooks{Arrived: both(tries.hook(esdbtest.MethodAppend), refuse)})
	es := sealed(testStream, 800, 1000)
	b.append(testStream, domain.NoStream, es)
	b.settledLate(&tries, 2)
	b.holds(testStream, es)
}

// The client's own FromError sees only the outermost error, and its codes hide
// what the status says.
func TestErrorsAreReadThroughTheirWrapping(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	raw, err := client.NewClient(b.store.client(b.server.Address(), Account{}))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	b.append(testStream, domain.NoStream, sealed(testStream, 1, 10))
	b.append(stream(1), domain.NoStream, sealed(stream(1), 1, 10))
	if err := b.store.Delete(b.ctx, testStream); err != nil {
		t.Fatal(err)
	}
	_, onDeleted := raw.TombstoneStream(b.ctx, string(testStream), client.TombstoneStreamOptions{})
	_, onWrong := raw.TombstoneStream(b.ctx, string(stream(1)), client.TombstoneStreamOptions{ExpectedRevision: client.Revision(9)})
	_, onAppend := raw.AppendToStream(b.ctx, string(stream(1)), client.AppendToStreamOptions{ExpectedRevision: client.Revision(9)}, client.EventData{EventType: "t"})
	read, err := raw.ReadStream(b.ctx, string(stream(2)), client.ReadStreamOptions{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, onAbsent := read.Recv()
	for name, c := range map[string]struct {
		err  error
		want verdict
	}{
		"a deleted stream":               {onDeleted, deleted},
		"a deletion at a wrong revision": {onWrong, unknown},
		"an append at a wrong revision":  {onAppend, wrongRevision},
		"a stream that is not there":     {onAbsent, absent},
		"a status named not found":       {status.Error(codes.NotFound, "Leader info available"), unknown},
		"a wrong password":               {status.Error(codes.Unauthenticated, "no"), denied},
		"a size that is too large":       {status.Error(codes.InvalidArgument, "Maximum Append Size of 1 Exceeded."), tooLarge},
		"another invalid argument":       {status.Error(codes.InvalidArgument, "what"), unknown},
		"nothing":                        {nil, answered},
		"a contradiction":                {contradiction{3}, unknown},
	} {
		if got := judge(c.err); got != c.want {
			t.Errorf("%s (%v): verdict %d, want %d", name, c.err, got, c.want)
		}
		if c.err == nil {
			continue
		}
		if got := judge(fmt.Errorf("wrapped: %w", errors.Join(c.err))); got != c.want {
			t.Errorf("%s, wrapped: verdict %d, want %d", name, got, c.want)
		}
	}
}

// A node that knows of no leader's address answers NotFound, and the client tells
// the same code for a stream that is not there.
func TestANodeThatDoesNotLeadIsNotAnAbsentStream(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	es := sealed(testStream, 2, 10)
	b.append(testStream, domain.NoStream, es)
	b.server.SetHooks(esdbtest.Hooks{Arrived: esdbtest.Times(2, esdbtest.MethodRead, func(ctx context.Context, _ esdbtest.Call) error {
		if err := grpc.SetTrailer(ctx, metadata.Pairs("exception", "not-leader")); err != nil {
			return err
		}
		return status.Error(codes.NotFound, "Leader info available")
	})})
	b.holds(testStream, es)
	if last, err := b.store.Last(b.ctx, testStream); err != nil || last != 1 {
		t.Fatalf("last %d, %v", last, err)
	}
}

// A server that calls a stream deleted without naming it makes the client panic.
func TestAPanicInTheClientIsAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	b := newBench(t, hasty)
	nameless := func(ctx context.Context, c esdbtest.Call) error {
		if c.Method == esdbtest.MethodFeatures {
			return nil
		}
		if err := grpc.SetTrailer(ctx, metadata.Pairs("exception", "stream-deleted")); err != nil {
			return err
		}
		return status.Error(codes.FailedPrecondition, "deleted")
	}
	b.server.SetHooks(esdbtest.Hooks{Arrived: nameless})
	_, err := b.store.Append(b.ctx, testStream, domain.NoStream, sealed(testStream, 1, 10))
	b.unavailable(err)
	b.is(err, errPanic)
	_, err = b.store.Last(b.ctx, testStream)
	b.unavailable(err)
	sub, err := b.store.SubscribeAll(b.ctx, domain.Start)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sub.Next(b.ctx)
	b.unavailable(err)
	b.server.SetHooks(esdbtest.Hooks{})
	b.append(testStream, domain.NoStream, sealed(testStream, 1, 10))
}

// What the client would send with an id of its own making, or answer wrongly, or
// the server refuse, never leaves the process.
func TestNothingIsSentOfAnInvalidAppend(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var tries tally
	b.server.SetHooks(esdbtest.Hooks{Arrived: tries.hook(esdbtest.MethodAppend)})
	for name, a := range map[string]struct {
		eventstore.Append
		want error
	}{
		"no events":          {eventstore.Append{Stream: testStream, Expected: -1}, eventstore.ErrInvalid},
		"no id":              {eventstore.Append{Stream: testStream, Expected: -1, Events: []domain.Sealed{domain.NewSealed(domain.EventID{}, testStream, "a.b.v1", nil, nil)}}, eventstore.ErrInvalid},
		"any revision":       {eventstore.Append{Stream: testStream, Expected: -2, Events: sealed(testStream, 1, 1)}, eventstore.ErrInvalid},
		"more than 900 kB":   {eventstore.Append{Stream: testStream, Expected: -1, Events: sealed(testStream, 3, 310_000)}, eventstore.ErrTooLarge},
		"another's stream":   {eventstore.Append{Stream: "other.a", Expected: -1, Events: sealed("other.a", 1, 1)}, eventstore.ErrInvalid},
		"a system stream":    {eventstore.Append{Stream: "$lethe.a", Expected: -1, Events: sealed("$lethe.a", 1, 1)}, eventstore.ErrInvalid},
		"the prefix, a name": {eventstore.Append{Stream: "lethe.", Expected: -1, Events: sealed("lethe.", 1, 1)}, eventstore.ErrInvalid},
	} {
		_, err := b.store.Append(b.ctx, a.Stream, a.Expected, a.Events)
		if !errors.Is(err, a.want) {
			t.Errorf("%s: %v, want %v", name, err, a.want)
		}
	}
	if n := len(tries.all()); n != 0 {
		t.Errorf("%d appends were sent", n)
	}
	b.append(testStream, domain.NoStream, sealed(testStream, 2, 440_000))
}

// The client leaves the connection behind that it replaces, and the goroutines of
// reads that nobody closed.
func TestNothingIsLeftBehind(t *testing.T) {
	inProcess(t)
	before := goleak.IgnoreCurrent()
	server := esdbtest.Start(t, esdbtest.Options{Clock: time.Now})
	c := quiet(configOf(t, server.URL()))
	hasty(&c)
	s := mustOpen(t, c)
	b := &bench{T: t, server: server, store: s, ctx: t.Context()}
	b.append(testStream, domain.NoStream, sealed(testStream, 600, 10))
	for range 5 {
		for range 50 {
			for _, err := range s.ReadStream(b.ctx, testStream, 0, eventstore.Forward, 0) {
				b.is(err, nil)
				break
			}
			for _, err := range s.ReadAll(b.ctx, domain.Start, eventstore.Forward, 0) {
				b.is(err, nil)
				break
			}
		}
		sub, err := s.SubscribeAll(b.ctx, domain.Start)
		if err != nil {
			t.Fatal(err)
		}
		b.follow(sub, 0, 10)
		if err := sub.Close(); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 32 { // they meet the restart
			wg.Go(func() {
				_, _ = s.Append(b.ctx, stream(i), domain.NoStream, sealed(stream(i), 1, 10))
			})
		}
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	}
	mustClose(t, s)
	server.Close()
	goleak.VerifyNone(t, before)
}

// The server lets the 101st call of a connection wait in silence, and subscriptions
// count.
func TestNoConnectionCarriesAHundredCalls(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 60 {
		sub, err := b.store.SubscribeAll(b.ctx, domain.End)
		if err != nil {
			t.Fatal(err)
		}
		b.caughtUp(sub)
	}
	var byPeer sync.Map
	var all peak
	b.server.SetHooks(esdbtest.Hooks{BeforeCommit: func(ctx context.Context, _ esdbtest.Call) error {
		p, _ := byPeer.LoadOrStore(peerOf(ctx), &peak{})
		p.(*peak).in()
		all.in()
		time.Sleep(20 * time.Millisecond)
		all.out()
		p.(*peak).out()
		return nil
	}})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() { b.append(stream(i), domain.NoStream, sealed(stream(i), 1, 10)) })
	}
	b.within(5*time.Second, func() { b.holds(testStream, nil) }) // reads have connections of their own
	wg.Wait()
	byPeer.Range(func(peer, p any) bool {
		if most := p.(*peak).most.Load(); most > callsAtOnce {
			t.Errorf("%d calls at once from %s", most, peer)
		}
		return true
	})
	if most := all.most.Load(); most < 8 || most > 2*callsAtOnce {
		t.Errorf("%d appends at once, want some and 64 at most", most)
	}
}

// More subscriptions than there is room for are refused, and not queued for ever.
func TestTooManySubscriptions(t *testing.T) {
	t.Parallel()
	b := newBench(t, lone)
	var subs []eventstore.Subscription
	for range 4 {
		sub, err := b.store.SubscribeAll(b.ctx, domain.End)
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	_, err := b.store.SubscribeAll(b.ctx, domain.End)
	b.unavailable(err)
	if err := subs[0].Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); err != nil; time.Sleep(time.Millisecond) {
		if _, err = b.store.SubscribeAll(b.ctx, domain.End); time.Now().After(deadline) {
			t.Fatal("no room after one was closed")
		}
	}
}

func TestAnOldServerIsRefused(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{"23.10.7": false, "22.10.9": false, "5.0.8": false, "23.10": false, "23.10.8": true, "23.10.8.0": true, "23.11.0": true, "24.2.0": true, "26.0.1": true, "": false, "x": false} {
		if recent(version) != ok {
			t.Errorf("version %q: %t", version, !ok)
		}
	}
	server := esdbtest.Start(t, esdbtest.Options{Clock: time.Now, Version: "23.10.7"})
	_, err := Open(t.Context(), quiet(configOf(t, server.URL())))
	if !errors.Is(err, ErrVersion) || !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("opened on 23.10.7: %v", err)
	}
}
