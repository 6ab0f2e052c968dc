package erasable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestUpdatesShareACommit(t *testing.T) {
	tree, err := Open(t.TempDir(), Options{})
	must(t, err)
	defer func() { mustClose(t, tree) }()
	const callers, each = 32, 20
	var wg sync.WaitGroup
	var failed atomic.Int64
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("%d-%d", c, i)
				err := tree.Update(context.Background(), func(tx *Tx) error {
					if err := tx.Put([]byte(key), []byte("v")); err != nil {
						return err
					}
					if i%5 == 4 {
						return errInjected
					}
					return nil
				})
				switch {
				case i%5 == 4 && errors.Is(err, errInjected):
					failed.Add(1)
				case err != nil:
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	s := tree.Stats()
	if got := len(contents(t, tree)); got != callers*each*4/5 || failed.Load() != callers*each/5 {
		t.Fatalf("%d keys, %d failed", got, failed.Load())
	}
	if s.Commits*4 > callers*each {
		t.Fatalf("%d commits for %d updates", s.Commits, callers*each)
	}
	mustBeSound(t, tree)
}

// Readers see each commit whole while the writer goes on, with a cache so small
// that nodes are evicted under them.
func TestViewsWhileWriting(t *testing.T) {
	d := newDisk(1)
	tree, err := Open("dir", Options{FS: d, CacheBytes: 1})
	must(t, err)
	defer func() { mustClose(t, tree) }()
	const keys = 400
	round := func(n int) error {
		return tree.Update(context.Background(), func(tx *Tx) error {
			for i := range keys {
				if err := tx.Put(fmt.Appendf(nil, "key%03d", i), fmt.Appendf(nil, "%d%900d", n, i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, round(0))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := tree.View(sameRound); err != nil {
					t.Error(err)
					return
				}
				runtime.Gosched()
			}
		})
	}
	for n := range 25 {
		must(t, round(n))
	}
	close(stop)
	wg.Wait()
	must(t, round(99))
	must(t, round(99)) // frees what the last views held
	if s := tree.Stats(); s.Waiting > 0 || s.Pages > 5000 {
		t.Fatalf("after the views: %d pages, %d waiting", s.Pages, s.Waiting)
	}
	mustBeSound(t, tree)
}

func sameRound(tx *Tx) error {
	first, _, err := tx.Get([]byte("key000"))
	if err != nil {
		return err
	}
	n, want := 0, strings.Fields(string(first))[0]
	err = tx.Scan([]byte("key"), func(k, v []byte) error {
		n++
		if got := strings.Fields(string(v))[0]; got != want {
			return fmt.Errorf("%s is of round %s, the first key of %s", k, got, want)
		}
		return nil
	})
	if err == nil && n != 400 {
		err = fmt.Errorf("%d keys", n)
	}
	return err
}

func TestFileDoesNotGrowUnderSteadyUpdates(t *testing.T) {
	d, _ := grown(t, 500)
	tree := mustOpen(t, d)
	defer func() { mustClose(t, tree) }()
	churn := func() {
		for i := range 200 {
			must(t, put(tree, fmt.Sprintf("key%04d", i%500), make([]byte, 300+i%7*1000)))
		}
	}
	churn()
	pages := tree.Stats().Pages
	for range 5 {
		churn()
	}
	if after := tree.Stats().Pages; after > pages+pages/20 {
		t.Fatalf("keys.tree grew from %d to %d pages", pages, after)
	}
	mustBeSound(t, tree)
	for i := range tree.o.pager.cache.shards {
		for _, n := range tree.o.pager.cache.shards[i].nodes {
			if n.pins != 0 {
				t.Fatalf("page %d is still pinned", n.page)
			}
		}
	}
}

func TestAfterClose(t *testing.T) {
	d := newDisk(1)
	tree := mustOpen(t, d)
	mustClose(t, tree)
	if err := put(tree, "k", nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("Update: %v", err)
	}
	if err := tree.View(func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Fatalf("View: %v", err)
	}
}

func TestTxOutsideItsFunction(t *testing.T) {
	tree := mustOpen(t, newDisk(1))
	defer func() { mustClose(t, tree) }()
	must(t, put(tree, "k", []byte("v")))
	var kept *Tx
	must(t, tree.View(func(tx *Tx) error {
		kept = tx
		if err := tx.Put([]byte("k"), nil); !errors.Is(err, ErrReadOnly) {
			t.Fatalf("Put in a View: %v", err)
		}
		return nil
	}))
	if _, _, err := kept.Get([]byte("k")); !errors.Is(err, ErrTxDone) {
		t.Fatalf("Get: %v", err)
	}
	if err := kept.Delete([]byte("k")); !errors.Is(err, ErrTxDone) {
		t.Fatalf("Delete: %v", err)
	}
	if err := kept.Scan(nil, nil); !errors.Is(err, ErrTxDone) {
		t.Fatalf("Scan: %v", err)
	}
}

func TestLimits(t *testing.T) {
	tree := mustOpen(t, newDisk(1))
	defer func() { mustClose(t, tree) }()
	longest, largest := strings.Repeat("k", MaxKey), bytes.Repeat([]byte("v"), MaxValue)
	must(t, put(tree, longest, largest))
	must(t, put(tree, "", []byte("of the empty key")))
	mustHold(t, tree, map[string]string{longest: string(largest), "": "of the empty key"})
	ignored := func(tx *Tx) error { _ = tx.Put([]byte("k"), make([]byte, MaxValue+1)); return nil }
	if err := tree.Update(context.Background(), ignored); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("a Put that failed unseen: %v", err)
	}
	if err := put(tree, longest+"k", nil); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("a key too long: %v", err)
	}
	mustBeSound(t, tree)
}

