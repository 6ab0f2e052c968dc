package lethe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	esclient "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	storeengine "github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/eventstore/esdb"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
	"github.com/lethe-ledger/lethe/eventstore/outbox"
)

// What `make bench` measures beyond one machine: the relay against the protocol
// server in this process, here, and the keys against a real Vault server in
// bench_many_keys_test.go. Every round measures ours and the bare client in turn.

const (
	benchRounds  = 3
	benchCallers = 32 // of the bare clients, and of enrolment
	benchBatch   = 512
)

// figures are what the rounds of a benchmark gave, by name, in the order in which
// the names first came.
type figures struct {
	load   string // load average before
	names  []string
	values map[string][]float64
}

func newFigures() *figures { return &figures{load: benchLoad(), values: map[string][]float64{}} }

func (f *figures) add(name string, v float64) {
	if _, ok := f.values[name]; !ok {
		f.names = append(f.names, name)
	}
	f.values[name] = append(f.values[name], v)
}

// last is the latest value of a name.
func (f *figures) last(name string) float64 { return f.values[name][len(f.values[name])-1] }

// ratio adds a quotient of the latest values of two names.
func (f *figures) ratio(of, by string) { f.add(of+" ÷ "+by, f.last(of)/f.last(by)) }

func (f *figures) median(name string) float64 {
	v := slices.Sorted(slices.Values(f.values[name]))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// print writes a table with where and how busily it was measured. A benchmark's own
// log keeps ten lines only.
func (f *figures) print(b *testing.B) {
	b.Helper()
	var out strings.Builder
	fmt.Fprintf(&out, "\n%s, %s\nload average %s before, %s after\n\n| figure | rounds | min | median | max |\n|---|---|---|---|---|\n", b.Name(), benchMachine(), f.load, benchLoad())
	for _, name := range f.names {
		v := f.values[name]
		fmt.Fprintf(&out, "| %s | %d | %.4g | %.4g | %.4g |\n", name, len(v), slices.Min(v), f.median(name), slices.Max(v))
	}
	_, err := os.Stdout.WriteString(out.String())
	benchMust(b, err)
	b.ReportMetric(0, "ns/op") // a round is no operation
}

func benchMachine() string {
	model := "unknown"
	cpus, err := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpus)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	return fmt.Sprintf("%s, %d cores, %s%s", model, runtime.NumCPU(), runtime.Version(), unread(err))
}

func benchLoad() string {
	load, err := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(load))[:min(3, len(strings.Fields(string(load))))], " ") + unread(err)
}

// unread says beside a figure that it could not be read.
func unread(err error) string {
	if err != nil {
		return " (" + err.Error() + ")"
	}
	return ""
}

