package keytest_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/keytest"
)

// counting counts how often bundles are read.
type counting struct {
	keys.Custodian
	bundles atomic.Int64
}

func (c *counting) Bundle(ctx context.Context, ref domain.SubjectRef) (keys.Subject, *seal.Bundle, error) {
	c.bundles.Add(1)
	return c.Custodian.Bundle(ctx, ref)
}

// TestAPersonsClassesCostOneReading: whoever records in several classes at once
// asks the custodian once a person, not once a class; and a fence stops each.
func TestAPersonsClassesCostOneReading(t *testing.T) {
	place, err := keytest.NewMemory().Open("place")
	if err != nil {
		t.Fatal(err)
	}
	custodian, policy := &counting{Custodian: place}, domain.DefaultPolicy()
	r, err := keys.NewRing(t.Context(), keys.RingConfig{
		Custodian: custodian, Ledger: "test", Namespace: "subjects", Clock: time.Now, Dead: keys.NewDead(),
		ClockTrusted: func() error { return nil }, Policy: func() *domain.Policy { return &policy },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	classes := []domain.Class{"network", "lifecycle", "messages"}
	seals := func(ref domain.SubjectRef) (errs []error) {
		for _, class := range classes {
			rule, _ := policy.Class(class)
			_, err := r.Sealing(t.Context(), ref, domain.Erasable, class, domain.OwnTier, domain.BucketAt(time.Now(), rule.Bucket))
			errs = append(errs, err)
		}
		return errs
	}
	for i, want := range []int64{3, 1, 1} { // nothing is known of the first one's neighbours
		p, err := r.Person(string(rune('a'+i)), domain.Erasable)
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := r.Enrol(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		custodian.bundles.Store(0)
		for k, err := range seals(s.Ref) {
			if err != nil {
				t.Errorf("person %d, class %s: %v", i, classes[k], err)
			}
		}
		if n := custodian.bundles.Load(); n != want {
			t.Errorf("person %d: %d readings, want %d", i, n, want)
		}
		if i == 2 {
			d := keys.Destruction{Command: domain.New[domain.CommandID](), Kind: keys.DestroySubject, Ref: s.Ref, Scope: domain.Erasable}
			if err := r.Fence(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			for k, err := range seals(s.Ref) {
				if err == nil {
					t.Errorf("behind the fence class %s is sealed for", classes[k])
				}
			}
		}
	}
}
