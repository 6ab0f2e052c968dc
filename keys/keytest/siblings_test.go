package keytest_test

import (
	"context"
	"errors"
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
	entered func(domain.SubjectRef) // called behind the commit of an enrolment, if set
}

func (c *counting) Bundle(ctx context.Context, ref domain.SubjectRef) (keys.Subject, *seal.Bundle, error) {
	c.bundles.Add(1)
	return c.Custodian.Bundle(ctx, ref)
}

func (c *counting) Enrol(ctx context.Context, s keys.Subject, b *seal.Bundle) (keys.Subject, error) {
	s, err := c.Custodian.Enrol(ctx, s, b)
	if c.entered != nil {
		c.entered(s.Ref)
	}
	return s, err
}

// A process is a ring of its own over a custodian that others use, too.
type process struct {
	t *testing.T
	*keys.Ring
	custodian *counting
	policy    domain.Policy
}

func newProcess(t *testing.T, open keytest.Open) *process {
	t.Helper()
	place, err := open("place")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, custodian: &counting{Custodian: place}, policy: domain.DefaultPolicy()}
	p.Ring, err = keys.NewRing(t.Context(), keys.RingConfig{
		Custodian: p.custodian, Ledger: "test", Namespace: "subjects", Clock: time.Now, Dead: keys.NewDead(),
		ClockTrusted: func() error { return nil }, Policy: func() *domain.Policy { return &p.policy },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func (p *process) enrol(id string) domain.SubjectRef {
	p.t.Helper()
	who, err := p.Person(id, domain.Erasable)
	if err != nil {
		p.t.Fatal(err)
	}
	s, _, err := p.Enrol(p.t.Context(), who)
	if err != nil {
		p.t.Fatal(err)
	}
	return s.Ref
}

// seal asks for the handles of a connection's classes, each of which must answer
// want, and returns how many bundles that read.
func (p *process) seal(ref domain.SubjectRef, want error) int64 {
	p.t.Helper()
	p.custodian.bundles.Store(0)
	for _, class := range []domain.Class{"network", "lifecycle", "messages"} {
		rule, _ := p.policy.Class(class)
		_, err := p.Sealing(p.t.Context(), ref, domain.Erasable, class, domain.OwnTier, domain.BucketAt(time.Now(), rule.Bucket))
		if !errors.Is(err, want) || (want == nil && err != nil) {
			p.t.Errorf("class %s is sealed for with %v, want %v", class, err, want)
		}
	}
	return p.custodian.bundles.Load()
}

// TestAPersonsClassesCostOneReading: whoever records in several classes at once
// asks the custodian for a known person once, not once a class, and for one whom
// this process entered not at all; and a fence stops each class.
func TestAPersonsClassesCostOneReading(t *testing.T) {
	open := keytest.NewMemory().Open
	first, second := newProcess(t, open), newProcess(t, open)
	for _, id := range []string{"a", "b"} { // the first of a process, too
		ref := first.enrol(id)
		if n := first.seal(ref, nil); n != 0 {
			t.Errorf("person %s, new: %d readings, want none", id, n)
		}
		if n := second.seal(second.enrol(id), nil); n != 1 {
			t.Errorf("person %s, known: %d readings, want 1", id, n)
		}
		d := keys.Destruction{Command: domain.New[domain.CommandID](), Kind: keys.DestroySubject, Ref: ref, Scope: domain.Erasable}
		if err := first.Fence(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		first.seal(ref, domain.ErrFenced)
	}
}

// TestFenceBehindEnrolment: a person is fenced between the commit of their
// enrolment and its end. No handle comes out of it, whether this process fenced
// or heard of it.
func TestFenceBehindEnrolment(t *testing.T) {
	open := keytest.NewMemory().Open
	here, elsewhere := newProcess(t, open), newProcess(t, open)
	for name, fence := range map[string]func(keys.Destruction) error{
		"fenced here": func(d keys.Destruction) error { return here.Fence(t.Context(), d) },
		"heard of": func(d keys.Destruction) error {
			err := elsewhere.Fence(t.Context(), d)
			here.Heard(domain.DestructionNote{Kind: d.Kind, Command: d.Command, Ref: d.Ref})
			return err
		},
	} {
		here.custodian.entered = func(ref domain.SubjectRef) {
			d := keys.Destruction{Command: domain.New[domain.CommandID](), Kind: keys.DestroySubject, Ref: ref, Scope: domain.Erasable}
			if err := fence(d); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		here.seal(here.enrol(name), domain.ErrFenced)
	}
}
