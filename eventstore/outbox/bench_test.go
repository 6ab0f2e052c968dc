package outbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/embedded"
)

// load makes the same events for every benchmark: bodies that do not compress,
// spread over streams.
type load struct {
	streams []domain.Stream
	like    domain.Sealed
	bodies  [][]byte
	ends    []domain.Revision
}

func newLoad(streams int) *load {
	l := &load{like: sealed(domain.New[domain.SubjectRef](), 0), streams: make([]domain.Stream, streams), bodies: make([][]byte, 256), ends: make([]domain.Revision, streams)}
	random := rand.NewChaCha8([32]byte{1})
	for i := range l.streams {
		l.streams[i], l.ends[i] = streamOf(domain.New[domain.SubjectRef]()), domain.NoStream
	}
	for i := range l.bodies {
		l.bodies[i] = make([]byte, 640)
		_, _ = random.Read(l.bodies[i])
	}
	return l
}

// appends makes n events, one append for each stream in turn.
func (l *load) appends(from, n int) []eventstore.Append {
	out := make([]eventstore.Append, n)
	for k := range out {
		i := (from + k) % len(l.streams)
		e := domain.NewSealed(domain.New[domain.EventID](), l.streams[i], l.like.Type(), l.like.Envelope(), l.bodies[(from+k)%len(l.bodies)])
		out[k] = eventstore.Append{Stream: e.Stream(), Expected: l.ends[i], Events: []domain.Sealed{e}}
		l.ends[i]++
	}
	return out
}

func (l *load) fill(b *testing.B, box *Outbox, n int) {
	b.Helper()
	for from := 0; from < n; from += 500 {
		for _, r := range box.AppendMany(b.Context(), l.appends(from, min(500, n-from))) {
			must(b, r.Err)
		}
	}
}

func benchStore(b *testing.B) *embedded.Store {
	s := openStore(b, b.TempDir(), nil)
	b.Cleanup(func() { must(b, s.Close()) })
	return s
}

func benchBox(b *testing.B, cache int64) *Outbox {
	box, err := Open(b.Context(), benchStore(b), Options{Clock: time.Now, CacheBytes: cache})
	must(b, err)
	b.Cleanup(func() { must(b, box.Close()) })
	return box
}

func perSecond(b *testing.B) { b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s") }

// empty runs a relay until nothing is pending.
func empty(b *testing.B, box *Outbox, log Log) {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	r := relayOf(b, box, log)
	go func() { ended <- r.Run(ctx) }()
	for box.Stats().Pending.Events > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	must(b, <-ended)
	b.ReportMetric(float64(b.N)/float64(r.Counts().Appends.Load()), "events/append")
}

// BenchmarkRelay ships what b.N appends left, to a store on the same disk.
func BenchmarkRelay(b *testing.B) {
	for _, streams := range []int{1, 1_000, 10_000} {
		for name, cache := range map[string]int64{"memory": 1 << 30, "disk": -1} {
			b.Run(fmt.Sprintf("%d/%s", streams, name), func(b *testing.B) {
				box, log, l := benchBox(b, cache), benchStore(b), newLoad(streams)
				l.fill(b, box, b.N)
				b.ResetTimer()
				empty(b, box, log)
				b.StopTimer()
				perSecond(b)
			})
		}
	}
}

// BenchmarkThrough records and ships at once.
func BenchmarkThrough(b *testing.B) {
	for _, streams := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(streams), func(b *testing.B) {
			box, log, l := benchBox(b, 0), benchStore(b), newLoad(streams)
			b.ResetTimer()
			var filling sync.WaitGroup
			filling.Go(func() { l.fill(b, box, b.N) })
			for box.Stats().Pending.Events == 0 {
				time.Sleep(5 * time.Millisecond)
			}
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			r := relayOf(b, box, log)
			go func() { ended <- r.Run(ctx) }()
			filling.Wait()
			for box.Stats().Pending.Events > 0 {
				time.Sleep(5 * time.Millisecond)
			}
			b.StopTimer()
			stop()
			must(b, <-ended)
			perSecond(b)
		})
	}
}

// BenchmarkBare appends the same events to the same store without an outbox, 64
// callers at once, all events of a stream in one append where a relay would.
func BenchmarkBare(b *testing.B) {
	for _, streams := range []int{1, 1_000, 10_000} {
		b.Run(fmt.Sprint(streams), func(b *testing.B) {
			log, l := benchStore(b), newLoad(streams)
			byStream := map[domain.Stream][]domain.Sealed{}
			for _, a := range l.appends(0, b.N) {
				byStream[a.Stream] = append(byStream[a.Stream], a.Events...)
			}
			work := make(chan []domain.Sealed)
			var callers sync.WaitGroup
			b.ResetTimer()
			for range 64 {
				callers.Go(func() {
					for events := range work {
						if err := appendAll(log, events); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for _, events := range byStream {
				work <- events
			}
			close(work)
			callers.Wait()
			b.StopTimer()
			perSecond(b)
		})
	}
}

func appendAll(log *embedded.Store, events []domain.Sealed) error {
	for last := domain.NoStream; len(events) > 0; {
		n, bytes := 0, 0
		for n < len(events) && n < maxShipEvents && bytes+events[n].Size() <= maxShipBytes {
			bytes += events[n].Size()
			n++
		}
		at, err := log.Append(context.Background(), events[0].Stream(), last, events[:n])
		if err != nil {
			return err
		}
		last, events = at.Revision, events[n:]
	}
	return nil
}
