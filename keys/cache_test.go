package keys

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// small returns a cache with room for one value a shard, and what it evicted.
func small() (*cache[int, string], *[]string) {
	var evicted []string
	c := newCache(1, func(k int) byte { return byte(k) }, func(_ int, v string) { evicted = append(evicted, v) })
	return c, &evicted
}

func TestCacheForgetsTheLeastRecentlyUsed(t *testing.T) {
	var evicted []string
	c := newCache(2*cacheShards, func(k int) byte { return byte(k) }, func(_ int, v string) { evicted = append(evicted, v) })
	for i, v := range []string{"a", "b"} {
		c.put(i*cacheShards, v, 0)
	}
	c.get(0)
	c.put(2*cacheShards, "c", 0)
	if len(evicted) != 1 || evicted[0] != "b" {
		t.Fatalf("evicted %v, want b", evicted)
	}
	if _, ok := c.get(0); !ok || c.len() != 2 {
		t.Fatal("what was used last is gone")
	}
}

func TestCachePurgeOutdatesWhatIsBeingComputed(t *testing.T) {
	c, evicted := small()
	epoch := c.epoch(7)
	c.purgeAt(7, func(int, string) bool { return true })
	if _, ok := c.put(7, "old", epoch); ok {
		t.Fatal("a value computed before the purge was stored")
	}
	if _, ok := c.get(7); ok {
		t.Fatal("a purged value came back")
	}
	epoch = c.epoch(7)
	c.put(7, "new", epoch)
	epoch = c.epoch(7)
	c.purge(func(_ int, v string) bool { return v == "other" })
	if _, ok := c.put(7, "newer", epoch); ok {
		t.Fatal("a purge of others did not outdate what was being computed")
	}
	if v, ok := c.put(7, "second", c.epoch(7)); !ok || v != "new" {
		t.Fatalf("%q stands, want the first", v)
	}
	if len(*evicted) != 0 {
		t.Fatalf("evicted %v", *evicted)
	}
}

func TestFlightIsOneForAllAndSurvivesItsLeader(t *testing.T) {
	f := newFlight[int, int]()
	ctx, cancel := context.WithCancel(t.Context())
	entered, calls := make(chan struct{}), atomic.Int32{}
	leader := make(chan error, 1)
	go func() {
		_, err := f.do(ctx, 1, func() (int, error) {
			close(entered)
			<-ctx.Done()
			return 0, ctx.Err()
		})
		leader <- err
	}()
	<-entered
	results := make(chan int, 4)
	for range cap(results) {
		go func() {
			v, err := f.do(t.Context(), 1, func() (int, error) {
				calls.Add(1)
				time.Sleep(20 * time.Millisecond)
				return 5, nil
			})
			if err != nil {
				v = -1
			}
			results <- v
		}()
	}
	time.Sleep(20 * time.Millisecond)
	cancel()
	if err := <-leader; !errors.Is(err, context.Canceled) {
		t.Fatalf("leader: %v", err)
	}
	for range cap(results) {
		if v := <-results; v != 5 {
			t.Fatalf("a follower got %d", v)
		}
	}
	if n := calls.Load(); n < 1 || n > int32(cap(results)) {
		t.Fatalf("%d calls", n)
	}
}

func TestFlightWaiterGivesUp(t *testing.T) {
	f := newFlight[int, int]()
	entered, release := make(chan struct{}), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = f.do(t.Context(), 1, func() (int, error) {
			close(entered)
			<-release
			return 1, nil
		})
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.do(ctx, 1, nil); !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("error %v, want unavailable", err)
	}
	close(release)
	<-done
}

// TestSealsAreCountedAcrossEvictions: a key is not good for more seals because
// its handle left the cache in between.
func TestSealsAreCountedAcrossEvictions(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	p := place{ref: domain.New[domain.SubjectRef](), class: "messages", tier: "0", bucket: "2026-11-23", scope: domain.Erasable}
	spent := newSpent()
	h := &handle{sealing: seal.NewSealing(seal.Secret{}, seal.Secret{}, p.where("test", 1)), due: now.Unix() + 60}
	h.uses.Store(seal.MaxSeals - 1)
	if _, err := h.use(now); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := h.use(now); !errors.Is(err, domain.ErrExhausted) {
			t.Fatalf("error %v, want exhausted", err)
		}
	}
	spent.remember(p, h)
	again := &handle{sealing: h.sealing, due: h.due}
	again.uses.Store(spent.of(p))
	if _, err := again.use(now); !errors.Is(err, domain.ErrExhausted) {
		t.Fatalf("error %v, want exhausted, also behind an eviction", err)
	}
	spent.sweep(now)
	if spent.of(p) == 0 {
		t.Fatal("the count was forgotten before its bucket was due")
	}
	spent.sweep(now.Add(time.Minute))
	if spent.of(p) != 0 {
		t.Fatal("the count outlives its bucket")
	}
	if _, err := h.use(now.Add(time.Minute)); !errors.Is(err, domain.ErrPastDue) {
		t.Fatalf("error %v, want past due", err)
	}
}

func TestTagIsOfItsKindAndPlace(t *testing.T) {
	tagger := NewTagger(seal.Secret{1})
	seen := map[domain.Tag]bool{}
	for _, kind := range []domain.KeyKind{domain.KindR, domain.KindB, domain.KindS} {
		for _, where := range [][]byte{[]byte("a"), []byte("b")} {
			seen[tagger.Tag(kind, where)] = true
		}
	}
	seen[NewTagger(seal.Secret{2}).Tag(domain.KindR, []byte("a"))] = true
	if len(seen) != 7 {
		t.Fatalf("%d tags of 7 keys", len(seen))
	}
	d := NewDead()
	d.Add(tagger.Tag(domain.KindR, []byte("a")))
	if !d.Has(tagger.Tag(domain.KindR, []byte("a"))) || d.Has(tagger.Tag(domain.KindS, []byte("a"))) || d.Len() != 1 {
		t.Fatal("the set does not hold what was added, or more")
	}
}
