package recorder

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway"
)

// A fakeBook implements Gaps over the fake ledger: a gap that is paid stands among
// its drafts. While unpaid is set nothing can be paid.
type fakeBook struct {
	ledger *fakeLedger
	mu     sync.Mutex
	owed   []Gap
	most   int
	unpaid bool
	lost   bool // Owe fails
}

func (b *fakeBook) Owe(g Gap) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.IndexFunc(b.owed, func(o Gap) bool { return o.ID == g.ID })
	if at < 0 {
		at = len(b.owed)
		b.owed = append(b.owed, Gap{})
	}
	b.owed[at] = g
	b.most = max(b.most, len(b.owed))
	if g.None() {
		b.owed = slices.Delete(b.owed, at, at+1)
	}
	if b.lost {
		return domain.ErrUnavailable
	}
	return nil
}

func (b *fakeBook) Pay(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := 0; i < len(b.owed); {
		g := b.owed[i]
		if g.Open {
			i++
			continue
		}
		if b.unpaid {
			return domain.ErrUnavailable
		}
		note := domain.Draft{ID: g.ID, Type: domain.GapRecorded, N: uint32(g.Messages), Facts: domain.NewFacts(domain.Name("pool", g.Pool), domain.Int("bytes", g.Bytes), domain.Int("connections", g.Connections))} //nolint:gosec // few
		if err := b.ledger.Record(ctx, []domain.Draft{note})[0]; err != nil {
			return err
		}
		b.owed = slices.Delete(b.owed, i, i+1)
	}
	return nil
}

func (b *fakeBook) debts() []Gap {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.owed)
}

