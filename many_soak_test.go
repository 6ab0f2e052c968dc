package lethe

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

// soakTime is how long the log is killed and restarted: ten minutes in a soak.
func soakTime() time.Duration {
	if os.Getenv("LETHE_SOAK_ROUNDS") != "" {
		return 10 * time.Minute
	}
	return 15 * time.Second
}

// TestSoakTheLogIsKilledAndVaultIsSealed: two gateways and six people, while the
// log dies and comes back at random and Vault is sealed twice. Nothing is lost,
// nothing is counted twice, and neither memory nor the outboxes grow without
// bound.
//
// Proves: INV-4, INV-5, INV-9
func TestSoakTheLogIsKilledAndVaultIsSealed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "inmem")
	gateways := []*running{serve(t, s.config(t.TempDir())), serve(t, s.config(t.TempDir()))}
	s.log.SetHooks(esdbtest.Hooks{AfterCommit: func(context.Context, esdbtest.Call) error {
		if rand.IntN(10) == 0 {
			return esdbtest.ErrCloseConnection // applied, and never answered
		}
		return nil
	}})
	var sent [6]atomic.Int64
	var stop atomic.Bool
	var talking sync.WaitGroup
	for i := range sent {
		c := dial(t, gateways[i%2].Gateway, fmt.Sprint("person", i))
		talking.Go(func() {
			for !stop.Load() {
				c.talk(t, 20)
				sent[i].Add(20)
				time.Sleep(time.Duration(20+rand.IntN(200)) * time.Millisecond)
			}
		})
	}
	deaths := s.torment(soakTime())
	stop.Store(true)
	talking.Wait()
	for i := range sent {
		want := 2 * sent[i].Load()
		await(t, fmt.Sprint("all of person ", i), func() bool {
			show, err := gateways[(i+1)%2].SubjectShow(t.Context(), legal, fmt.Sprint("person", i))
			return err == nil && records(show, "messages", "present") == want
		})
		ordered(t, gateways[i%2], fmt.Sprint("person", i))
	}
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	if mem.HeapAlloc > 512<<20 {
		t.Errorf("%d MiB of heap are in use", mem.HeapAlloc>>20)
	}
	s.log.SetHooks(esdbtest.Hooks{})
	for i, g := range gateways {
		await(t, "an empty outbox", func() bool { return g.shared.outbox.Stats().Pending.Events == 0 })
		stats, shipped := g.shared.outbox.Stats(), g.shared.relay.Counts()
		t.Logf("gateway %d: %d deaths of the log, %d appends, %d of unknown outcome, %d events shipped, %d found", i, deaths,
			shipped.Appends.Load(), shipped.Unknown.Load(), shipped.Shipped.Load(), shipped.Found.Load())
		if stats.Used > 64<<20 {
			t.Errorf("gateway %d: the outbox holds %+v", i, stats)
		}
		sameAsRebuilt(t, g)
	}
	if deaths < 3 {
		t.Errorf("the log died %d times: the test lost its subject", deaths)
	}
}

// ordered checks that a person's messages stand in the log in the order of their
// times, each way by itself: both are pumped at once.
func ordered(t *testing.T, r *running, user string) {
	t.Helper()
	last := map[domain.Direction]int64{}
	for _, e := range messagesOf(t, r.Lethe, user) {
		var o ledger.Opened
		await(t, "opening "+e.ID().String(), func() (ok bool) {
			var err error
			o, err = r.ledger.Open(t.Context(), e)
			return err == nil
		})
		for i, at := range o.Traffic.At {
			way := o.Traffic.Directions[i]
			if at < last[way] {
				t.Fatalf("%s: a message of %d µs stands behind one of %d", user, at, last[way])
			}
			last[way] = at
		}
	}
}

// torment kills the log at random and seals Vault twice.
func (s *site) torment(during time.Duration) (deaths int) {
	s.t.Helper()
	begun := time.Now()
	seals := []time.Duration{during / 3, during * 2 / 3}
	for time.Since(begun) < during {
		time.Sleep(time.Duration(300+rand.IntN(1500)) * time.Millisecond)
		if len(seals) > 0 && time.Since(begun) > seals[0] {
			seals = seals[1:]
			s.vault.Seal()
			time.Sleep(time.Second)
			s.vault.Unseal()
		}
		s.log.Stop()
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		if err := s.log.Restart(); err != nil {
			s.t.Fatal(err)
		}
		deaths++
	}
	return deaths
}
