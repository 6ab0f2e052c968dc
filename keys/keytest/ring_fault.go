package keytest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// A scene is a part of a ledger's life that must end alike, whichever single
// call of the custodian fails within it, and however.
type scene struct {
	name string
	play func(*stage)
}

// A stage carries a scene's steps out; one that fails is tried again.
type stage struct {
	*world
	failed int
}

// must runs a step until it succeeds. A failure must be the injected one.
func (s *stage) must(step func() error) {
	s.t.Helper()
	for range 3 {
		err := step()
		if err == nil {
			return
		}
		if !errors.Is(err, ErrInjected) || !errors.Is(err, domain.ErrUnavailable) {
			s.t.Fatalf("%v", err)
		}
		s.failed++
	}
	s.t.Fatalf("a step does not succeed")
}

// ref enrols somebody, whatever it takes.
func (s *stage) ref(id string) (ref domain.SubjectRef) {
	s.t.Helper()
	s.must(func() error {
		subject, _, err := s.enrol(id)
		ref = subject.Ref
		return err
	})
	return ref
}

func (s *stage) sealed(ref domain.SubjectRef, class domain.Class) (i item) {
	s.t.Helper()
	s.must(func() (err error) {
		i, err = s.try(ref, class, domain.OwnTier, s.now)
		return err
	})
	return i
}

// erase carries a destruction out step by step; the plan stays once it stands.
func (s *stage) erase(d keys.Destruction) {
	s.t.Helper()
	s.must(func() error { return s.ring.Fence(background(), d) })
	var p keys.Plan
	s.must(func() (err error) {
		p, err = s.ring.Plan(background(), d)
		return err
	})
	s.write(d.Kind, p.Tags)
	s.must(func() error { return s.finish(d, p) })
}

// reads checks an outcome; an outage on the way reads as one and as nothing
// else.
func (s *stage) reads(i item, outcome error) {
	s.t.Helper()
	for range 3 {
		err := s.read(i)
		if errors.Is(err, ErrInjected) {
			wantErr(s.t, err, domain.ErrUnavailable)
			s.failed++
			continue
		}
		if !errors.Is(err, outcome) || (outcome == nil && err != nil) {
			s.t.Fatalf("%s reads %v, want %v", i.where, err, outcome)
		}
		return
	}
}

func scenes() []scene {
	return []scene{
		{"enrol and seal", playEnrol},
		{"class", playClass},
		{"range", playRange},
		{"person with a linked ref", playPerson},
		{"expiry", playExpiry},
	}
}

func playEnrol(s *stage) {
	ada := s.ref("ada")
	i := s.sealed(ada, "messages")
	s.must(func() error { return s.ring.IssueAhead(background()) })
	s.reads(i, nil)
	equal(s.t, "ref", s.ref("ada"), ada)
	s.restart()
	s.reads(i, nil)
}

func playClass(s *stage) {
	ada := s.ref("ada")
	gone, stays := s.sealed(ada, "messages"), s.sealed(ada, "network")
	s.erase(erasure(keys.DestroyClass, ada, "messages"))
	next := s.sealed(ada, "messages")
	equal(s.t, "gen", next.where.Gen, domain.Gen(2))
	s.reads(gone, domain.ErrErased)
	s.reads(stays, nil)
	s.reads(next, nil)
}

func playRange(s *stage) {
	ada := s.ref("ada")
	kept := s.sealed(ada, "messages")
	s.now = s.now.AddDate(0, 0, 1)
	gone := s.sealed(ada, "messages")
	d := erasure(keys.DestroyRange, ada, "messages")
	d.From = s.now
	s.erase(d)
	s.reads(gone, domain.ErrErased)
	s.reads(kept, nil)
}

func playPerson(s *stage) {
	ada := s.ref("ada")
	var stranger, other item
	for _, i := range []*item{&stranger, &other} {
		s.must(func() error {
			block, ref, err := s.ring.Anonymous(background())
			if err != nil {
				return err
			}
			*i, err = s.tryAnonymous(block, ref)
			return err
		})
	}
	s.must(func() error { return s.ring.LinkAnonymous(background(), ada, stranger.block, stranger.where.Ref) })
	own := s.sealed(ada, "network")
	s.erase(erasure(keys.DestroySubject, ada))
	s.reads(own, domain.ErrErased)
	s.reads(stranger, domain.ErrErased)
	s.reads(other, nil)
	if s.ref("ada") == ada {
		s.t.Fatalf("the erased ref came back")
	}
}

func playExpiry(s *stage) {
	ada := s.ref("ada")
	old := s.sealed(ada, "network")
	stays := s.sealed(ada, "messages")
	s.now = s.now.AddDate(0, 0, 14)
	var due []keys.RetentionRecord
	s.must(func() (err error) {
		due, err = s.ring.Due(background(), s.now)
		return err
	})
	equal(s.t, "keys due", len(due), 1)
	s.erase(keys.Destruction{
		Command: domain.New[domain.CommandID](), Kind: keys.DestroyRetention, Retention: []domain.RetentionKey{due[0].RetentionKey},
	})
	s.reads(old, domain.ErrExpired)
	s.reads(stays, nil)
}

// testFaults fails each call of each scene in turn, lost and unanswered.
func testFaults(t *testing.T, open Open) {
	for _, scene := range scenes() {
		for _, how := range []Fault{Lost, Unanswered} {
			t.Run(fmt.Sprintf("%s/%d", scene.name, how), func(t *testing.T) {
				t.Parallel()
				failEach(t, open, scene, how)
			})
		}
	}
}

func failEach(t *testing.T, open Open, scene scene, how Fault) {
	for n := 1; ; n++ {
		w := newWorld(t, open)
		w.faulty.FailAt(n, how)
		faulty := w.faulty
		s := &stage{world: w}
		scene.play(s)
		if faulty.Calls() < n {
			if n < 8 {
				t.Fatalf("the scene has only %d calls", n-1)
			}
			return
		}
		// IssueAhead joins several failures into one, and a background refill is
		// nobody's; every other fault must have been met.
		if s.failed == 0 {
			t.Fatalf("call %d failed and nobody noticed", n)
		}
		w.restart()
	}
}
