package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
)

// copyOf is the world with a log as it was up to a position; files and custodian
// stay.
func (w *disposing) copyOf(through domain.Position) *disposing {
	w.t.Helper()
	older := &disposing{world: emptyWorld(w.t, w.custodian, w.path), busy: map[domain.SubjectRef]bool{}}
	older.now = w.now
	for r, err := range w.store.ReadAll(w.t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		if through.Before(r.Position) {
			break
		}
		if _, err := older.store.Append(w.t.Context(), r.Stream(), r.Revision-1, []domain.Sealed{r.Sealed}); err != nil {
			w.t.Fatal(err)
		}
	}
	older.reopen()
	return older
}

func (w *disposing) end() (at domain.Position) {
	w.t.Helper()
	for r, err := range w.store.ReadAll(w.t.Context(), domain.End, eventstore.Backward, 1) {
		if err != nil {
			w.t.Fatal(err)
		}
		at = r.Position
	}
	return at
}

// destructions are the notes that say that something is destroyed.
func (w *disposing) destructions() (notes []domain.DestructionNote) {
	w.t.Helper()
	for r, err := range w.store.ReadStream(w.t.Context(), w.Streams().Destruction(), 0, eventstore.Forward, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		note, err := domain.ParseDestruction(r.Type(), w.facts(r))
		if err != nil {
			w.t.Fatal(err)
		}
		if note.Done {
			notes = append(notes, note)
		}
	}
	return notes
}

// covered are the personal events that a note covers.
func (w *disposing) covered() map[domain.EventID]bool {
	w.t.Helper()
	covered := map[domain.EventID]bool{}
	notes := w.destructions()
	for _, r := range w.personal() {
		spec, err := domain.Events.Spec(r.Type())
		if err != nil {
			w.t.Fatal(err)
		}
		e, err := domain.DecodeEnvelope(spec, r.Envelope())
		if err != nil {
			w.t.Fatal(err)
		}
		name, err := w.Streams().Parse(r.Stream())
		if err != nil {
			w.t.Fatal(err)
		}
		k := domain.RetentionKey{Class: e.Class, Tier: e.Tier, Bucket: e.Bucket}
		if slices.ContainsFunc(notes, func(n domain.DestructionNote) bool {
			return n.Covers(e, name.Block) || n.Kind == domain.DestroyRetention && slices.Contains(n.Buckets, k)
		}) {
			covered[r.ID()] = true
		}
	}
	return covered
}

// aHistory records what the destructions of destroyAll take and leave, and returns
// the events by how they read afterwards.
func (w *disposing) aHistory() map[domain.EventID]domain.Recorded {
	w.t.Helper()
	w.record(w.person("eve"), "messages", w.now) // of a day that expires
	w.pass(29 * 24 * time.Hour)
	ada, cy := w.person("ada"), w.person("cy")
	w.anonymous(ada)
	for _, id := range []string{"ada", "bob", "cy", "dora"} {
		w.record(w.person(id), "messages", w.now)
	}
	w.record(ada, "lifecycle", w.now)
	w.record(w.person("bob"), "lifecycle", w.now)
	w.pass(24 * time.Hour)
	w.record(cy, "messages", w.now)
	all := map[domain.EventID]domain.Recorded{}
	for _, r := range w.personal() {
		all[r.ID()] = r
	}
	return all
}

