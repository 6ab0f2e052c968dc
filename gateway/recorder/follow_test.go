package recorder

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway"
)

// leftOut is a ledger whose policy has a class no more.
type leftOut struct {
	*fakeLedger
	class atomic.Value // domain.Class
}

func (l *leftOut) Record(ctx context.Context, drafts []domain.Draft) []error {
	errs := make([]error, len(drafts))
	for i, d := range drafts {
		if d.Class == l.class.Load() {
			errs[i] = errors.New("the class is not in the policy")
			continue
		}
		errs[i] = l.fakeLedger.Record(ctx, []domain.Draft{d})[0]
	}
	return errs
}

// Another policy is for connections to come. Live ones go on, and where a class is
// left out altogether nothing waits for it.
func TestAnotherPolicyIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leftOut{fakeLedger: &fakeLedger{seen: map[domain.EventID]bool{}}}
		r, err := New(Options{
			Ledger: l, Subjects: &fakeSubjects{}, Policy: testPolicy(), Clock: time.Now, MAC: func(s string) []byte { return []byte(s) },
		})
		if err != nil {
			t.Fatal(err)
		}
		before := admit(t, r, "chat", "someone", nil)
		other := testPolicy()
		other.Pools = other.Pools[:2]
		other.Pools[0].Capture = []domain.Class{"live", "lifecycle"}
		if err := r.Follow(other); err != nil {
			t.Fatal(err)
		}
		after := admit(t, r, "chat", "somebody", nil)
		for _, rec := range []*recording{before, after} {
			if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if live, messages := l.messages(t, "live"), l.messages(t, "messages"); live != 1 || messages != 1 {
			t.Errorf("%d messages by the policy of now and %d by the one before", live, messages)
		}
		if _, err := r.Admit(t.Context(), gateway.Identity{ExternalID: "x"}, gateway.Connection{Pool: "slow", Sever: func() {}}); !errors.Is(err, errNoPool) {
			t.Errorf("a pool that was left out: %v", err)
		}
		other.Classes = slices.DeleteFunc(other.Classes, func(c domain.ClassRule) bool { return c.ID == "messages" })
		other.Pools = other.Pools[:1]
		l.class.Store(domain.Class("messages"))
		if err := r.Follow(other); err != nil {
			t.Fatal(err)
		}
		for _, rec := range []*recording{before, after} {
			if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if live := l.messages(t, "live"); live != 2 {
			t.Errorf("%d messages by the policy of now", live)
		}
		if n := r.Counts().Discarded.Load(); n != 1 {
			t.Errorf("%d messages of a class that was left out are discarded", n)
		}
		other.Pools[0].Capture = []domain.Class{"nothing"}
		if r.Follow(other) == nil {
			t.Error("a pool that captures what the policy has not is taken over")
		}
		shut(t, r)
	})
}

// TestAPoolThatPassesNoMoreStillOwes: what another policy makes of the pool is for
// connections to come; those that pass go on, and their gap is paid.
func TestAPoolThatPassesNoMoreStillOwes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, b := &fakeLedger{blocked: true}, &fakeBook{}
		r := passing(t, l, b, 2)
		rec := admit(t, r, "chat", "someone", nil)
		say := func(n int) {
			for range n {
				if err := one(rec, gateway.In, gateway.Text, time.Now(), 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		say(40)
		if err := r.Follow(testPolicy()); err != nil { // chat blocks
			t.Fatal(err)
		}
		if c := admit(t, r, "chat", "else", nil).capture; c.gap != nil {
			t.Error("who comes now passes")
		}
		say(40)
		again := *testPolicy()
		again.Pools = slices.Clone(again.Pools)
		again.Pools[0].OnLedgerFailure = domain.FailurePass
		if err := r.Follow(&again); err != nil {
			t.Fatal(err)
		}
		if c := admit(t, r, "chat", "again", nil).capture; c.gap != rec.capture.gap {
			t.Error("the pool has two gaps")
		}
		if err := r.Follow(testPolicy()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		l.set(false)
		time.Sleep(5 * time.Second)
		say(4)
		rec.Closed(time.Now(), 1000, gateway.ClosedByClient, [2]int64{})
		shut(t, r)
		if recorded, missing, _ := l.sizes(t); recorded+missing != 84 || missing == 0 || len(b.debts()) != 0 {
			t.Errorf("%d recorded and %d missing of 84, owed %+v", recorded, missing, b.debts())
		}
	})
}
