package esdb

// What the server does with appends, and what becomes of their outcome.

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

func peerOf(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	return p.Addr.String()
}

// An append whose answer was lost, or that was lost itself, is repeated as it was,
// and not before the server would drop it.
func TestAnUnknownOutcomeIsSettledByTheSameAppend(t *testing.T) {
	t.Parallel()
	closed := func(context.Context, esdbtest.Call) error { return esdbtest.ErrCloseConnection }
	for name, hooks := range map[string]esdbtest.Hooks{
		"applied, connection closed": {AfterCommit: esdbtest.Times(1, esdbtest.MethodAppend, closed)},
		"applied, aborted":           {AfterCommit: esdbtest.Times(1, esdbtest.MethodAppend, esdbtest.Answer(esdbtest.Aborted()))},
		"applied, unavailable":       {AfterCommit: esdbtest.Times(1, esdbtest.MethodAppend, esdbtest.Answer(esdbtest.Unavailable()))},
		"applied, canceled":          {AfterCommit: esdbtest.Times(1, esdbtest.MethodAppend, esdbtest.Answer(status.Error(codes.Canceled, "reconnect")))},
		"applied, hanging":           {AfterCommit: esdbtest.Times(1, esdbtest.MethodAppend, esdbtest.Hang)},
		"lost, connection closed":    {BeforeCommit: esdbtest.Times(1, esdbtest.MethodAppend, closed)},
		"lost, aborted":              {BeforeCommit: esdbtest.Times(1, esdbtest.MethodAppend, esdbtest.Answer(esdbtest.Aborted()))},
		"lost, no leader":            {BeforeCommit: esdbtest.Times(1, esdbtest.MethodAppend, esdbtest.Answer(esdbtest.NoLeader()))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			var tries tally
			hooks.Arrived = tries.hook(esdbtest.MethodAppend)
			b.server.SetHooks(hooks)
			es := sealed(testStream, 3, 10)
			b.append(testStream, domain.NoStream, es)
			b.settledLate(&tries, 2)
			b.holds(testStream, es)
		})
	}
}

// Who has less time than the wait is told at once, and the outcome stays unknown.
func TestAShortContextIsNotWaitedOut(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.server.SetHooks(esdbtest.Hooks{AfterCommit: esdbtest.Times(1, esdbtest.MethodAppend, esdbtest.Answer(esdbtest.Aborted()))})
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Second)
	defer cancel()
	es := sealed(testStream, 1, 10)
	b.within(time.Second, func() {
		_, err := b.store.Append(ctx, testStream, domain.NoStream, es)
		b.unavailable(err)
	})
	b.append(testStream, domain.NoStream, es) // the caller settles it
	b.holds(testStream, es)
}

// A server that is away is waited for; nothing was sent, so nothing has to be left
// alone.
func TestAnAppendWaitsForItsServer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.server.Stop()
	time.AfterFunc(time.Second, func() {
		if err := b.server.Restart(); err != nil {
			b.Error(err)
		}
	})
	es := sealed(testStream, 1, 10)
	b.append(testStream, domain.NoStream, es)
	b.holds(testStream, es)
}

// The server drops an append that equals one in flight, and does not answer it.
func TestEqualAppendsAreNeverInFlightTogether(t *testing.T) {
	t.Parallel()
	inProcess(t)
	b := newBenchOn(t, esdbtest.Start(t, esdbtest.Options{Clock: time.Now, CommitDelay: 30 * time.Millisecond}))
	es := sealed(testStream, 2, 10)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { b.append(testStream, domain.NoStream, es) })
	}
	wg.Wait()
	if n := b.server.Cluster().Dropped(); n != 0 {
		t.Errorf("%d appends were dropped", n)
	}
	b.holds(testStream, es)
}

// A node that knows the leader sends callers there and has done nothing. (Where the
// client loses that answer, the outcome is unknown for three seconds.)
func TestNotTheLeaderIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.server.SetHooks(esdbtest.Hooks{Arrived: esdbtest.Times(2, esdbtest.MethodAppend, esdbtest.Answer(b.notLeader()))})
	es := sealed(testStream, 1, 10)
	b.within(3*settleAfter, func() { b.append(testStream, domain.NoStream, es) })
	b.holds(testStream, es)
}