func TestPanicLeavesTheTreeUsable(t *testing.T) {
	tree := mustOpen(t, newDisk(1))
	defer func() { mustClose(t, tree) }()
	func() {
		defer func() {
			if recover() == nil {
				t.Fatal("the panic was swallowed")
			}
		}()
		_ = tree.Update(context.Background(), func(tx *Tx) error {
			must(t, tx.Put([]byte("k"), nil))
			panic("in the function")
		})
	}()
	must(t, put(tree, "other", nil))
	mustHold(t, tree, map[string]string{"other": ""})
}

func TestCancelledUpdateDoesNotRun(t *testing.T) {
	tree := mustOpen(t, newDisk(1))
	defer func() { mustClose(t, tree) }()
	ctx, cancel := context.WithCancel(context.Background())
	begun, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := tree.Update(context.Background(), func(tx *Tx) error {
			close(begun)
			<-release
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-begun
	go cancel()
	err := tree.Update(ctx, func(*Tx) error { t.Error("it ran"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Update: %v", err)
	}
	close(release)
	wg.Wait()
}

// An Update that fails because of what it saw of another in the same commit
// returns only once that is durable, and not with its own error if that fails.
func TestFailureThatSawOthersWaitsForThem(t *testing.T) {
	d := newDisk(1)
	tree := mustOpen(t, d)
	defer func() { mustClose(t, tree) }()
	errExists := errors.New("exists")
	for range 200 {
		d.mu.Lock()
		d.room = int64(len(d.files[TreeFile].seen)) + 1
		d.mu.Unlock()
		saw := false
		results := pair(tree, func(tx *Tx) error {
			_, ok, err := tx.Get([]byte("k"))
			if err != nil {
				return err
			}
			if ok {
				saw = true
				return errExists
			}
			return tx.Put([]byte("k"), make([]byte, MaxValue))
		})
		if !saw {
			continue // they did not share a commit
		}
		for _, err := range results {
			if err == nil || errors.Is(err, errExists) {
				t.Fatalf("answered %v about a change that was not made", err)
			}
		}
		return
	}
	t.Fatal("no two updates ever shared a commit")
}

// pair runs fn in two Updates that wait at the same time.
func pair(tree *Tree, fn func(*Tx) error) []error {
	begun, results := make(chan struct{}), make([]error, 2)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = tree.Update(context.Background(), func(*Tx) error {
			close(begun)
			for range 100 {
				runtime.Gosched()
			}
			return nil
		})
	})
	<-begun
	for i := range results {
		wg.Go(func() { results[i] = tree.Update(context.Background(), fn) })
	}
	wg.Wait()
	return results
}

// Updates that meet a damaged leaf fail alone, whoever shares their commit.
func TestDamageFailsOnlyWhatMeetsIt(t *testing.T) {
	d, model := grown(t, 1000)
	d.damage(TreeFile, 20*pageSize)
	tree := mustOpen(t, d)
	defer func() { mustClose(t, tree) }()
	var failed, done atomic.Int64
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < len(model); i += 8 {
				switch err := del(tree, fmt.Sprintf("key%04d", i)); {
				case err == nil:
					done.Add(1)
				case errors.Is(err, ErrDamaged):
					failed.Add(1)
				default:
					t.Errorf("Delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if f := failed.Load(); f == 0 || f > 20 || done.Load()+f != int64(len(model)) {
		t.Fatalf("%d failed, %d done", f, done.Load())
	}
}
