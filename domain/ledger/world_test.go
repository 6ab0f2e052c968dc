package ledger_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/keytest"
)

const testLedger domain.LedgerID = "test"

// A world is a ledger whose store and custodian fail on demand. Reopening it is
// what a restart of the process is: everything in memory is gone.
type world struct {
	*ledger.Ledger
	t         *testing.T
	store     eventstore.Store
	custodian *keytest.Faulty
	log       *failingLog
	ring      *keys.Ring
	journal   *ledger.Journal
	found     ledger.Replayed
	path      string
	severed   []domain.SubjectRef
	// lying: the custodian acknowledges and destroys nothing, and the ring is not
	// told what the journal names.
	lying bool
	// between wraps the custodian that the ring asks.
	between func(keys.Custodian) keys.Custodian

	mu  sync.Mutex
	now time.Time
}

// failingLog fails the n-th append from now.
type failingLog struct {
	storetest.Faulty
	mu    sync.Mutex
	calls int
	at    int
	fault storetest.Fault
}

func (f *failingLog) failAt(n int, how storetest.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.at, f.fault = 0, n, how
}

func (f *failingLog) next() storetest.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls++; f.calls == f.at {
		return f.fault
	}
	return storetest.None
}

func newWorld(t *testing.T) *world {
	t.Helper()
	custodian, err := keytest.NewMemory().Open("place")
	if err != nil {
		t.Fatal(err)
	}
	w := emptyWorld(t, keytest.NewFaulty(custodian), filepath.Join(t.TempDir(), "journal", "erasures.jsonl"))
	w.reopen()
	return w
}

// emptyWorld is a world with an empty log over a custodian that may know more.
func emptyWorld(t *testing.T, custodian *keytest.Faulty, path string) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 23, 10, 15, 0, 0, time.UTC), custodian: custodian, path: path}
	store, err := embedded.Open(t.TempDir(), embedded.Options{Clock: w.clock, Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	w.store = store
	w.log = &failingLog{Faulty: storetest.Faulty{Store: store}}
	w.log.Next = w.log.next
	t.Cleanup(func() {
		w.ring.Close()
		if w.journal != nil {
			_ = w.journal.Close()
		}
	})
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// keeping is a custodian that acknowledges destructions and keeps everything.
type keeping struct{ keys.Custodian }

func (k keeping) Change(ctx context.Context, ref domain.SubjectRef, change func(*keys.Subject, *seal.Bundle) error) error {
	return k.Custodian.Change(ctx, ref, func(s *keys.Subject, b *seal.Bundle) error {
		thrown, err := seal.DecodeBundle(b.Encode())
		if err != nil {
			return err
		}
		return change(s, thrown)
	})
}
func (keeping) Remove(context.Context, domain.SubjectRef) error { return nil }

// reopen begins a new process over the same engines.
func (w *world) reopen() {
	w.t.Helper()
	w.custodian.FailAt(0, keytest.Lost)
	w.log.failAt(0, storetest.None)
	if err := w.open(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) open() (err error) {
	if w.ring != nil {
		w.ring.Close()
	}
	if w.journal != nil {
		_ = w.journal.Close() // a process that died closed nothing
	}
	ctx, policy := w.t.Context(), domain.DefaultPolicy()
	policy.Pools[0].Capture = []domain.Class{"messages"} // who is entered has the keys of these buckets at once; tests count them
	var log *ledger.PolicyLog
	var custodian keys.Custodian = w.custodian
	if w.lying {
		custodian = keeping{w.custodian}
	}
	if w.between != nil {
		custodian = w.between(custodian)
	}
	w.ring, err = keys.NewRing(ctx, keys.RingConfig{
		Custodian: custodian, Ledger: testLedger, Namespace: "subjects", Clock: w.clock, Dead: keys.NewDead(),
		ClockTrusted: func() error { return nil },
		Policy: func() *domain.Policy {
			if log == nil {
				return &policy
			}
			return log.Policy()
		},
	})
	if err != nil {
		return err
	}
	opened, err := ledger.OpenPolicyLog(ctx, w.log, testLedger, w.ring.Integrity(), w.clock)
	if err != nil {
		return err
	}
	if err := opened.Apply(ctx, &policy, ""); err != nil {
		return err
	}
	log = opened
	dead := w.ring.Dead
	if w.lying {
		dead = keys.NewDead()
	}
	w.journal, w.found, err = ledger.OpenJournal(ctx, ledger.JournalConfig{
		ID: testLedger, Log: w.log, Heads: w.custodian, Ring: w.ring, Integrity: w.ring.Integrity(), Dead: dead, Clock: w.clock, Path: w.path,
	})
	if err != nil {
		return err
	}
	w.Ledger, err = ledger.New(ledger.Config{
		ID: testLedger, Log: w.log, Ring: w.ring, Custody: w.custodian, Policy: log, Journal: w.journal, Clock: w.clock,
		Sever: func(ref domain.SubjectRef) { w.severed = append(w.severed, ref) },
	})
	return err
}

func (w *world) person(id string) domain.SubjectRef {
	w.t.Helper()
	p, err := w.ring.Person(id, domain.Erasable)
	if err != nil {
		w.t.Fatal(err)
	}
	s, _, err := w.ring.Enrol(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Ref
}

// draft is an event of class messages with one record.
func (w *world) draft(ref domain.SubjectRef, class domain.Class, at time.Time) domain.Draft {
	b := domain.TrafficBuilder{}
	b.Add(at.UnixMicro(), domain.In, domain.Text, 7)
	return domain.Draft{
		ID: domain.Event(domain.New[domain.CommandID](), 0), Type: domain.TrafficRecorded, At: at, Scope: domain.Erasable, Ref: ref,
		Class: class, Tier: domain.OwnTier, N: 1, Payload: b.Encode(nil, domain.ColumnAt|domain.ColumnSize),
		Facts: domain.NewFacts(domain.Name("pool", "default"), domain.UUID("connection", domain.New[domain.ConnectionID]())),
	}
}

// record records one event and returns it as stored.
func (w *world) record(ref domain.SubjectRef, class domain.Class, at time.Time) domain.Recorded {
	w.t.Helper()
	d := w.draft(ref, class, at)
	if err := errors.Join(w.Record(w.t.Context(), []domain.Draft{d})...); err != nil {
		w.t.Fatal(err)
	}
	return w.stored(d.ID)
}

func (w *world) stored(id domain.EventID) domain.Recorded {
	w.t.Helper()
	var found []domain.Recorded
	for r, err := range w.store.ReadAll(w.t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		if r.ID() == id {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		w.t.Fatalf("event stands %d times in the log", len(found))
	}
	return found[0]
}

// reads fails unless opening an event has the outcome; nil is present.
func (w *world) reads(what string, r domain.Recorded, outcome error) {
	w.t.Helper()
	_, err := w.Open(w.t.Context(), r)
	if !errors.Is(err, outcome) || (outcome == nil && err != nil) {
		w.t.Errorf("%s reads %v, want %v", what, err, outcome)
	}
}

func (w *world) erase(request domain.RequestID, id string, edit func(*ledger.Erasure)) (ledger.Outcome, error) {
	e := ledger.Erasure{Request: request, ExternalID: id, Ground: "A17-1-b", Principal: ledger.Principal{Role: "legal"}}
	if edit != nil {
		edit(&e)
	}
	return w.Erase(context.WithoutCancel(w.t.Context()), e)
}

// count counts the events of a type in the log.
func (w *world) count(typ domain.EventType) (n int) {
	w.t.Helper()
	for r, err := range w.store.ReadAll(w.t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		if r.Type() == typ {
			n++
		}
	}
	return n
}
