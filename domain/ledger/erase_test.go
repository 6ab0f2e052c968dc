package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
	"github.com/lethe-ledger/lethe/keys/keytest"
)

// Proves: INV-3
func TestAnErasedPersonOpensNowhereAndNobodyElseIsTouched(t *testing.T) {
	w := newWorld(t)
	ada, bob := w.person("ada"), w.person("bob")
	of := w.record(ada, "messages", w.now)
	yesterday := w.record(ada, "messages", w.now.Add(-24*time.Hour))
	other := w.record(bob, "messages", w.now)
	w.reads("ada's", of, nil)
	done, err := w.erase(domain.RequestID{}, "ada", nil)
	if err != nil {
		t.Fatal(err)
	}
	if done.State != ledger.RequestKeysDestroyed || done.Receipt.KeysDestroyed == 0 || len(done.Receipt.Withheld) == 0 {
		t.Errorf("receipt: %+v", done.Receipt)
	}
	if len(w.severed) != 1 || w.severed[0] != ada {
		t.Errorf("severed %v", w.severed)
	}
	for range 2 {
		w.reads("ada's", of, domain.ErrErased)
		w.reads("ada's of yesterday", yesterday, domain.ErrErased)
		w.reads("bob's", other, nil)
		w.reopen()
	}
	if w.person("ada") == ada {
		t.Error("the ref was issued again")
	}
	w.reads("bob's", w.record(bob, "messages", w.now), nil)
}