// anonymous records under an anonymous ref that is then known to be a person's.
func (w *disposing) anonymous(person domain.SubjectRef) {
	w.t.Helper()
	block, ref, err := w.ring.Anonymous(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	d := w.draft(ref, "messages", w.now)
	d.Tier, d.Block = domain.AnonTier, block
	if err := w.Record(w.t.Context(), []domain.Draft{d})[0]; err != nil {
		w.t.Fatal(err)
	}
	if err := w.ring.LinkAnonymous(w.t.Context(), person, block, ref); err != nil {
		w.t.Fatal(err)
	}
}

// destroyAll destroys a person, a class, a day of another one, and what is due.
func (w *disposing) destroyAll() {
	w.t.Helper()
	yesterday := domain.BucketAt(w.now.Add(-24*time.Hour), domain.Day)
	for id, edit := range map[string]func(*ledger.Erasure){
		"ada": nil,
		"bob": func(e *ledger.Erasure) { e.Classes = []domain.Class{"messages"} },
		"cy": func(e *ledger.Erasure) {
			e.Classes, e.From, e.Before = []domain.Class{"messages"}, yesterday.Start(), yesterday.End()
		},
	} {
		if _, err := w.erase(domain.RequestID{}, id, edit); err != nil {
			w.t.Fatal(err)
		}
	}
	if done, err := w.Expire(w.t.Context()); err != nil || len(done.Keys) == 0 {
		w.t.Fatal(done, err)
	}
}

// A log that went back is told again what was destroyed, once, and as it was.
//
// Proves: INV-3, INV-7
func TestALogThatWentBackIsToldAgainWhatWasDestroyed(t *testing.T) {
	w := newDisposing(t)
	events := w.aHistory()
	copied := w.end()
	w.destroyAll()
	want := w.covered()
	maps.DeleteFunc(want, func(id domain.EventID, _ bool) bool { _, copied := events[id]; return !copied })
	if len(want) != 6 {
		t.Fatalf("%d of %d events are covered: the test lost its subject", len(want), len(events))
	}

	older := w.copyOf(copied)
	if n := len(older.covered()); n != 0 {
		t.Fatalf("%d events are covered before", n)
	}
	older.reopen() // the start that put the lines back noted nothing
	if n, err := older.disposal().NoteLostDue(t.Context()); n != 5 || err != nil {
		t.Errorf("noted %d destructions again, %v", n, err)
	}
	if got := older.covered(); !maps.Equal(got, want) {
		t.Errorf("covers %d events, want %d: %v", len(got), len(want), older.destructions())
	}
	for id, r := range events {
		if _, err := older.Open(t.Context(), r); (err != nil) != want[id] {
			t.Errorf("%s reads %v", r.Stream(), err)
		}
	}
	again := older.destructions()
	for what, note := range map[string]func() (int, error){
		"when due": func() (int, error) { return older.disposal().NoteLostDue(t.Context()) },
		"asked":    func() (int, error) { return older.disposal().NoteLost(t.Context()) },
	} {
		if n, err := note(); n != 0 || err != nil || len(older.destructions()) != len(again) {
			t.Errorf("a second time, %s: %d, %v", what, n, err)
		}
	}
	if done := older.dispose(); done.Events != int64(len(want)) {
		t.Errorf("disposed of %+v, want %d events", done, len(want))
	}
	for _, r := range older.personal() {
		if want[r.ID()] {
			t.Errorf("%s is still there", r.Stream())
		}
	}
	if n := older.count(domain.RequestCompleted); n != 3 {
		t.Errorf("%d requests are completed, want 3", n)
	}
}

// Proves: INV-5
func TestWhatWasLostIsNotedOnceByTwoAtATime(t *testing.T) {
	w := newDisposing(t)
	w.aHistory()
	copied := w.end()
	w.destroyAll()
	older := w.copyOf(copied)
	slow := ledger.NewDisposal(older.Ledger, ledger.DisposalConfig{Whole: overtaken{removing{older.log, nil}, func() {
		if _, err := older.erase(domain.RequestID{}, "dora", nil); err != nil {
			t.Error(err)
		}
		if n, err := older.disposal().NoteLost(t.Context()); n != 5 || err != nil {
			t.Errorf("the faster one noted %d, %v", n, err)
		}
	}}})
	if _, err := slow.NoteLost(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(older.destructions()); n != 6 {
		t.Errorf("%d destructions are noted, want 5 and another one", n)
	}
}

// An overtaken log has somebody come first once it was read.
type overtaken struct {
	removing
	first func()
}

func (o overtaken) ReadAll(ctx context.Context, from domain.Position, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error] {
	return func(yield func(domain.Recorded, error) bool) {
		defer o.first()
		o.removing.ReadAll(ctx, from, dir, limit)(yield)
	}
}

// What an outbox still holds of whom a log that went back lost all notes comes too
// late by the journal alone; what a range left does not.
func TestWhatAnOutboxHoldsIsTooLateForALogThatWentBack(t *testing.T) {
	w := newDisposing(t)
	events := w.aHistory()
	copied := w.end()
	w.destroyAll()
	want := w.covered()
	if late := w.tooLate(events); len(late) != 0 {
		t.Errorf("the journal is asked where nothing went back: %d events", len(late))
	}
	older := w.copyOf(copied)
	late := older.tooLate(events)
	for id, r := range events {
		if late[id] != want[id] {
			t.Errorf("too late is %t for revision %d of %s", late[id], r.Revision, r.Stream())
		}
	}
}

// tooLate asks the journal about events.
func (w *disposing) tooLate(events map[domain.EventID]domain.Recorded) map[domain.EventID]bool {
	w.t.Helper()
	late := map[domain.EventID]bool{}
	for id, r := range events {
		name, err := w.Streams().Parse(r.Stream())
		spec, failed := domain.Events.Spec(r.Type())
		e, undecoded := domain.DecodeEnvelope(spec, r.Envelope())
		lost, unknown := w.journal.Lost(w.t.Context(), name, e)
		if err := errors.Join(err, failed, undecoded, unknown); err != nil {
			w.t.Fatal(err)
		}
		if lost {
			late[id] = true
		}
	}
	return late
}

// A destruction that began in the copy is finished under its own command.
func TestADestructionThatBeganInTheCopyIsNotedAsDone(t *testing.T) {
	w := newDisposing(t)
	w.record(w.person("ada"), "messages", w.now)
	var begun domain.Position
	if _, err := w.erase(domain.RequestID{}, "ada", nil); err != nil {
		t.Fatal(err)
	}
	for r, err := range w.store.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Type() == domain.DestructionBegun {
			begun = r.Position
		}
	}
	older := w.copyOf(begun)
	if n, err := older.disposal().NoteLostDue(t.Context()); n != 1 || err != nil {
		t.Errorf("noted %d destructions again, %v", n, err)
	}
	if n := older.count(domain.DestructionBegun); n != 1 {
		t.Errorf("it began %d times", n)
	}
	if got, want := older.destructions(), w.destructions(); len(got) != 1 || got[0].Command != want[0].Command || got[0].Keys == 0 {
		t.Errorf("noted %+v, was %+v", got, want)
	}
}

// What is in progress is left to whoever does it.
func TestADestructionInProgressIsNotNotedAgain(t *testing.T) {
	w := newDisposing(t)
	for n := 1; w.count(domain.JournalRecorded) == 0; n++ {
		id := fmt.Sprint("bob ", n)
		w.record(w.person(id), "messages", w.now)
		w.log.failAt(n, storetest.Unanswered)
		if _, err := w.erase(domain.RequestID{}, id, nil); err == nil {
			t.Fatal("nothing failed: the test lost its subject")
		}
	}
	if n := len(w.destructions()); n != 0 {
		t.Fatalf("%d destructions are noted: the test lost its subject", n)
	}
	if n, err := w.disposal().NoteLost(t.Context()); n != 0 || err != nil {
		t.Errorf("noted %d destructions in progress, %v", n, err)
	}
}
