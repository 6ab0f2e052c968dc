package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

const (
	benchCallers = 128
	benchStreams = 10_000
	benchBody    = 640 // with an envelope of about 280 bytes: about 900
)

// benchLoad makes events whose bodies do not compress and whose envelopes do, as
// sealed ones.
type benchLoad struct {
	streams []domain.Stream
	bodies  [][]byte
}

func newBenchLoad() *benchLoad {
	random := rand.NewChaCha8([32]byte{1})
	l := &benchLoad{streams: make([]domain.Stream, benchStreams), bodies: make([][]byte, 512)}
	for i := range l.streams {
		l.streams[i] = domain.Stream("lethe.bench.traffic-P30D-1-" + uuid.NewString())
	}
	for i := range l.bodies {
		l.bodies[i] = make([]byte, benchBody)
		_, _ = random.Read(l.bodies[i])
	}
	return l
}

func (l *benchLoad) event(stream, i int) domain.Sealed {
	envelope := fmt.Appendf(nil, `{"v":1,"hour":"2026-11-23T10Z","policy":7,"salt":"%x","scope":"e","ref":%q,"class":"traffic","tier":"0","bucket":"2026-11-23","gen":1,"n":64,"facts":{"pool":"chat","connection":%q}}`,
		i*7919, l.streams[stream], l.streams[stream][20:])
	return domain.NewSealed(domain.EventID(uuid.New()), l.streams[stream], "traffic.recorded.v1", envelope, l.bodies[i%len(l.bodies)])
}

// spread runs one of b.N calls at a time in each of 128 goroutines.
func spread(b *testing.B, call func(caller, i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for caller := range benchCallers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= b.N; i = int(next.Add(1)) {
				if err := call(caller, i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

func benchStore(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), Options{Clock: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// BenchmarkAppend128 appends single events from 128 callers, each to streams of
// its own.
func BenchmarkAppend128(b *testing.B) {
	load, s := newBenchLoad(), benchStore(b)
	last := make([]domain.Revision, benchStreams)
	for i := range last {
		last[i] = domain.NoStream
	}
	turn := make([]int, benchCallers)
	spread(b, func(caller, i int) error {
		stream := (turn[caller]*benchCallers + caller) % (benchStreams / benchCallers * benchCallers)
		turn[caller]++
		e := load.event(stream, i)
		a, err := s.Append(context.Background(), e.Stream(), last[stream], []domain.Sealed{e})
		last[stream] = a.Revision
		return err
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkBarePebble128 writes the same keys and bytes to Pebble alone, one
// synced batch an event, from 128 goroutines.
func BenchmarkBarePebble128(b *testing.B) {
	load, db := newBenchLoad(), bareBench(b)
	var position atomic.Uint64
	turn := make([]int, benchCallers)
	spread(b, func(caller, i int) error {
		stream := (turn[caller]*benchCallers + caller) % (benchStreams / benchCallers * benchCallers)
		rev := domain.Revision(turn[caller] * benchCallers / benchStreams)
		turn[caller]++
		e := load.event(stream, i)
		p, n := position.Add(1), streamNumber(stream+1)
		value := make([]byte, recordSize(n, rev, e))
		putRecord(value, n, rev, 1_795_000_000_000_000, e)
		batch := db.NewBatch()
		if err := firstOf(batch.Set(logKey(p), value, nil), batch.Set(indexKey(n, rev), appendEntry(nil, p), nil)); err != nil {
			return err
		}
		return firstOf(batch.Commit(pebble.Sync), batch.Close())
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func bareBench(b *testing.B) *pebble.DB {
	b.Helper()
	opt, err := Options{Clock: time.Now}.withDefaults()
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	g := newGuard(vfs.Default, dir)
	po := opt.pebble(g, engineLog{logf: opt.Logf, guard: g, trouble: &trouble{}}, nil)
	po.FS = vfs.Default
	db, err := pebble.Open(dir, po)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

// BenchmarkAppendMany appends one event to each of 512 streams a call, from two
// callers, as the recorder's flush does.
func BenchmarkAppendMany(b *testing.B) {
	const each = 512
	load, s := newBenchLoad(), benchStore(b)
	last := make([]domain.Revision, benchStreams)
	for i := range last {
		last[i] = domain.NoStream
	}
	var wg sync.WaitGroup
	b.ResetTimer()
	for caller := range 2 {
		wg.Go(func() {
			half := benchStreams / 2
			for done := caller; done < b.N; {
				appends := make([]eventstore.Append, 0, each)
				for range each {
					stream := caller*half + (done/2)%half
					e := load.event(stream, done)
					appends = append(appends, eventstore.Append{Stream: e.Stream(), Expected: last[stream], Events: []domain.Sealed{e}})
					last[stream]++
					done += 2
				}
				for _, r := range s.AppendMany(context.Background(), appends) {
					if r.Err != nil {
						b.Error(r.Err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
