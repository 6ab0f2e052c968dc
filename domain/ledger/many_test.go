package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/keytest"
)

// A cluster is several nodes on one log and one custodian.
type cluster struct {
	t         *testing.T
	store     eventstore.Store
	custodian keys.Custodian
	nodes     []*clusterNode
	cut       int32 // how the appends of a node that starts end
}

// A clusterNode is what one process has.
type clusterNode struct {
	*ledger.Ledger
	ring    *keys.Ring
	journal *ledger.Journal
	found   ledger.Replayed
	node    *ledger.Node
	lease   *ledger.Lease
	link    *link
	path    string
	stop    func()
	ahead   atomic.Int64 // of the wall clock
	slept   atomic.Int64 // of both clocks
}

// A link is one node's way to the log; it can be cut.
type link struct {
	eventstore.Store
	appends atomic.Int32 // 1 lost, 2 unanswered, 3 lost of the journal
	hangs   atomic.Bool  // subscriptions deliver nothing
	stale   atomic.Bool  // reads show nothing, as a deposed leader's may
}

var errCut = fmt.Errorf("the log is away: %w", domain.ErrUnavailable)

func (l *link) Append(ctx context.Context, s domain.Stream, expected domain.Revision, es []domain.Sealed) (eventstore.Appended, error) {
	how := l.appends.Load()
	if how == 1 || how == 3 && s == domain.StreamsOf(testLedger).Journal() {
		return eventstore.Appended{}, errCut
	}
	at, err := l.Store.Append(ctx, s, expected, es)
	if how == 2 {
		return eventstore.Appended{}, errCut
	}
	return at, err
}

func (l *link) ReadStream(ctx context.Context, s domain.Stream, from domain.Revision, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error] {
	if l.stale.Load() {
		return func(func(domain.Recorded, error) bool) {}
	}
	return l.Store.ReadStream(ctx, s, from, dir, limit)
}

func (l *link) SubscribeAll(ctx context.Context, after domain.Position) (eventstore.Subscription, error) {
	s, err := l.Store.SubscribeAll(ctx, after)
	return hanging{s, l}, err
}

type hanging struct {
	eventstore.Subscription
	link *link
}

func (h hanging) Next(ctx context.Context) (eventstore.Delivery, error) {
	d, err := h.Subscription.Next(ctx)
	for h.link.hangs.Load() && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	return d, err
}

func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	store, err := embedded.Open(t.TempDir(), embedded.Options{Clock: time.Now, Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	custodian, err := keytest.NewMemory().Open("place")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, store: store, custodian: custodian}
	for range n {
		c.join(filepath.Join(t.TempDir(), "erasures.jsonl"))
	}
	return c
}

// join starts a node with a journal file of its own.
func (c *cluster) join(path string) *clusterNode {
	c.t.Helper()
	n, err := c.start(path)
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes = append(c.nodes, n)
	return n
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *clusterNode) now() ledger.Instant {
	real := time.Now().Add(time.Duration(n.slept.Load()))
	return ledger.Instant{Boot: time.Duration(real.UnixNano()), Wall: real.Add(time.Duration(n.ahead.Load()))}
}

func (c *cluster) start(path string) (*clusterNode, error) {
	ctx := context.WithoutCancel(c.t.Context())
	n := &clusterNode{link: &link{Store: c.store}, path: path}
	n.link.appends.Store(c.cut)
	policy := domain.DefaultPolicy()
	var log *ledger.PolicyLog
	var err error
	n.ring, err = keys.NewRing(ctx, keys.RingConfig{
		Custodian: c.custodian, Ledger: testLedger, Namespace: "subjects", Clock: time.Now, Dead: keys.NewDead(),
		ClockTrusted: func() error { return nil }, Policy: func() *domain.Policy { return &policy },
	})
	if err != nil {
		return nil, err
	}
	if log, err = ledger.OpenPolicyLog(ctx, n.link, testLedger, n.ring.Integrity(), time.Now); err != nil {
		return nil, err
	}
	if err = log.Apply(ctx, &policy, ""); err != nil {
		return nil, err
	}
	n.journal, n.found, err = ledger.OpenJournal(ctx, ledger.JournalConfig{
		ID: testLedger, Log: n.link, Heads: c.custodian, Ring: n.ring, Integrity: n.ring.Integrity(), Dead: n.ring.Dead, Clock: time.Now, Path: path,
	})
	if err != nil {
		return nil, err
	}
	n.lease = ledger.NewLease(ledger.LeaseConfig{
		Now: n.now, Drop: n.ring.DropOpenings, Pause: sleep, Check: n.journal.Check,
		Renew: func(ctx context.Context, begun func(domain.EventID)) error { return n.node.Renew(ctx, begun) },
	})
	n.Ledger, err = ledger.New(ledger.Config{
		ID: testLedger, Log: n.link, Ring: n.ring, Custody: c.custodian, Policy: log, Journal: n.journal, Clock: time.Now,
		Many: &ledger.Many{Lease: n.lease, Pause: sleep},
	})
	if err != nil {
		return nil, err
	}
	if n.node, err = n.OpenNode(ctx); err != nil {
		return nil, err
	}
	watching, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		_ = ledger.NewWatch(n.Ledger, ledger.WatchConfig{
			Whole: n.link, Lease: n.lease, Node: n.node, Pause: sleep, Notice: func(error) {},
		}).Run(watching)
	})
	var once sync.Once
	n.stop = func() {
		once.Do(func() {
			cancel()
			running.Wait()
			n.lease.Close()
			_ = n.journal.Close()
			n.ring.Close()
		})
	}
	c.t.Cleanup(n.stop)
	return n, nil
}