// A deposed leader refuses an append because of events that nobody else has and
// that it loses: the refusal is not believed once the stream says otherwise.
func TestARefusalThatTheStreamContradicts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.server.Phantoms(string(testStream), 2)
	b.server.SetHooks(esdbtest.Hooks{Arrived: func(_ context.Context, c esdbtest.Call) error {
		if c.Method == esdbtest.MethodRead {
			b.server.CatchUp()
		}
		return nil
	}})
	es := sealed(testStream, 1, 10)
	b.append(testStream, domain.NoStream, es)
	b.holds(testStream, es)
}

// A reader at the head can see a part of a batch for a moment; nothing is decided
// by that.
func TestAPartOfABatchAtTheHead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.server.SetHooks(esdbtest.Hooks{Shown: func(esdbtest.Call) int { return 1 }})
	es := sealed(testStream, 3, 10)
	b.append(testStream, domain.NoStream, es)
	b.server.SetHooks(esdbtest.Hooks{})
	b.holds(testStream, es[:1])
	time.AfterFunc(time.Second, b.server.ShowAll)
	_, err := b.store.Append(b.ctx, testStream, 0, sealed(testStream, 1, 10))
	var wrong *eventstore.WrongRevision
	if !errors.As(err, &wrong) || wrong.Actual != 2 || wrong.Expected != 0 || errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("%v, want the revision behind the whole batch", err)
	}
	b.holds(testStream, es)
}

// A repetition of events that were truncated since is answered without a position;
// zero is not one.
func TestARepetitionWithoutAPosition(t *testing.T) {
	t.Parallel()
	b, testStream := onAny(t), own()
	es := sealed(testStream, 4, 10)
	first := b.append(testStream, domain.NoStream, es[:2])
	b.append(testStream, 1, es[2:])
	if first.Position == domain.Start {
		t.Fatal("the first answer has no position")
	}
	if err := b.store.Truncate(b.ctx, testStream, 3); err != nil {
		t.Fatal(err)
	}
	again := b.append(testStream, domain.NoStream, es[:2])
	if again.Revision != 1 || again.Position != domain.Start {
		t.Fatalf("answered %+v", again)
	}
}

// Connections break under load: everything stands once, in order.
func TestReconnectsUnderLoad(t *testing.T) {
	t.Parallel()
	inProcess(t)
	b := newBenchOn(t, esdbtest.Start(t, esdbtest.Options{Clock: time.Now, CommitDelay: time.Millisecond}))
	const writers, each = 8, 60
	var wg sync.WaitGroup
	all := make([][]domain.Sealed, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				es := sealed(stream(w), 2, 10)
				b.append(stream(w), domain.Revision(2*i-1), es)
				all[w] = append(all[w], es...)
			}
		})
	}
	for _, disturb := range []func(){b.server.Disconnect, b.server.GoAway, b.restart, b.server.Disconnect} {
		time.Sleep(30 * time.Millisecond)
		disturb()
	}
	wg.Wait()
	for w := range writers {
		b.holds(stream(w), all[w])
	}
}

func (b *bench) restart() {
	if err := b.server.Restart(); err != nil {
		b.Error(err)
	}
}

// Deleting is repeated as well, and the tombstone stands once.
func TestALostAnswerToADeletion(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.append(testStream, domain.NoStream, sealed(testStream, 1, 10))
	b.server.SetHooks(esdbtest.Hooks{AfterCommit: esdbtest.Times(1, esdbtest.MethodTombstone, esdbtest.Answer(esdbtest.Aborted()))})
	if err := b.store.Delete(b.ctx, testStream); err != nil {
		t.Fatal(err)
	}
	n := 0
	for e, err := range b.store.ReadAll(b.ctx, domain.Start, eventstore.Forward, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type() == eventstore.DeletedType {
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%d tombstones", n)
	}
}
