package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
	"github.com/lethe-ledger/lethe/keys/keytest"
)

// Proves: INV-8
func TestADayExpiresForEverybodyAtOnceAndNothingElseDoes(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	old := []domain.Recorded{w.record(ada, "messages", w.now), w.record(bob, "messages", w.now)}
	life := w.record(ada, "lifecycle", w.now)
	w.pass(24 * time.Hour)
	younger := w.record(ada, "messages", w.now)
	w.pass(29*24*time.Hour - 10*time.Hour - 15*time.Minute)
	for _, r := range old {
		w.reads("past due, not yet destroyed", r, domain.ErrDenied)
	}
	done, err := w.Expire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Keys) != 1 || done.Keys[0].Class != "messages" {
		t.Errorf("destroyed %v", done.Keys)
	}
	for range 2 {
		for _, r := range old {
			w.reads("expired", r, domain.ErrExpired)
		}
		w.reads("the day after", younger, nil)
		w.reads("the other class", life, nil)
		w.reopen()
	}
	if again, err := w.Expire(t.Context()); err != nil || len(again.Keys) != 0 {
		t.Errorf("a second run destroyed %v, %v", again.Keys, err)
	}
}

func TestALateEventIsRecordedWithoutItsBodyAndCounted(t *testing.T) {
	w := newWorld(t)
	r := w.record(w.person("ada"), "messages", w.now.AddDate(0, 0, -31))
	opened, err := w.Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !opened.Envelope.Late || opened.Traffic != nil || opened.Envelope.N != 1 || w.Counts().Late.Load() != 1 {
		t.Errorf("got %+v, %d late", opened, w.Counts().Late.Load())
	}
}

// Proves: INV-3, INV-5
func TestAnExpiryFinishesWhereverItWasInterrupted(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	interruptions := 0
	arms := map[string]func(int){
		"custodian lost":       func(n int) { w.custodian.FailAt(n, keytest.Lost) },
		"custodian unanswered": func(n int) { w.custodian.FailAt(n, keytest.Unanswered) },
		"log lost":             func(n int) { w.log.failAt(n, storetest.Lost) },
		"log unanswered":       func(n int) { w.log.failAt(n, storetest.Unanswered) },
	}
	for name, arm := range arms {
		for n := 1; n < 100; n++ {
			old := w.record(ada, "messages", w.now)
			w.pass(24 * time.Hour)
			young := w.record(ada, "messages", w.now)
			w.pass(29 * 24 * time.Hour)
			dones := w.count(domain.DestructionDone)
			arm(n)
			_, err := w.Expire(t.Context())
			through := err == nil
			w.reopen()
			if err := w.ResumeAll(t.Context()); err != nil {
				t.Fatalf("%s %d: %v", name, n, err)
			}
			if _, err := w.Expire(t.Context()); err != nil {
				t.Fatalf("%s %d: %v", name, n, err)
			}
			w.reads(name+": old", old, domain.ErrExpired)
			w.reads(name+": young", young, nil)
			if w.count(domain.DestructionDone) == dones {
				t.Errorf("%s %d: no destruction was noted", name, n)
			}
			if through {
				break
			}
			interruptions++
		}
	}
	if interruptions < 12 {
		t.Errorf("only %d interruptions", interruptions)
	}
}

// Proves: INV-9
func TestAnOutageIsNeverAnErasure(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	r := w.record(ada, "messages", w.now)
	w.reopen() // nothing is cached
	w.custodian.Down()
	w.reads("with the custodian away", r, domain.ErrUnavailable)
	errs := w.Record(t.Context(), []domain.Draft{w.draft(ada, "messages", w.now)})
	if !errors.Is(errs[0], domain.ErrUnavailable) {
		t.Errorf("recording answered %v", errs[0])
	}
	w.custodian.FailAt(0, keytest.Lost)
	w.reads("with the custodian back", r, nil)
}

// Proves: INV-5
func TestADraftGivenAgainIsRecordedOnce(t *testing.T) {
	for name, fault := range map[string]storetest.Fault{"lost": storetest.Lost, "unanswered": storetest.Unanswered} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ada := w.person("ada")
			first := w.record(ada, "messages", w.now)
			batch := []domain.Draft{w.draft(ada, "messages", w.now), w.draft(ada, "messages", w.now)}
			w.log.failAt(1, fault)
			if errs := w.Record(t.Context(), batch); errs[0] == nil || errs[1] == nil {
				t.Fatalf("the fault did not strike: %v", errs)
			}
			batch = append(batch, w.draft(ada, "messages", w.now))
			if err := errors.Join(w.Record(t.Context(), batch)...); err != nil {
				t.Fatal(err)
			}
			for i, d := range batch {
				r := w.stored(d.ID)
				if r.Revision != first.Revision+1+domain.Revision(i) {
					t.Errorf("draft %d stands at revision %d", i, r.Revision)
				}
				w.reads("each", r, nil)
			}
		})
	}
}