// record records events of a person through a node.
func (c *cluster) record(n *clusterNode, id string, count int) (refs domain.SubjectRef, events []domain.Recorded) {
	c.t.Helper()
	w := &world{t: c.t, Ledger: n.Ledger, ring: n.ring, store: c.store, now: time.Now()}
	ref := w.person(id)
	for range count {
		events = append(events, w.record(ref, "messages", time.Now()))
	}
	return ref, events
}

func (n *clusterNode) opens(t *testing.T, r domain.Recorded) error {
	t.Helper()
	_, err := n.Open(t.Context(), r)
	return err
}

// Proves: INV-6
func TestNoNodeOpensAnythingAfterTheReceipt(t *testing.T) {
	c := newCluster(t, 5)
	_, events := c.record(c.nodes[0], "ada", 3)
	_, others := c.record(c.nodes[1], "bob", 3)
	deaf := c.nodes[4] // hears of no fence, and must stop by its lease
	var stop atomic.Bool
	var last atomic.Int64 // when somebody opened something of ada, at the end
	var opened [5]atomic.Int64
	var working sync.WaitGroup
	for i, n := range c.nodes {
		working.Go(func() {
			for k := 0; !stop.Load(); k++ {
				if _, err := n.Open(t.Context(), events[k%3]); err == nil {
					last.Store(max(last.Load(), time.Now().UnixNano()))
					opened[i].Add(1)
				}
				if _, err := n.Open(t.Context(), others[k%3]); err != nil && n != deaf && !stop.Load() {
					t.Errorf("node %d: somebody else's event reads %v", i, err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	deaf.link.hangs.Store(true)
	begun := time.Now()
	out, err := c.nodes[2].Erase(t.Context(), ledger.Erasure{ExternalID: "ada", Principal: ledger.Principal{Role: "legal"}})
	receipt := time.Now()
	if err != nil || out.State != ledger.RequestKeysDestroyed {
		t.Fatal(out.State, err)
	}
	time.Sleep(300 * time.Millisecond)
	stop.Store(true)
	working.Wait()
	for i := range opened {
		if opened[i].Load() == 0 {
			t.Errorf("node %d never opened anything: the test lost its subject", i)
		}
	}
	before := receipt.Sub(time.Unix(0, last.Load()))
	t.Logf("receipt after %s; the last opening anywhere was %s before it", receipt.Sub(begun).Round(time.Millisecond), before.Round(time.Millisecond))
	if before < 0 {
		t.Errorf("something opened %s after the receipt", -before)
	}
	if took := receipt.Sub(begun); took > 1200*time.Millisecond {
		t.Logf("the receipt took %s, more than 1.2 s", took)
	}
	deaf.link.hangs.Store(false)
	for i, n := range c.nodes {
		if err := n.opens(t, events[0]); !errors.Is(err, domain.ErrErased) {
			t.Errorf("node %d reads %v", i, err)
		}
	}
	if out.Receipt.Mirrors != "journal in the log and in the files of two nodes" {
		t.Errorf("the receipt says %q", out.Receipt.Mirrors)
	}
}

// Proves: INV-6, INV-9
func TestANodeThatIsCutOffStopsOpeningAndNothingReadsErased(t *testing.T) {
	cases := map[string]func(*clusterNode){
		"appends are lost":                   func(n *clusterNode) { n.link.appends.Store(1) },
		"appends are applied but unanswered": func(n *clusterNode) { n.link.appends.Store(2) },
		"the subscription hangs":             func(n *clusterNode) { n.link.hangs.Store(true) },
		"the wall clock jumps ahead":         func(n *clusterNode) { n.link.appends.Store(1); n.ahead.Store(int64(time.Hour)) },
		"the wall clock jumps back":          func(n *clusterNode) { n.link.appends.Store(1); n.ahead.Store(-int64(time.Hour)) },
		"it was frozen and resumed":          func(n *clusterNode) { n.link.appends.Store(1); n.slept.Store(int64(time.Minute)) },
	}
	for name, cut := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 2)
			n := c.nodes[1]
			_, events := c.record(c.nodes[0], "ada", 1)
			if err := n.opens(t, events[0]); err != nil {
				t.Fatal(err)
			}
			cut(n)
			begun := time.Now()
			var last time.Time
			for time.Since(begun) < ledger.LeaseWait+200*time.Millisecond {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				if _, err := n.Open(ctx, events[0]); err == nil {
					last = time.Now()
				} else if !errors.Is(err, domain.ErrUnavailable) || errors.Is(err, domain.ErrErased) {
					t.Errorf("it reads %v", err)
				}
				cancel()
				time.Sleep(2 * time.Millisecond)
			}
			if !last.IsZero() && last.Sub(begun) > ledger.LeaseTime {
				t.Errorf("it opened %s after it was cut off", last.Sub(begun))
			}
			n.link.appends.Store(0)
			n.link.hangs.Store(false)
			for range 100 {
				if err := n.opens(t, events[0]); err == nil {
					return
				}
			}
			t.Error("it does not open again once the log is back")
		})
	}
}

// Proves: INV-3
func TestTheJournalIsTheSameOnEveryNode(t *testing.T) {
	c := newCluster(t, 4)
	for i := range 8 {
		c.record(c.nodes[i%4], fmt.Sprint("person ", i), 1)
	}
	var erasing sync.WaitGroup
	for i, n := range c.nodes {
		erasing.Go(func() {
			for k := range 2 {
				if _, err := n.Erase(t.Context(), ledger.Erasure{ExternalID: fmt.Sprint("person ", i+4*k), Principal: ledger.Principal{Role: "legal"}}); err != nil {
					t.Errorf("node %d: %v", i, err)
				}
			}
		})
	}
	erasing.Wait()
	want := read(t, c.nodes[0].path, 8)
	for i, n := range c.nodes[1:] {
		if got := read(t, n.path, 8); got != want {
			t.Errorf("node %d has another journal", i+1)
		}
	}
	late := c.join(filepath.Join(t.TempDir(), "late.jsonl"))
	if got := read(t, late.path, 8); got != want {
		t.Error("a node with an empty journal has another one")
	}
	c.nodes[1].stop()
	if err := os.Remove(c.nodes[1].path); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c.join(c.nodes[1].path).path, 8); got != want {
		t.Error("a lost journal was filled with another one")
	}
}

// read reads a journal file once it has n lines.
func read(t *testing.T, path string, n int) string {
	t.Helper()
	var b []byte
	for range 200 {
		var err error
		if b, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		lines := 0
		for _, c := range b {
			if c == '\n' {
				lines++
			}
		}
		if lines >= n {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return string(b)
}

func TestOneProcessAtATimeDestroysWhatIsDue(t *testing.T) {
	c := newCluster(t, 3)
	for day := range 5 {
		k := domain.RetentionKey{Class: "messages", Tier: domain.OwnTier, Bucket: domain.BucketAt(time.Now().AddDate(0, 0, -40-day), domain.Day)}
		if _, _, err := c.custodian.IssueRetention(t.Context(), k, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	var expiring sync.WaitGroup
	for i, n := range c.nodes {
		expiring.Go(func() {
			for range 3 {
				if _, err := n.Expire(t.Context()); err != nil {
					t.Errorf("node %d: %v", i, err)
				}
			}
		})
	}
	expiring.Wait()
	w := &world{t: t, store: c.store}
	if n := w.count(domain.DestructionDone); n != 1 {
		t.Errorf("%d destructions are noted, want one", n)
	}
	if _, _, err := c.custodian.Document(t.Context(), "turn/expiry"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("the turn was not given back: %v", err)
	}
}

func TestWhatIsNotInTheLogYetIsKnownToComeTooLate(t *testing.T) {
	c := newCluster(t, 1)
	n := c.nodes[0]
	heard := ledger.NewHeard(testLedger, n.journal.Lost)
	ada, events := c.record(n, "ada", 1)
	_, others := c.record(n, "bob", 1)
	fate := func(r domain.Recorded) (bool, error) {
		spec, err := domain.Events.Spec(r.Type())
		if err != nil {
			t.Fatal(err)
		}
		e, err := domain.DecodeEnvelope(spec, r.Envelope())
		if err != nil {
			t.Fatal(err)
		}
		return heard.Destroyed(t.Context(), r.Stream(), e)
	}
	if _, err := fate(events[0]); !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("before anything was read: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var severed atomic.Int32
	n.Sever = func(ref domain.SubjectRef) {
		if ref == ada {
			severed.Add(1)
		}
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		_ = ledger.NewWatch(n.Ledger, ledger.WatchConfig{
			Whole: n.link, Lease: n.lease, Node: n.node, Pause: sleep, Notice: func(error) {}, Heard: heard,
		}).Run(ctx)
	})
	if _, err := n.Erase(t.Context(), ledger.Erasure{ExternalID: "ada", Principal: ledger.Principal{Role: "legal"}}); err != nil {
		t.Fatal(err)
	}
	dead := false
	for range 200 {
		if dead, _ = fate(events[0]); dead {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !dead || severed.Load() == 0 {
		t.Errorf("destroyed %v, severed %d times", dead, severed.Load())
	}
	if dead, err := fate(others[0]); dead || err != nil {
		t.Errorf("somebody else's event: destroyed %v, %v", dead, err)
	}
	cancel()
	watching.Wait()
}