func TestErasingAnUnknownPersonGivesAReceiptAndNoRef(t *testing.T) {
	w := newWorld(t)
	before, err := w.ring.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first, err := w.erase(domain.RequestID{}, "nobody", nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.erase(domain.RequestID{}, "nobody", nil)
	if err != nil {
		t.Fatal(err)
	}
	if first.Receipt.KeysDestroyed != 0 || len(first.Receipt.Classes) != 0 || first.Receipt.ID == second.Receipt.ID {
		t.Errorf("receipts: %+v, %+v", first.Receipt, second.Receipt)
	}
	after, err := w.ring.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.Subjects != before.Subjects+1 { // the controller's own
		t.Errorf("%d entries became %d", before.Subjects, after.Subjects)
	}
	if w.count(domain.DestructionBegun) != 0 {
		t.Error("a destruction was noted for somebody unknown")
	}
}

func TestErasingAClassLeavesTheOthersAndIsCollectedAgain(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	message, life := w.record(ada, "messages", w.now), w.record(ada, "lifecycle", w.now)
	if _, err := w.erase(domain.RequestID{}, "ada", func(e *ledger.Erasure) { e.Classes = []domain.Class{"messages"} }); err != nil {
		t.Fatal(err)
	}
	w.reads("the erased class", message, domain.ErrErased)
	w.reads("the other class", life, nil)
	again := w.record(ada, "messages", w.now)
	w.reads("the class collected again", again, nil)
	w.reads("what was erased", message, domain.ErrErased)
	if again.Stream() == message.Stream() {
		t.Error("the new gen stands in the old stream")
	}
	if len(w.severed) != 0 {
		t.Error("erasing a class severed a connection")
	}
}

// Proves: INV-8
func TestErasingARangeLeavesTheDaysBesideUntilTheirOwnExpiry(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	day := func(n int) domain.Recorded { return w.record(ada, "messages", w.now.AddDate(0, 0, -n)) }
	events := map[int]domain.Recorded{0: day(0), 1: day(1), 2: day(2), 3: day(3)}
	done, err := w.erase(domain.RequestID{}, "ada", func(e *ledger.Erasure) {
		e.Classes = []domain.Class{"messages"}
		e.From, e.Before = w.now.AddDate(0, 0, -2), w.now
	})
	if err != nil {
		t.Fatal(err)
	}
	if done.Receipt.Buckets != 2 {
		t.Errorf("the receipt counts %d buckets", done.Receipt.Buckets)
	}
	check := func() {
		t.Helper()
		w.reads("today", events[0], nil)
		w.reads("a day in the range", events[1], domain.ErrErased)
		w.reads("a day in the range", events[2], domain.ErrErased)
		w.reads("the day before", events[3], nil)
	}
	check()
	w.reopen()
	check()
	w.pass(27*24*time.Hour + 24*time.Hour)
	if _, err := w.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.reads("the day before, past its period", events[3], domain.ErrExpired)
	w.reads("today's, within its period", events[0], nil)
}

func TestWhatTheLawKeepsIsWithheld(t *testing.T) {
	w := newWorld(t)
	w.person("ada")
	done, err := w.erase(domain.RequestID{}, "ada", func(e *ledger.Erasure) { e.Classes = []domain.Class{"consent"} })
	if err != nil {
		t.Fatal(err)
	}
	if done.State != ledger.RequestWithheld || len(done.Receipt.Withheld) != 1 || done.Receipt.KeysDestroyed != 0 {
		t.Errorf("got %+v", done)
	}
}

func TestBadErasuresAreRefusedAndChangeNothing(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	of := w.record(ada, "messages", w.now)
	for name, edit := range map[string]func(*ledger.Erasure){
		"unknown class":   func(e *ledger.Erasure) { e.Classes = []domain.Class{"nothing"} },
		"unknown purpose": func(e *ledger.Erasure) { e.Purpose = "nothing" },
		"empty id":        func(e *ledger.Erasure) { e.ExternalID = "" },
		"reversed range":  func(e *ledger.Erasure) { e.From, e.Before = w.now, w.now.Add(-time.Hour) },
	} {
		if _, err := w.erase(domain.RequestID{}, "ada", edit); !errors.Is(err, ledger.ErrBadErasure) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.reads("ada's", of, nil)
}

// The kinds of erasure whose every step is interrupted.
var interrupted = map[string]struct {
	edit func(*world, *ledger.Erasure)
	kept error // what the event of another class reads afterwards
}{
	"person": {func(*world, *ledger.Erasure) {}, domain.ErrErased},
	"class":  {func(_ *world, e *ledger.Erasure) { e.Classes = []domain.Class{"messages"} }, nil},
	"range": {func(w *world, e *ledger.Erasure) {
		e.Classes, e.From = []domain.Class{"messages"}, w.now.AddDate(0, 0, -1)
	}, nil},
}

// Every call of an erasure to the log and to the custodian fails once, lost, and
// once applied but unanswered; the process ends there, and the next one
// finishes.
//
// Proves: INV-3, INV-5, INV-6
func TestAnErasureFinishesWhereverItWasInterrupted(t *testing.T) {
	for name, kind := range interrupted {
		for _, fault := range []struct {
			name string
			log  storetest.Fault
			keys keytest.Fault
		}{{"lost", storetest.Lost, keytest.Lost}, {"unanswered", storetest.Unanswered, keytest.Unanswered}} {
			t.Run(name+"/"+fault.name, func(t *testing.T) {
				w := newWorld(t)
				n := interruptEach(w, kind.edit, kind.kept, func(n int) { w.custodian.FailAt(n, fault.keys) })
				m := interruptEach(w, kind.edit, kind.kept, func(n int) { w.log.failAt(n, fault.log) })
				if n < 15 || m < 6 {
					t.Errorf("only %d calls to the custodian and %d to the log were interrupted", n, m)
				}
			})
		}
	}
}

// interruptEach interrupts call 1, 2, 3 … of an erasure, each of another person,
// until one goes through, and returns how many did not.
func interruptEach(w *world, edit func(*world, *ledger.Erasure), kept error, arm func(n int)) int {
	w.t.Helper()
	bob := w.person("bob")
	for n := 1; n < 200; n++ {
		id := fmt.Sprintf("ada%d-%d", n, w.journal.Lines())
		ada := w.person(id)
		of, life, other := w.record(ada, "messages", w.now), w.record(ada, "lifecycle", w.now), w.record(bob, "messages", w.now)
		request, lines, receipts := domain.New[domain.RequestID](), w.journal.Lines(), w.count(domain.RequestReceipted)
		arm(n)
		_, err := w.erase(request, id, func(e *ledger.Erasure) { edit(w, e) })
		through := err == nil
		w.reopen()
		if err := w.ResumeAll(w.t.Context()); err != nil {
			w.t.Fatalf("call %d: resuming: %v", n, err)
		}
		done, err := w.erase(request, id, func(e *ledger.Erasure) { edit(w, e) })
		if err != nil {
			w.t.Fatalf("call %d: finishing: %v", n, err)
		}
		if done.State != ledger.RequestKeysDestroyed || done.Receipt.KeysDestroyed == 0 {
			w.t.Errorf("call %d: %+v", n, done)
		}
		if got := w.journal.Lines() - lines; got != 1 {
			w.t.Errorf("call %d: %d journal lines", n, got)
		}
		if got := w.count(domain.RequestReceipted) - receipts; got != 1 {
			w.t.Errorf("call %d: %d receipts", n, got)
		}
		w.reads(fmt.Sprintf("call %d: the erased event", n), of, domain.ErrErased)
		w.reads(fmt.Sprintf("call %d: the other class", n), life, kept)
		w.reads(fmt.Sprintf("call %d: the other person's", n), other, nil)
		if through {
			return n - 1
		}
	}
	w.t.Fatal("no erasure went through")
	return 0
}

func TestARangeInWhichNothingCanBeDestroysNothing(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	of := w.record(ada, "messages", w.now)
	done, err := w.erase(domain.RequestID{}, "ada", func(e *ledger.Erasure) { e.Before = w.now.AddDate(-5, 0, 0) })
	if err != nil {
		t.Fatal(err)
	}
	if done.State != ledger.RequestKeysDestroyed || done.Receipt.KeysDestroyed != 0 || w.journal.Lines() != 0 {
		t.Errorf("got %+v, %d lines", done, w.journal.Lines())
	}
	w.reads("today's", of, nil)
	w.reads("recorded afterwards", w.record(ada, "messages", w.now), nil)
}

// A custodian that destroys nothing is found out by the probe: no receipt is
// issued, and the request stays open.
//
// Proves: INV-6
func TestNoReceiptIsIssuedWhileAnythingStillOpens(t *testing.T) {
	for name, edit := range map[string]func(*ledger.Erasure){
		"person": nil,
		"class":  func(e *ledger.Erasure) { e.Classes = []domain.Class{"messages"} },
	} {
		w := newWorld(t)
		ada := w.person("ada")
		w.record(ada, "messages", w.now)
		w.lying = true
		w.reopen()
		request := domain.New[domain.RequestID]()
		for range 2 {
			done, err := w.erase(request, "ada", edit)
			if !errors.Is(err, ledger.ErrStillOpens) || done.State != ledger.RequestPending {
				t.Errorf("%s: %s, %v", name, done.State, err)
			}
		}
		if w.count(domain.RequestReceipted) != 0 {
			t.Errorf("%s: a receipt was issued", name)
		}
		w.lying = false
		w.reopen()
		if done, err := w.erase(request, "ada", edit); err != nil || done.State != ledger.RequestKeysDestroyed {
			t.Errorf("%s, honest again: %s, %v", name, done.State, err)
		}
		_, b, err := w.custodian.Bundle(t.Context(), ada)
		if err == nil {
			_, there := b.Subject("messages", 1)
			if edit == nil || there {
				t.Errorf("%s: the custodian still has the keys", name)
			}
		}
	}
}

// Proves: INV-1
func TestALinkedAnonymousRefDiesWithItsPersonUnderANoteOfItsOwn(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	block, ref, err := w.ring.Anonymous(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := w.draft(ref, "messages", w.now)
	d.Block, d.Tier = block, domain.AnonTier
	if err := errors.Join(w.Record(t.Context(), []domain.Draft{d})...); err != nil {
		t.Fatal(err)
	}
	before := w.stored(d.ID)
	if err := w.ring.LinkAnonymous(t.Context(), ada, block, ref); err != nil {
		t.Fatal(err)
	}
	if _, err := w.erase(domain.RequestID{}, "ada", nil); err != nil {
		t.Fatal(err)
	}
	w.reads("the linked ref's event", before, domain.ErrErased)
	var refs []domain.SubjectRef
	commands := map[domain.CommandID]bool{}
	for r, err := range w.store.ReadStream(t.Context(), w.Streams().Destruction(), 0, eventstore.Forward, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(r.Envelope(), []byte(ada.String())) && bytes.Contains(r.Envelope(), []byte(ref.String())) {
			t.Error("one note carries both refs of a person")
		}
		spec, err := domain.Events.Spec(r.Type())
		if err != nil {
			t.Fatal(err)
		}
		e, err := domain.DecodeEnvelope(spec, r.Envelope())
		if err != nil {
			t.Fatal(err)
		}
		note, err := domain.ParseDestruction(r.Type(), e.Facts)
		if err != nil {
			t.Fatal(err)
		}
		if note.Done {
			refs = append(refs, note.Ref)
			commands[note.Command] = true
			if note.Ref == ref && note.Keys == 0 {
				t.Error("the linked ref's note counts no keys")
			}
		}
	}
	if !slices.Equal(refs, []domain.SubjectRef{ada, ref}) || len(commands) != 2 {
		t.Errorf("%d notes under %d commands", len(refs), len(commands))
	}
}

// Proves: INV-3
func TestAGenThatTheLogShowsIsNotUsedAgain(t *testing.T) {
	w := newWorld(t)
	ada := w.person("ada")
	for range 3 {
		w.record(ada, "messages", w.now)
		if _, err := w.erase(domain.RequestID{}, "ada", func(e *ledger.Erasure) { e.Classes = []domain.Class{"messages"} }); err != nil {
			t.Fatal(err)
		}
	}
	policy := domain.DefaultPolicy()
	if err := w.store.Delete(t.Context(), w.Streams().Of(domain.Where{Ref: ada, Class: "messages", Tier: domain.OwnTier, Gen: 3})); err != nil {
		t.Fatal(err)
	}
	for class, want := range map[domain.Class]domain.Gen{"messages": 3, "lifecycle": 0} {
		last, err := ledger.LastGen(t.Context(), w.log, w.Streams(), &policy, ada, class)
		if err != nil || last != want {
			t.Errorf("the last gen of %s is %d, want %d, %v", class, last, want, err)
		}
	}
}
