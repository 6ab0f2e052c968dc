package esdb

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

// callers is how many append at once.
const callers = 32

// BenchmarkAppends measures appends of one event of 300 B, each to a stream of its
// own, by the store and by the bare client, on one connection and on as many as
// the store has, against the server in this process. It prints what part of the
// bare client's best the store reaches.
func BenchmarkAppends(b *testing.B) {
	server := esdbtest.Start(b, esdbtest.Options{Clock: time.Now})
	s := mustOpen(b, quiet(configOf(b, server.URL())))
	defer mustClose(b, s)
	rates := map[string]float64{}
	measure := func(name string, do func(caller int, stream string, id uuid.UUID) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			rates[name] = max(rates[name], appendBy(b, do))
		})
	}
	data := make([]byte, 300)
	bare := func(clients []*client.Client) func(int, string, uuid.UUID) error {
		return func(caller int, stream string, id uuid.UUID) error {
			_, err := clients[caller%len(clients)].AppendToStream(context.Background(), stream,
				client.AppendToStreamOptions{ExpectedRevision: client.NoStream{}}, client.EventData{EventID: id, EventType: "traffic.recorded.v1", Data: data})
			return err
		}
	}
	one, many := bareClients(b, s, server, 1), bareClients(b, s, server, callers)
	measure("bare/one-connection", bare(one))
	measure("bare/as-many", bare(many))
	measure("store", func(_ int, stream string, id uuid.UUID) error {
		name := domain.Stream(stream)
		_, err := s.Append(context.Background(), name, domain.NoStream, []domain.Sealed{domain.NewSealed(domain.EventID(id), name, "traffic.recorded.v1", nil, data)})
		return err
	})
	if best := max(rates["bare/one-connection"], rates["bare/as-many"]); best > 0 {
		b.Logf("store %.0f appends/s, bare client's best %.0f: %.2f", rates["store"], best, rates["store"]/best)
	}
}

func bareClients(b *testing.B, s *Store, server *esdbtest.Server, n int) (out []*client.Client) {
	for range n {
		c, err := client.NewClient(s.client(server.Address(), Account{}))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		out = append(out, c)
	}
	return out
}

// appendBy does b.N appends by many callers and returns how many it did a second.
func appendBy(b *testing.B, do func(caller int, stream string, id uuid.UUID) error) float64 {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	begin := time.Now()
	for caller := range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				id := uuid.New()
				if err := do(caller, "lethe.main.bench-"+id.String(), id); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	rate := float64(b.N) / time.Since(begin).Seconds()
	b.ReportMetric(rate, "appends/s")
	return rate
}

// BenchmarkReads measures the reading of a whole log of 50,000 events of 300 B.
func BenchmarkReads(b *testing.B) {
	server := esdbtest.Start(b, esdbtest.Options{Clock: time.Now})
	s := mustOpen(b, quiet(configOf(b, server.URL())))
	defer mustClose(b, s)
	const n = 50_000
	for i := 0; i < n; i += 500 {
		if _, err := s.Append(b.Context(), testStream, domain.Revision(i-1), sealed(testStream, 500, 300)); err != nil {
			b.Fatal(err)
		}
	}
	for name, read := range map[string]func() iter.Seq2[domain.Recorded, error]{
		"log": func() iter.Seq2[domain.Recorded, error] {
			return s.ReadAll(b.Context(), domain.Start, eventstore.Forward, 0)
		},
		"log-backwards": func() iter.Seq2[domain.Recorded, error] {
			return s.ReadAll(b.Context(), domain.End, eventstore.Backward, 0)
		},
		"stream": func() iter.Seq2[domain.Recorded, error] {
			return s.ReadStream(b.Context(), testStream, 0, eventstore.Forward, 0)
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				got := 0
				for _, err := range read() {
					if got++; err != nil {
						b.Fatal(err)
					}
				}
				if got != n {
					b.Fatalf("%d events", got)
				}
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