// passing opens a recorder whose pool chat lets traffic pass.
func passing(t *testing.T, l *fakeLedger, b *fakeBook, queue int) *Recorder {
	t.Helper()
	l.seen = map[domain.EventID]bool{}
	b.ledger = l
	p := testPolicy()
	p.Pools[0].OnLedgerFailure = domain.FailurePass
	r, err := New(Options{
		Ledger: l, Gaps: b, Subjects: &fakeSubjects{}, Policy: p, Clock: time.Now, Queue: queue, Workers: 1,
		MAC: func(s string) []byte { return []byte(s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sizes sums what the ledger holds of messages: in traffic, and in gaps.
func (l *fakeLedger) sizes(t *testing.T) (recorded, missing, bytes int64) {
	t.Helper()
	for _, d := range l.of(domain.TrafficRecorded, "messages") {
		block, err := domain.DecodeTraffic(d.Payload)
		if err != nil {
			t.Fatal(err)
		}
		recorded += int64(block.N)
		for _, s := range block.Sizes {
			bytes += int64(s) //nolint:gosec // small
		}
	}
	for _, d := range l.of(domain.GapRecorded, "") {
		missing += int64(d.N)
		bytes += d.Facts.Int("bytes")
	}
	return recorded, missing, bytes
}

func TestAPoolThatPassesLosesNoMessageUncounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, b := &fakeLedger{}, &fakeBook{}
		r := passing(t, l, b, 4)
		before, during := admit(t, r, "chat", "before", nil), admit(t, r, "chat", "during", nil)
		if err := before.Opened(time.Now(), gateway.Origin{}); err != nil {
			t.Fatal(err)
		}
		var crossed, bytes int64
		say := func(rec *recording, n int) {
			for range n {
				if err := one(rec, gateway.In, gateway.Text, time.Now(), 100); err != nil {
					t.Fatal(err)
				}
				crossed, bytes = crossed+1, bytes+100
			}
		}
		say(before, 8)
		time.Sleep(2 * time.Second)
		l.set(true)
		say(before, 4)
		time.Sleep(time.Second) // the worker has it in hand
		began := time.Now()
		say(before, 4000) // never blocks: the clock of this bubble stands still
		if !time.Now().Equal(began) {
			t.Error("traffic waited for the ledger")
		}
		if err := during.Opened(time.Now(), gateway.Origin{}); err != nil {
			t.Fatal(err)
		}
		say(during, 4)
		time.Sleep(time.Minute)
		owed := b.debts()
		if len(owed) != 1 || !owed[0].Open || owed[0].Connections < 2 || owed[0].Messages != 4008 {
			t.Fatalf("while the ledger is away: %+v", owed) // what waits in memory included
		}
		l.set(false)
		time.Sleep(5 * time.Second)
		say(during, 4)
		say(before, 4)
		time.Sleep(2 * time.Second)
		during.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
		before.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
		shut(t, r)

		recorded, missing, sum := l.sizes(t)
		if recorded+missing != crossed || sum != bytes || missing == 0 {
			t.Errorf("%d recorded and %d missing of %d, %d of %d bytes", recorded, missing, crossed, sum, bytes)
		}
		gaps := l.of(domain.GapRecorded, "")
		if len(gaps) != 1 || gaps[0].Facts.Int("connections") != 2 || len(b.debts()) != 0 {
			t.Errorf("gaps: %+v, owed %+v", gaps, b.debts())
		}
		// Of a connection that was opened in the gap, what comes behind it is recorded:
		// its later messages and its close. Its opening is not made up.
		types := map[domain.EventType]int{}
		for i, d := range l.drafts {
			if d.Ref == during.ref {
				types[d.Type]++
				if at := slices.IndexFunc(l.drafts, func(d domain.Draft) bool { return d.Type == domain.GapRecorded }); i < at {
					t.Errorf("%s stands before the gap", d.Type)
				}
			}
		}
		if want := map[domain.EventType]int{domain.TrafficRecorded: 1, domain.ConnectionClosed: 1}; !maps.Equal(types, want) {
			t.Errorf("of who came in the gap: %v", types)
		}
		if got := r.Missing(); len(got) != 1 || got[0] != (Missing{Pool: "chat", Gaps: 1, Connections: 2, Messages: missing, Bytes: missing * 100}) {
			t.Errorf("counted %+v", got)
		}
	})
}

// TestNothingOfAPoolIsRecordedBeforeItsGaps: also what an earlier process owes.
func TestNothingOfAPoolIsRecordedBeforeItsGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, b := &fakeLedger{}, &fakeBook{unpaid: true}
		b.owed = []Gap{{ID: domain.EventID{7}, Pool: "chat", Messages: 5}}
		r := passing(t, l, b, 2)
		rec := admit(t, r, "chat", "someone", nil)
		if err := rec.Opened(time.Now(), gateway.Origin{}); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := len(l.of(domain.TrafficRecorded, "messages")); n != 0 {
			t.Errorf("%d chunks were recorded before the gap was", n)
		}
		b.mu.Lock()
		if b.most != 2 {
			t.Errorf("%d gaps at once", b.most)
		}
		b.unpaid = false
		b.mu.Unlock()
		time.Sleep(time.Minute)
		rec.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
		shut(t, r)
		if len(l.drafts) < 3 || l.drafts[0].ID != (domain.EventID{7}) || l.drafts[1].Type != domain.GapRecorded {
			t.Errorf("recorded %d events, the first two are %+v", len(l.drafts), l.drafts[:2])
		}
		if recorded, missing, _ := l.sizes(t); recorded+missing != 105 {
			t.Errorf("%d recorded, %d missing of 105", recorded, missing)
		}
	})
}

// unanswering applies what it is given, and says that it did not.
type unanswering struct {
	*fakeLedger
	times int
}

func (l *unanswering) Record(ctx context.Context, drafts []domain.Draft) []error {
	errs := l.fakeLedger.Record(ctx, drafts)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.times--; l.times >= 0 {
		for i := range errs {
			errs[i] = domain.ErrUnavailable
		}
	}
	return errs
}

// TestAnAnswerThatIsLostMakesNoGap: what was recorded and not answered is not
// counted as missing, too.
func TestAnAnswerThatIsLostMakesNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, b := &fakeLedger{}, &fakeBook{}
		r := passing(t, l, b, 2)
		r.opt.Ledger = &unanswering{fakeLedger: l, times: 12}
		rec := admit(t, r, "chat", "someone", nil)
		for range 400 {
			if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		for range 4 {
			if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
				t.Fatal(err)
			}
		}
		rec.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
		shut(t, r)
		if recorded, missing, bytes := l.sizes(t); recorded+missing != 404 || bytes != 404 || missing == 0 {
			t.Errorf("%d recorded, %d missing of 404", recorded, missing)
		}
	})
}

