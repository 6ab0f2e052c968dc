package embedded_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/embedded"
)

func benchRing(b *testing.B) (*keys.Ring, *embedded.Custodian, *atomic.Int64) {
	b.Helper()
	c, err := embedded.Open(b.TempDir(), embedded.Options{})
	if err != nil {
		b.Fatal(err)
	}
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	ahead := &atomic.Int64{}
	policy := &domain.Policy{
		Classes: []domain.ClassRule{
			{ID: "network", Retention: domain.MustPeriod("P14D"), Bucket: domain.Day},
			{ID: "lifecycle", Retention: domain.MustPeriod("P6M"), Bucket: domain.Day},
			{ID: "messages", Retention: domain.MustPeriod("P30D"), Bucket: domain.Day},
		},
		Disposal: domain.DisposalRule{Within: domain.MustPeriod("P30D")},
	}
	began := time.Now()
	r, err := keys.NewRing(context.Background(), keys.RingConfig{
		Custodian: c, Ledger: "test", Namespace: "people", Dead: keys.NewDead(),
		Policy:       func() *domain.Policy { return policy },
		Clock:        func() time.Time { return start.Add(time.Since(began)).Add(time.Duration(ahead.Load())) },
		ClockTrusted: func() error { return nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		r.Close()
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	})
	return r, c, ahead
}

func benchPerson(b *testing.B, r *keys.Ring, name string) domain.SubjectRef {
	b.Helper()
	p, err := r.Person(name, domain.Erasable)
	if err != nil {
		b.Fatal(err)
	}
	s, _, err := r.Enrol(context.Background(), p)
	if err != nil {
		b.Fatal(err)
	}
	return s.Ref
}

// BenchmarkSealingHot is what every flushed event pays.
func BenchmarkSealingHot(b *testing.B) {
	r, _, _ := benchRing(b)
	ctx := context.Background()
	var refs []domain.SubjectRef
	for i := range 1000 {
		refs = append(refs, benchPerson(b, r, fmt.Sprint("person ", i)))
		if _, err := r.Sealing(ctx, refs[i], domain.Erasable, "messages", "0", "2026-11-23"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := r.Sealing(ctx, refs[i%len(refs)], domain.Erasable, "messages", "0", "2026-11-23"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSealingMiss is a known person's first event of a bucket.
func BenchmarkSealingMiss(b *testing.B) {
	r, _, _ := benchRing(b)
	ctx := context.Background()
	var refs []domain.SubjectRef
	for i := range 1000 {
		refs = append(refs, benchPerson(b, r, fmt.Sprint("person ", i)))
	}
	buckets := make([]domain.Bucket, 13)
	for i := range buckets {
		buckets[i] = domain.BucketAt(time.Date(2026, 11, 23-i, 0, 0, 0, 0, time.UTC), domain.Day)
		if _, err := r.Sealing(ctx, benchPerson(b, r, "first"), domain.Erasable, "network", "0", buckets[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	small, err := keys.NewRing(ctx, func() keys.RingConfig { c := r.RingConfig; c.Handles = 64; return c }())
	if err != nil {
		b.Fatal(err)
	}
	defer small.Close()
	for i := 0; b.Loop(); i++ {
		if _, err := small.Sealing(ctx, refs[i%len(refs)], domain.Erasable, "network", "0", buckets[i%len(buckets)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpeningHot is a key that the cache holds.
func BenchmarkOpeningHot(b *testing.B) {
	r, _, _ := benchRing(b)
	ctx := context.Background()
	h, err := r.Sealing(ctx, benchPerson(b, r, "ada"), domain.Erasable, "messages", "0", "2026-11-23")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Opening(ctx, h.Where(), domain.BlockID{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnrolCold enrols new persons from 64 goroutines.
func BenchmarkEnrolCold(b *testing.B) {
	r, _, _ := benchRing(b)
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				p, err := r.Person(fmt.Sprint("person ", i), domain.Erasable)
				if err == nil {
					_, _, err = r.Enrol(context.Background(), p)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "enrolments/s")
}

// BenchmarkDestroyRetention destroys one retention key beside 10,000 persons.
func BenchmarkDestroyRetention(b *testing.B) {
	r, c, _ := benchRing(b)
	benchCrowd(b, r)
	ctx := context.Background()
	day := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	for b.Loop() {
		b.StopTimer()
		k := domain.RetentionKey{Class: "messages", Tier: "0", Bucket: domain.BucketAt(day, domain.Day)}
		day = day.AddDate(0, 0, 1)
		if _, _, err := c.IssueRetention(ctx, k, day); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := c.DestroyRetention(ctx, []domain.RetentionKey{k}, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEraseSubject is fence, plan and destruction of a person beside
// 10,000 others.
func BenchmarkEraseSubject(b *testing.B) {
	r, _, _ := benchRing(b)
	benchCrowd(b, r)
	ctx := context.Background()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		d := keys.Destruction{
			Command: domain.New[domain.CommandID](), Kind: keys.DestroySubject, Scope: domain.Erasable,
			Ref: benchPerson(b, r, fmt.Sprint("victim ", i)),
		}
		b.StartTimer()
		if err := r.Fence(ctx, d); err != nil {
			b.Fatal(err)
		}
		p, err := r.Plan(ctx, d)
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Execute(ctx, d, p, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func benchCrowd(b *testing.B, r *keys.Ring) {
	b.Helper()
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := range 10_000 / 64 {
				p, err := r.Person(fmt.Sprint("crowd ", w, i), domain.Erasable)
				if err == nil {
					_, _, err = r.Enrol(context.Background(), p)
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
