package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
)

func openStore(t testing.TB, dir string, fs vfs.FS) *embedded.Store {
	t.Helper()
	s, err := embedded.Open(dir, embedded.Options{Clock: time.Now, FS: fs, Reserve: 1})
	must(t, err)
	return s
}

func relayOf(t testing.TB, b *Outbox, log Log) *Relay {
	t.Helper()
	r, err := NewRelay(b, RelayOptions{
		Log: log, Fates: &dead{}, Notes: notebook{domain.New[domain.WriterID]()}, Clock: time.Now,
		Settle: 20 * time.Millisecond, MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond,
	})
	must(t, err)
	return r
}

// randomly deals out faults to one append in n.
func randomly(n int) func() storetest.Fault {
	return func() storetest.Fault {
		if rand.IntN(n) > 0 {
			return storetest.None
		}
		return storetest.Lost + storetest.Fault(rand.IntN(2))
	}
}

// TestRun lets two gateways write to the same streams through a log with faults,
// while their relays are stopped and started, and asks for everything, once and in
// order.
func TestRun(t *testing.T) {
	const nodes, streams, each = 2, 20, 60
	remote := openStore(t, "remote", vfs.NewMem())
	refs := make([]domain.SubjectRef, streams)
	for i := range refs {
		refs[i] = domain.New[domain.SubjectRef]()
	}
	recorded := [nodes][streams][]domain.Sealed{}
	var all sync.WaitGroup
	for node := range nodes {
		local := openStore(t, "local", vfs.NewMem())
		b, err := Open(t.Context(), local, Options{Clock: time.Now, SegmentBytes: 30_000, CacheBytes: 20_000})
		must(t, err)
		var writers sync.WaitGroup
		for i, ref := range refs {
			writers.Go(func() {
				for range each {
					e := sealed(ref, rand.IntN(400))
					recorded[node][i] = append(recorded[node][i], e)
					if _, err := b.Append(t.Context(), e.Stream(), domain.Revision(len(recorded[node][i]))-2, []domain.Sealed{e}); err != nil {
						t.Errorf("append: %v", err)
						return
					}
				}
			})
		}
		all.Go(func() {
			runUntilEmpty(t, b, storetest.Faulty{Store: remote, Next: randomly(6)}, &writers)
			if err := errors.Join(b.Close(), local.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i, ref := range refs {
		verifyMerged(t, remote, streamOf(ref), recorded[0][i], recorded[1][i])
	}
	must(t, remote.Close())
	goleak.VerifyNone(t, goleak.IgnoreCurrent())
}

// runUntilEmpty runs a relay, stops it and runs another, until the writers are done
// and nothing is pending.
func runUntilEmpty(t *testing.T, b *Outbox, log Log, writers *sync.WaitGroup) {
	var done atomic.Bool
	go func() { writers.Wait(); done.Store(true) }()
	for begun := time.Now(); !done.Load() || b.Stats().Pending.Events > 0; {
		if time.Since(begun) > time.Minute {
			t.Errorf("never empty: %+v", b.Stats())
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20+rand.IntN(200))*time.Millisecond)
		if err := relayOf(t, b, log).Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
		cancel()
	}
}

// verifyMerged asks that a stream holds the events of all writers, each once and
// each writer's in order.
func verifyMerged(t *testing.T, s *embedded.Store, stream domain.Stream, writers ...[]domain.Sealed) {
	t.Helper()
	n := 0
	for e, err := range s.ReadStream(t.Context(), stream, 0, eventstore.Forward, 0) {
		must(t, err)
		taken := false
		for w := range writers {
			if len(writers[w]) > 0 && writers[w][0].ID() == e.ID() {
				writers[w], taken = writers[w][1:], true
			}
		}
		if !taken {
			t.Fatalf("event %d of %s is nobody's next", e.Revision, stream)
		}
		n++
	}
	for w := range writers {
		if len(writers[w]) > 0 {
			t.Fatalf("%s: %d events of writer %d are missing after %d", stream, len(writers[w]), w, n)
		}
	}
}

// sink is a log that forgets what it is given.
type sink struct {
	Log
	mu   sync.Mutex
	ends map[domain.Stream]domain.Revision
	away atomic.Bool
}

func (s *sink) Append(_ context.Context, stream domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error) {
	if s.away.Load() {
		return eventstore.Appended{}, storetest.ErrFault
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, there := s.ends[stream]; there && last != expected {
		return eventstore.Appended{}, fmt.Errorf("stream %s at %d, expected %d", stream, last, expected)
	}
	s.ends[stream] = expected + domain.Revision(len(events))
	return eventstore.Appended{Revision: s.ends[stream]}, nil
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemory asks that 10,000 streams with five events each cost memory for their
// places, not for their bytes, and that nothing of it stays.
func TestMemory(t *testing.T) {
	const each = 5
	streams := 10_000
	if raceDetector {
		streams = 2_000 // the engine notes a stack for each block it reads then
	}
	local := openStore(t, t.TempDir(), nil)
	b, err := Open(t.Context(), local, Options{Clock: time.Now, MaxBytes: 256 << 20, CacheBytes: 1 << 20})
	must(t, err)
	log := &sink{ends: map[domain.Stream]domain.Revision{}}
	log.away.Store(true)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	r := relayOf(t, b, log)
	go func() { ended <- r.Run(ctx) }()

	before := inUse()
	first := sealed(domain.New[domain.SubjectRef](), 600)
	for i := range each {
		for from := 0; from < streams; from += 500 {
			var appends []eventstore.Append
			for n := from; n < from+500; n++ {
				s := domain.Stream(fmt.Sprintf("lethe.test.messages-0-1-%036d", n))
				e := domain.NewSealed(domain.New[domain.EventID](), s, first.Type(), first.Envelope(), first.Data())
				appends = append(appends, eventstore.Append{Stream: s, Expected: domain.Revision(i - 1), Events: []domain.Sealed{e}})
			}
			for _, res := range b.AppendMany(t.Context(), appends) {
				must(t, res.Err)
			}
		}
	}
	full := inUse() - before
	stats := b.Stats()
	if stats.Pending.Events != streams*each || stats.Pending.Bytes < int64(streams*each)*800 {
		t.Fatalf("%+v", stats)
	}
	// The local store's memtables and blocks lie outside the heap, but for the race
	// detector's sake.
	if bound := int64(streams*400+streams*each*100) + 4<<20; full > bound && !raceDetector {
		t.Errorf("%d MiB for %d events of %d MiB, at most %d MiB were promised", full>>20, stats.Pending.Events, stats.Pending.Bytes>>20, bound>>20)
	}
	log.away.Store(false)
	for begun := time.Now(); b.Stats().Pending.Events > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("never empty: %+v", b.Stats())
		}
	}
	stop()
	must(t, <-ended)
	if n := r.Counts().Appends.Load(); n > uint64(2*streams) {
		t.Errorf("%d appends for %d streams: they were not gathered", n, streams)
	}
	left := inUse() - before
	t.Logf("%d MiB with %d events pending (%d MiB), %d MiB afterwards, the local store's own included; %d appends", full>>20, streams*each, stats.Pending.Bytes>>20, left>>20, r.Counts().Appends.Load())
	must(t, errors.Join(b.Close(), local.Close()))
}

// TestDisk asks that an outbox through which much more goes than it may hold stays
// small on the disk, too.
func TestDisk(t *testing.T) {
	const bound, memTable = 4 << 20, 8 << 20
	dir := t.TempDir()
	local, err := embedded.Open(dir, embedded.Options{Clock: time.Now, MemTableBytes: memTable, Reserve: 1})
	must(t, err)
	b, err := Open(t.Context(), local, Options{Clock: time.Now, MaxBytes: bound, Scavenge: local.Scavenge})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	r := relayOf(t, b, &sink{ends: map[domain.Stream]domain.Revision{}})
	go func() { ended <- r.Run(ctx) }()
	like := sealed(domain.New[domain.SubjectRef](), 0)
	body, random := make([]byte, 60_000), rand.NewChaCha8([32]byte{1}) // what is sealed does not compress
	sent := 0
	for n := domain.Revision(-1); sent < 100*bound/4; n++ {
		_, _ = random.Read(body)
		e := domain.NewSealed(domain.New[domain.EventID](), like.Stream(), like.Type(), like.Envelope(), slices.Clone(body))
		for {
			_, err := b.Append(t.Context(), e.Stream(), n, []domain.Sealed{e})
			if err == nil {
				break
			}
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		sent += e.Size()
	}
	for b.Stats().Pending.Events > 0 {
		time.Sleep(time.Millisecond)
	}
	stop()
	must(t, <-ended)
	must(t, b.Close())
	must(t, local.Scavenge(t.Context()))
	must(t, local.Close())
	size := diskUsage(t, dir)
	t.Logf("%d MiB went through, %d KiB are left", sent>>20, size>>10)
	if size > 6*memTable+2*bound { // the files of the write-ahead log are used again
		t.Errorf("%d bytes are left on disk", size)
	}
}