// TestAGapOutlivesARecorderThatCannotFinish: what waited is owed with the rest, also
// where it cannot be written down.
func TestAGapOutlivesARecorderThatCannotFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, b := &fakeLedger{blocked: true}, &fakeBook{lost: true}
		r := passing(t, l, b, 2)
		rec := admit(t, r, "chat", "someone", nil)
		if err := rec.Opened(time.Now(), gateway.Origin{}); err != nil {
			t.Fatal(err)
		}
		for i := range 40 {
			if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
				t.Fatal(err)
			}
			if i == 3 {
				time.Sleep(500 * time.Millisecond) // the worker has them in hand
			}
		}
		rec.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, domain.ErrUnavailable) {
			t.Errorf("closed with %v", err)
		}
		var messages int64
		for _, g := range b.debts() {
			messages += g.Messages
			if g.Open || g.Connections != 1 {
				t.Errorf("left %+v", g)
			}
		}
		if messages != 40 || len(l.drafts) != 0 {
			t.Errorf("%d of 40 messages are owed, %d events recorded", messages, len(l.drafts))
		}
	})
}

// TestAGapHidesNoErasure: of a person who is fenced nothing passes unrecorded once
// the connection is severed, and what waited is discarded, not missing.
func TestAGapHidesNoErasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, b := &fakeLedger{blocked: true}, &fakeBook{}
		r := passing(t, l, b, 2)
		severed := 0
		rec := admit(t, r, "chat", "erased", func() { severed++ })
		for i := range 15 { // a batch in hand, two chunks in the queue, and a part of one
			if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
				t.Fatal(err)
			}
			if i == 3 {
				time.Sleep(500 * time.Millisecond)
			}
		}
		r.Sever(rec.ref)
		rec.Interrupt() // as the gateway does
		if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); !errors.Is(err, errInterrupted) {
			t.Errorf("a message of somebody fenced passed: %v", err)
		}
		l.mu.Lock()
		l.blocked, l.fail = false, func(d domain.Draft) error {
			if d.Ref == rec.ref {
				return domain.ErrErased
			}
			return nil
		}
		l.mu.Unlock()
		time.Sleep(time.Minute)
		rec.Closed(time.Now(), 4410, gateway.Severed, [2]int64{})
		shut(t, r)
		if gaps := l.of(domain.GapRecorded, ""); len(l.drafts) != 1 || len(gaps) != 1 || gaps[0].N != 4 || len(b.debts()) != 0 {
			t.Errorf("owed %+v, recorded %d events, gaps %+v", b.debts(), len(l.drafts), gaps)
		}
		if r.Counts().Discarded.Load() != 12 || severed < 2 {
			t.Errorf("%d discarded, severed %d times", r.Counts().Discarded.Load(), severed)
		}
	})
}

func TestAPoolThatPassesNeedsSomebodyToOweTo(t *testing.T) {
	p := testPolicy()
	p.Pools[0].OnLedgerFailure = domain.FailurePass
	if _, err := New(Options{Ledger: &fakeLedger{}, Subjects: &fakeSubjects{}, Policy: p, Clock: time.Now}); !errors.Is(err, errNoGaps) {
		t.Errorf("made with %v", err)
	}
}

// TestWhatWaitsIsOwedUntilItIsRecorded: a process that died would leave a gap; one
// that goes on leaves none.
func TestWhatWaitsIsOwedUntilItIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, b := &fakeLedger{blocked: true}, &fakeBook{}
		r := passing(t, l, b, 8)
		rec := admit(t, r, "chat", "someone", nil)
		began := time.Now()
		for range 20 {
			if err := one(rec, gateway.In, gateway.Text, time.Now(), 10); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		owed := b.debts()
		if len(owed) != 1 || owed[0].Messages != 20 || owed[0].Bytes != 200 || owed[0].Connections != 1 || !owed[0].Feared || owed[0].From.After(began) {
			t.Fatalf("while they wait: %+v", owed)
		}
		l.set(false)
		time.Sleep(5 * time.Second)
		if owed := b.debts(); len(owed) != 0 || len(l.of(domain.GapRecorded, "")) != 0 {
			t.Errorf("once they are recorded: %+v", owed)
		}
		l.set(true)
		if err := one(rec, gateway.In, gateway.Text, time.Now(), 10); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if len(b.debts()) != 1 {
			t.Errorf("when it is stuck again: %+v", b.debts())
		}
		l.set(false)
		rec.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
		shut(t, r)
		if l.messages(t, "messages") != 21 || len(b.debts()) != 0 || len(l.of(domain.GapRecorded, "")) != 0 || r.Missing()[0] != (Missing{Pool: "chat"}) {
			t.Errorf("%d recorded, owed %+v, missing %+v", l.messages(t, "messages"), b.debts(), r.Missing())
		}
	})
}
