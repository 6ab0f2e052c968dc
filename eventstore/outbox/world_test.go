package outbox

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/embedded"
)

// testing is what *testing.T and *rapid.T have alike.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

const day domain.Bucket = "2026-11-23"

var names = domain.StreamsOf("test")

// A clock only moves when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)} }

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// sealed makes an event of a person and class; nothing in here opens it.
func sealed(ref domain.SubjectRef, size int) domain.Sealed {
	e := domain.Envelope{
		Hour: "2026-11-23T10Z", Policy: 1, Scope: domain.Erasable, Ref: ref, Class: "messages", Tier: domain.OwnTier, Bucket: day, Gen: 1, N: 1,
		Facts: domain.NewFacts(domain.Name("pool", "chat"), domain.UUID("connection", domain.ConnectionID{1})),
	}
	return encoded(domain.New[domain.EventID](), names.Of(e.Where("test")), domain.TrafficRecorded, e, make([]byte, size))
}

func encoded(id domain.EventID, s domain.Stream, typ domain.EventType, e domain.Envelope, data []byte) domain.Sealed {
	spec, err := domain.Events.Spec(typ)
	if err != nil {
		panic(err)
	}
	raw, err := e.Encode(spec)
	if err != nil {
		panic(err)
	}
	return domain.NewSealed(id, s, typ, raw, data)
}

func streamOf(ref domain.SubjectRef) domain.Stream { return sealed(ref, 0).Stream() }

// notebook implements Notes: one writer for each start of a process.
type notebook struct{ writer domain.WriterID }

func (n notebook) Note(_ context.Context, typ domain.EventType, facts ...domain.Fact) (domain.Sealed, error) {
	e := domain.Envelope{Hour: "2026-11-23T10Z", Policy: 1, Class: domain.ClassNode, Facts: domain.NewFacts(facts...)}
	return encoded(domain.New[domain.EventID](), names.Node(day, n.writer), typ, e, nil), nil
}

// dead implements Fates.
type dead struct {
	mu   sync.Mutex
	refs map[domain.SubjectRef]bool
}

func (d *dead) Destroyed(_ context.Context, _ domain.Stream, e domain.Envelope) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refs[e.Ref], nil
}

func (d *dead) destroy(ref domain.SubjectRef) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refs == nil {
		d.refs = map[domain.SubjectRef]bool{}
	}
	d.refs[ref] = true
}

// A node is an outbox with its disk and its relay.
type node struct {
	tb    tb
	clock *clock
	opt   Options
	fates *dead
	line  *line

	disk  *vfs.MemFS
	local *embedded.Store
	box   *Outbox
	relay *Relay
}

func newNode(t tb, c *clock, tr *truth, fates *dead, opt Options) *node {
	opt.Clock = c.time
	n := &node{tb: t, clock: c, opt: opt, fates: fates, line: &line{truth: tr, clock: c}, disk: vfs.NewCrashableMem()}
	n.start()
	return n
}

// start opens what is on the disk.
func (n *node) start() {
	n.tb.Helper()
	var err error
	if n.local, err = embedded.Open("box", embedded.Options{Clock: n.clock.time, FS: n.disk, Reserve: 1}); err != nil {
		n.tb.Fatalf("open the local store: %v", err)
	}
	if n.box, err = Open(context.Background(), n.local, n.opt); err != nil {
		n.tb.Fatalf("open the outbox: %v", err)
	}
	n.relay, err = NewRelay(n.box, RelayOptions{Log: n.line, Fates: n.fates, Notes: notebook{domain.New[domain.WriterID]()}, Clock: n.clock.time})
	if err != nil {
		n.tb.Fatalf("relay: %v", err)
	}
}

func (n *node) close() {
	if err := n.box.Close(); err != nil {
		n.tb.Fatalf("close the outbox: %v", err)
	}
	if err := n.local.Close(); err != nil {
		n.tb.Fatalf("close the local store: %v", err)
	}
}

// copy is the disk as a loss of power would leave it.
func (n *node) copy() *vfs.MemFS { return n.disk.CrashClone(vfs.CrashCloneCfg{}) }

// become goes on with another disk.
func (n *node) become(disk *vfs.MemFS) {
	n.close() // of no effect on the copy
	n.disk = disk
	n.start()
}

// record appends as the ledger does: at the end as the outbox tells it.
func (n *node) record(events ...domain.Sealed) error {
	last, err := n.box.Last(context.Background(), events[0].Stream())
	if err != nil {
		return err
	}
	at, err := n.box.Append(context.Background(), events[0].Stream(), last, events)
	if want := last + domain.Revision(len(events)); err == nil && at.Revision != want {
		return fmt.Errorf("revision %d, want %d", at.Revision, want)
	}
	return err
}

// step ships one lane once, if one is due.
func (n *node) step() bool {
	n.tb.Helper()
	l, _ := n.relay.choose()
	if l == nil {
		return false
	}
	n.relay.ship(context.Background(), l)
	n.relay.gate.leave()
	n.settle()
	select {
	case err := <-n.relay.fatal:
		n.tb.Fatalf("relay: %v", err)
	default:
	}
	return true
}

// settle waits for what is in the queue.
func (n *node) settle() {
	if err := n.box.commit(&unit{place: func(*commit) error { return nil }}); err != nil {
		n.tb.Fatalf("settle: %v", err)
	}
}

// drain ships until nothing is pending.
func (n *node) drain() {
	n.tb.Helper()
	for range 10_000 {
		if n.box.Stats().Pending.Events == 0 {
			return
		}
		if !n.step() {
			n.clock.advance(time.Second)
		}
	}
	n.tb.Fatalf("never empty: %+v", n.box.Stats())
}

// late sums the counts of every late.recorded in the truth.
func (t *truth) late(name string) (n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.streams {
		for _, e := range h.events {
			if e.Type() != domain.LateRecorded {
				continue
			}
			env, err := envelopeOf(e)
			if err != nil {
				panic(err)
			}
			for _, entry := range env.Facts.List(name) {
				_, count, ok := domain.CutCount(entry)
				if !ok {
					panic(entry)
				}
				n += count
			}
		}
	}
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// holds asks that stream s of the truth is exactly events.
func (t *truth) holds(tb tb, s domain.Stream, events ...domain.Sealed) {
	tb.Helper()
	got, err := t.read(s, 0)
	if err != nil || len(got) != len(events) {
		tb.Fatalf("stream %s has %d events (%v), want %d", s, len(got), err, len(events))
	}
	for i, e := range got {
		if e.ID() != events[i].ID() || string(e.Data()) != string(events[i].Data()) || string(e.Envelope()) != string(events[i].Envelope()) {
			tb.Fatalf("stream %s at %d is not what was recorded", s, i)
		}
	}
}

var _ eventstore.Store = (*embedded.Store)(nil)
