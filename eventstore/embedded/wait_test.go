package embedded

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// heldStore has a store whose log syncs wait until release is called.
func heldStore(t *testing.T, opt Options) (s *Store, release func()) {
	t.Helper()
	ffs := &faultFS{FS: vfs.NewMem()}
	opt.FS = ffs
	s = mustOpen(t, "store", opt)
	fill(t, s, "lethe.test.a", 3)
	hold := make(chan struct{})
	ffs.hold(hold)
	return s, func() { close(hold) }
}

// TestUnsyncedIsUnseen asks that no reader is shown an event before it is durable,
// although the engine has it.
func TestUnsyncedIsUnseen(t *testing.T) {
	s, release := heldStore(t, Options{})
	sub, err := s.SubscribeAll(t.Context(), at(3))
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan eventstore.Delivery, 1)
	if d, err := sub.Next(t.Context()); err != nil || !d.CaughtUp {
		t.Fatal(d, err)
	}
	go func() {
		if d, err := sub.Next(t.Context()); err == nil {
			next <- d
		}
	}()
	answered := make(chan error, 1)
	e := sample("lethe.test.a", 10)
	go func() {
		_, err := s.Append(t.Context(), e.Stream(), 2, []domain.Sealed{e})
		answered <- err
	}()
	for start := time.Now(); count(t, s, kindLog) != 4; time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the engine never got the event")
		}
	}
	if last, err := s.Last(t.Context(), "lethe.test.a"); err != nil || last != 2 {
		t.Fatalf("last %d, %v", last, err)
	}
	inStream := collect(t, s.ReadStream(t.Context(), "lethe.test.a", eventstore.LastRevision, eventstore.Backward, 0))
	inLog := collect(t, s.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0))
	if len(inStream) != 3 || len(inLog) != 3 || len(next) != 0 || len(answered) != 0 {
		t.Fatalf("%d events in the stream, %d in the log, delivered %d, answered %d", len(inStream), len(inLog), len(next), len(answered))
	}
	release()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if d := <-next; d.Event.ID() != e.ID() {
		t.Fatalf("delivered %+v", d)
	}
	mustClose(t, s)
}

// TestContextEnds ends contexts while the log is stuck: an append that was taken
// is of unknown outcome and is settled later, one that still waited is not there.
func TestContextEnds(t *testing.T) {
	s, release := heldStore(t, Options{Queue: 1})
	appendFor := func(stream domain.Stream) chan error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		answered := make(chan error, 1)
		e := sample(stream, 10)
		go func() {
			defer cancel()
			_, err := s.Append(ctx, e.Stream(), domain.NoStream, []domain.Sealed{e})
			answered <- err
		}()
		return answered
	}
	first := appendFor("lethe.test.first")
	for count(t, s, kindLog) != 4 { // it is in the group that is being synced
		time.Sleep(time.Millisecond)
	}
	var rest []chan error
	for range 5 {
		rest = append(rest, appendFor("lethe.test.rest"))
	}
	for _, answered := range append(rest, first) {
		if err := <-answered; !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, domain.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	release()
	if err := s.Delete(t.Context(), "lethe.test.other"); err != nil { // behind all of them
		t.Fatal(err)
	}
	if last, err := s.Last(t.Context(), "lethe.test.first"); err != nil || last != 0 {
		t.Fatalf("last %d, %v", last, err)
	}
	mustClose(t, s)
}

// TestCloseAnswers closes a store while appends are in the group that is being
// synced, in the next one and in the queue: all are answered and stored.
func TestCloseAnswers(t *testing.T) {
	s, release := heldStore(t, Options{})
	answered := make(chan error, 20)
	for i := range cap(answered) {
		e := sample(domain.Stream(fmt.Sprint("lethe.test.s", i)), 10)
		go func() {
			_, err := s.Append(t.Context(), e.Stream(), domain.NoStream, []domain.Sealed{e})
			answered <- err
		}()
	}
	for start := time.Now(); count(t, s, kindLog) == 3; time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the engine never got an event")
		}
	}
	time.Sleep(20 * time.Millisecond)
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	time.Sleep(20 * time.Millisecond)
	if len(answered) != 0 || len(closed) != 0 {
		t.Fatalf("%d answered, %d closed before anything was durable", len(answered), len(closed))
	}
	release()
	for range cap(answered) {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, "store", Options{FS: s.opt.FS})
	defer mustClose(t, s)
	if n := count(t, s, kindLog); n != 3+cap(answered) {
		t.Fatalf("%d events", n)
	}
}

// TestOtherLayout asks that a directory of a layout that this release does not
// know is refused and left as it is.
func TestOtherLayout(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "store", Options{FS: fs})
	if err := s.db.Set(formatKey(), []byte("2"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	for range 2 {
		_, err := Open("store", Options{FS: fs, Clock: time.Now})
		if !errors.Is(err, eventstore.ErrDamaged) || !strings.Contains(err.Error(), `layout "2"`) {
			t.Fatal(err)
		}
	}
}

// TestWithdraw takes a job back before the sequencer sees it, and tries to after.
func TestWithdraw(t *testing.T) {
	j, placed := newJob(nil), false
	if !j.withdraw() {
		t.Fatal("a job that waits cannot be taken back")
	}
	j.take(func() { placed = true })
	if placed {
		t.Fatal("a job that was taken back is placed")
	}
	j = newJob(nil)
	j.take(func() { placed = true })
	if !placed || j.withdraw() {
		t.Fatalf("placed %t, and taken back", placed)
	}
}

// TestPositions asks what ReadAll and SubscribeAll say to positions that no event
// had.
func TestPositions(t *testing.T) {
	s := mustOpen(t, "store", Options{FS: vfs.NewMem()})
	defer mustClose(t, s)
	fill(t, s, "lethe.test.a", 3)
	for _, p := range []domain.Position{at(4), {Commit: 2, Prepare: 1}, {Commit: 0, Prepare: 2}} {
		for _, err := range s.ReadAll(t.Context(), p, eventstore.Forward, 0) {
			if !errors.Is(err, eventstore.ErrPosition) {
				t.Fatalf("read from %v: %v", p, err)
			}
		}
		if _, err := s.SubscribeAll(t.Context(), p); !errors.Is(err, eventstore.ErrPosition) {
			t.Fatalf("subscribe after %v: %v", p, err)
		}
	}
}

// TestSubscriptionMemory asks that a subscriber that does not read holds one page
// at most, whatever is appended.
func TestSubscriptionMemory(t *testing.T) {
	s := mustOpen(t, "store", Options{FS: vfs.NewMem()})
	defer mustClose(t, s)
	sub, err := s.SubscribeAll(t.Context(), domain.Start)
	if err != nil {
		t.Fatal(err)
	}
	l := newLoad()
	l.run(s, 4, 10, 500, nil)
	for i := range 2_000 {
		if _, err := sub.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(sub.(*subscription).queue); n >= chunkEvents {
			t.Fatalf("%d events held after %d", n, i)
		}
	}
}

// TestCloseEndsGoroutines asks that a closed store leaves none behind.
func TestCloseEndsGoroutines(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := mustOpen(t, "store", Options{FS: vfs.NewMem()})
	newLoad().run(s, 4, 10_000, 50, nil)
	mustClose(t, s)
	goleak.VerifyNone(t, before)
}