func benchMust(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// A cargo is the events that every lane of a round ships: the same number of each
// stream, none of which compresses.
type cargo struct {
	streams []domain.Stream
	events  [][]domain.Sealed // by stream
	total   int
}

func newCargo(streams, each int) *cargo {
	random := rand.NewChaCha8([32]byte{1})
	body := make([]byte, 640) // about 64 messages
	c := &cargo{streams: make([]domain.Stream, streams), events: make([][]domain.Sealed, streams), total: streams * each}
	spec, err := domain.Events.Spec(domain.TrafficRecorded)
	for i := range c.streams {
		e := domain.Envelope{
			Hour: "2026-11-23T10Z", Policy: 1, Scope: domain.Erasable, Ref: domain.New[domain.SubjectRef](),
			Class: "messages", Tier: domain.OwnTier, Bucket: "2026-11-23", Gen: 1, N: 64,
			Facts: domain.NewFacts(domain.Name("pool", "chat"), domain.UUID("connection", domain.New[domain.ConnectionID]())),
		}
		c.streams[i] = domain.StreamsOf("main").Of(e.Where("main"))
		for range each {
			_, _ = random.Read(body) // never fails
			envelope, encodeErr := e.Encode(spec)
			err = errors.Join(err, encodeErr)
			c.events[i] = append(c.events[i], domain.NewSealed(domain.New[domain.EventID](), c.streams[i], domain.TrafficRecorded, envelope, slices.Clone(body)))
		}
	}
	if err != nil {
		panic(err) // the envelope above is not one
	}
	return c
}

// fill appends everything to an outbox, the streams in turn.
func (c *cargo) fill(ctx context.Context, box *outbox.Outbox) error {
	batch := make([]eventstore.Append, 0, benchBatch)
	for n := range c.total {
		stream, at := n%len(c.streams), n/len(c.streams)
		batch = append(batch, eventstore.Append{
			Stream: c.streams[stream], Expected: domain.NoStream + domain.Revision(at), Events: c.events[stream][at : at+1],
		})
		if len(batch) < benchBatch && n < c.total-1 {
			continue
		}
		for _, r := range box.AppendMany(ctx, batch) {
			if r.Err != nil {
				return r.Err
			}
		}
		batch = batch[:0]
	}
	return nil
}

// nobodyErased implements outbox.Fates.
type nobodyErased struct{}

func (nobodyErased) Destroyed(context.Context, domain.Stream, domain.Envelope) (bool, error) {
	return false, nil
}

// noNotes implements outbox.Notes: where nothing is late there is none to make.
type noNotes struct{}

func (noNotes) Note(context.Context, domain.EventType, ...domain.Fact) (domain.Sealed, error) {
	return domain.Sealed{}, errors.New("a note was not expected")
}

// A pace is how fast events went. The processor time is the whole process's, server
// included, and says the same on a busy machine.
type pace struct{ rate, cpu float64 } // events a second, microseconds an event

// A stopwatch runs from its making.
type stopwatch struct {
	began time.Time
	cpu   time.Duration
}

func newStopwatch() stopwatch { return stopwatch{began: time.Now(), cpu: benchCPU()} }

func (w stopwatch) pace(events int) pace {
	n := float64(events)
	return pace{rate: n / time.Since(w.began).Seconds(), cpu: float64((benchCPU() - w.cpu).Microseconds()) / n}
}

func benchCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // there is no reason for one
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// relayed ships a cargo and returns its pace and events an append. The outbox was
// filled before, or, through, is filled meanwhile.
func relayed(b *testing.B, c *cargo, through bool) (shipping pace, perAppend float64) {
	b.Helper()
	server, dir := esdbtest.Start(b, esdbtest.Options{Clock: time.Now}), b.TempDir()
	defer server.Close()
	defer func() { benchMust(b, os.RemoveAll(dir)) }()
	local, err := storeengine.Open(dir, storeengine.Options{Clock: time.Now})
	benchMust(b, err)
	defer func() { benchMust(b, local.Close()) }()
	box, err := outbox.Open(b.Context(), local, outbox.Options{Clock: time.Now, MaxBytes: defaultOutbox, Scavenge: local.Scavenge})
	benchMust(b, err)
	defer func() { benchMust(b, box.Close()) }()
	log, err := esdb.Open(b.Context(), esdb.Config{URL: server.URL(), Prefix: domain.StreamsOf("main").Prefix(), Clock: time.Now})
	benchMust(b, err)
	defer func() { benchMust(b, log.Close()) }()
	relay, err := outbox.NewRelay(box, outbox.RelayOptions{Log: log, Fates: nobodyErased{}, Notes: noNotes{}, Clock: time.Now})
	benchMust(b, err)
	if !through {
		benchMust(b, c.fill(b.Context(), box))
	}
	runtime.GC()

	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	ended, watch := make(chan error, 1), newStopwatch()
	go func() { ended <- relay.Run(ctx) }()
	if through {
		benchMust(b, c.fill(b.Context(), box))
	}
	shipped := &relay.Counts().Shipped
	for shipped.Load() < uint64(c.total) || box.Stats().Pending.Events > 0 { //nolint:gosec // not negative
		select {
		case err := <-ended:
			b.Fatal("the relay ended: ", err)
		case <-time.After(time.Millisecond):
		}
	}
	shipping = watch.pace(c.total)
	stop()
	benchMust(b, <-ended)
	if n := shipped.Load(); n != uint64(c.total) { //nolint:gosec // not negative
		b.Fatalf("%d events were shipped of %d", n, c.total)
	}
	return shipping, float64(c.total) / float64(relay.Counts().Appends.Load())
}

// A parcel is one append of the bare client.
type parcel struct {
	stream string
	events []esclient.EventData
}

// parcels cut the cargo into appends of a size.
func (c *cargo) parcels(size int) (out []parcel) {
	for i, events := range c.events {
		for some := range slices.Chunk(events, size) {
			p := parcel{stream: string(c.streams[i])}
			for _, e := range some {
				p.events = append(p.events, esclient.EventData{
					EventID: uuid.UUID(e.ID()), EventType: string(e.Type()), ContentType: esclient.ContentTypeBinary, Data: e.Data(), Metadata: e.Envelope(),
				})
			}
			out = append(out, p)
		}
	}
	return out
}

// bareAppends sends parcels by the bare client on some connections, and returns its
// pace. Nothing is expected of a stream: the callers share them.
func bareAppends(b *testing.B, total int, list []parcel, callers, connections int) pace {
	b.Helper()
	server := esdbtest.Start(b, esdbtest.Options{Clock: time.Now})
	defer server.Close()
	clients := make([]*esclient.Client, connections)
	for i := range clients {
		settings, err := esclient.ParseConnectionString(server.URL())
		benchMust(b, err)
		settings.Logger = esclient.NoopLogging()
		clients[i], err = esclient.NewClient(settings)
		benchMust(b, err)
		defer clients[i].Close()
		_, err = clients[i].AppendToStream(b.Context(), "warm", esclient.AppendToStreamOptions{ExpectedRevision: esclient.Any{}}, list[0].events[0])
		benchMust(b, err)
	}
	work := make(chan parcel, len(list))
	for _, p := range list {
		work <- p
	}
	close(work)
	runtime.GC()
	var appending sync.WaitGroup
	watch := newStopwatch()
	for i := range callers {
		appending.Go(func() {
			for p := range work {
				opts := esclient.AppendToStreamOptions{ExpectedRevision: esclient.Any{}}
				if _, err := clients[i%connections].AppendToStream(b.Context(), p.stream, opts, p.events...); err != nil {
					b.Error(err)
				}
			}
		})
	}
	appending.Wait()
	return watch.pace(total)
}

// BenchmarkManyRelay ships from the outbox to the log, on one stream and on many,
// beside the bare client's best with as many events in an append, in events a second:
// of 32 callers on one connection or on 32, or of one caller, whichever is fastest.
// Its aim is 0.6.
func BenchmarkManyRelay(b *testing.B) {
	for _, c := range []*cargo{newCargo(1, 60_000), newCargo(10_000, 6)} {
		b.Run(fmt.Sprint(len(c.streams)), func(b *testing.B) {
			f := newFigures()
			for range benchRounds {
				c.round(b, f)
			}
			f.print(b)
			b.ReportMetric(f.median("relay ÷ bare client's best"), "relay÷bare")
		})
	}
}

func (c *cargo) round(b *testing.B, f *figures) {
	b.Helper()
	shipping, perAppend := relayed(b, c, false)
	list := c.parcels(max(1, int(math.Round(perAppend))))
	f.add("events an append", perAppend)
	best := pace{cpu: math.Inf(1)}
	for _, way := range []struct {
		name                 string
		callers, connections int
	}{{"32 callers, one connection", benchCallers, 1}, {"32 callers, 32 connections", benchCallers, benchCallers}, {"one append after the other", 1, 1}} {
		bare := bareAppends(b, c.total, list, way.callers, way.connections)
		f.add("bare client, "+way.name, bare.rate)
		best = pace{rate: max(best.rate, bare.rate), cpu: min(best.cpu, bare.cpu)}
	}
	f.add("bare client's best", best.rate)
	f.add("relay", shipping.rate)
	through, _ := relayed(b, c, true)
	f.add("recording into the outbox and relaying at once", through.rate)
	f.ratio("relay", "bare client's best")
	f.ratio("recording into the outbox and relaying at once", "bare client's best")
	f.add("bare client's least CPU, µs an event", best.cpu)
	f.add("relay's CPU, µs an event", shipping.cpu)
	f.ratio("bare client's least CPU, µs an event", "relay's CPU, µs an event")
}
