package erasable

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
)

// benchKeys is how many keys the large trees have; LETHE_BENCH_KEYS changes it.
func benchKeys(b *testing.B) int {
	b.Helper()
	s := os.Getenv("LETHE_BENCH_KEYS")
	if s == "" {
		return 100_000
	}
	n, err := strconv.Atoi(s)
	must(b, err)
	return n
}

// randomKey is as a hash would be: without order.
func randomKey(r *rand.Rand) []byte {
	k := make([]byte, 32)
	for i := range k {
		k[i] = byte(r.Uint32())
	}
	return k
}

// fill puts n random keys of 300 bytes in batches.
func fill(b *testing.B, tree *Tree, r *rand.Rand, n, batch int) [][]byte {
	b.Helper()
	var keys [][]byte
	value := make([]byte, 300)
	for len(keys) < n {
		must(b, tree.Update(context.Background(), func(tx *Tx) error {
			for range batch {
				k := randomKey(r)
				keys = append(keys, k)
				if err := tx.Put(k, value); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return keys
}

func benchTree(b *testing.B) *Tree {
	b.Helper()
	tree, err := Open(b.TempDir(), Options{})
	must(b, err)
	b.Cleanup(func() { mustClose(b, tree) })
	return tree
}

func BenchmarkUpdateAlone(b *testing.B) {
	tree := benchTree(b)
	r := rand.New(rand.NewPCG(1, 1))
	fill(b, tree, r, 10_000, 10_000)
	for b.Loop() {
		must(b, put(tree, string(randomKey(r)), make([]byte, 300)))
	}
}

func BenchmarkUpdateBy(b *testing.B) {
	for _, callers := range []int{16, 128} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			tree := benchTree(b)
			fill(b, tree, rand.New(rand.NewPCG(1, 1)), 10_000, 10_000)
			var wg sync.WaitGroup
			b.ResetTimer()
			for c := range callers {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(2, uint64(c)))
					for i := c; i < b.N; i += callers {
						if err := put(tree, string(randomKey(r)), make([]byte, 300)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			s := tree.Stats()
			b.ReportMetric(float64(b.N)/float64(s.Commits), "updates/commit")
		})
	}
}

func BenchmarkFill(b *testing.B) {
	n := benchKeys(b)
	for _, batch := range []int{1000, 10_000, 50_000} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			for b.Loop() {
				tree := benchTree(b)
				fill(b, tree, rand.New(rand.NewPCG(1, 1)), n, batch)
				b.ReportMetric(float64(tree.Stats().Pages*pageSize)/float64(n), "bytes/key")
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "keys/s")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	tree := benchTree(b)
	keys := fill(b, tree, rand.New(rand.NewPCG(1, 1)), benchKeys(b), 10_000)
	get := func(b *testing.B, keys [][]byte) {
		i := 0
		must(b, tree.View(func(tx *Tx) error {
			for b.Loop() {
				if _, ok, err := tx.Get(keys[i%len(keys)]); !ok || err != nil {
					b.Fatal(ok, err)
				}
				i++
			}
			return nil
		}))
	}
	b.Run("cached", func(b *testing.B) { get(b, keys[:1000]) })
	b.Run("any", func(b *testing.B) { get(b, keys) })
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	tree, err := Open(dir, Options{})
	must(b, err)
	fill(b, tree, rand.New(rand.NewPCG(1, 1)), benchKeys(b), 10_000)
	mustClose(b, tree)
	for b.Loop() {
		tree, err := Open(dir, Options{})
		must(b, err)
		mustClose(b, tree)
	}
}
