package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
	"github.com/lethe-ledger/lethe/keys/keytest"
)

// A removing log also fails what removes, counted with the appends.
type removing struct {
	*failingLog
	scavenge func(context.Context) error
}

func (r removing) faulted(do func() error) error {
	fault := r.next()
	if fault == storetest.Lost {
		return storetest.ErrFault
	}
	err := do()
	if fault != storetest.None {
		return storetest.ErrFault
	}
	return err
}

func (r removing) Truncate(ctx context.Context, s domain.Stream, before domain.Revision) error {
	return r.faulted(func() error { return r.Store.Truncate(ctx, s, before) })
}

func (r removing) Delete(ctx context.Context, s domain.Stream) error {
	return r.faulted(func() error { return r.Store.Delete(ctx, s) })
}

func (r removing) Scavenge(ctx context.Context) error {
	return r.faulted(func() error { return r.scavenge(ctx) })
}

// A disposing world knows what its disposal asked for.
type disposing struct {
	*world
	spared    []domain.SubjectRef
	busy      map[domain.SubjectRef]bool
	witnessed []domain.Position
	scavenges int
}

func newDisposing(t *testing.T) *disposing {
	return &disposing{world: newWorld(t), busy: map[domain.SubjectRef]bool{}}
}

func (w *disposing) disposal() *ledger.Disposal {
	return ledger.NewDisposal(w.Ledger, ledger.DisposalConfig{
		Whole: removing{w.log, func(context.Context) error { w.scavenges++; return nil }},
		Witnessed: func(_ context.Context, at domain.Position) error {
			w.witnessed = append(w.witnessed, at)
			return nil
		},
		Passed: func(context.Context, domain.Position) error { return nil },
		Busy:   func(ref domain.SubjectRef) bool { return w.busy[ref] },
		Spared: func(context.Context) ([]domain.SubjectRef, error) { return w.spared, nil },
	})
}

func (w *disposing) dispose() ledger.Disposed {
	w.t.Helper()
	done, err := w.disposal().Run(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// personal lists the events about persons that the log shows, without those that
// a disposal writes itself.
func (w *disposing) personal() (events []domain.Recorded) {
	w.t.Helper()
	for r, err := range w.store.ReadAll(w.t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		name, err := w.Streams().Parse(r.Stream())
		if err != nil {
			w.t.Fatal(err)
		}
		about := name.Kind == domain.StreamSubject || name.Kind == domain.StreamAnonymous
		if about && r.Type().Ours() && r.Type() != domain.StreamRested && r.Type() != domain.RequestCompleted {
			events = append(events, r)
		}
	}
	return events
}

// counted sums the totals of the records of disposal.
func (w *disposing) counted() (events, records int64) {
	w.t.Helper()
	for r, err := range w.store.ReadStream(w.t.Context(), w.Streams().Retention(), 0, eventstore.Forward, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		for _, text := range w.facts(r).List("totals") {
			total, err := domain.ParseTotal(text)
			if err != nil {
				w.t.Fatal(err)
			}
			events, records = events+total.Events, records+total.Records
		}
	}
	return events, records
}

func (w *disposing) facts(r domain.Recorded) domain.Facts {
	w.t.Helper()
	spec, err := domain.Events.Spec(r.Type())
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := domain.DecodeEnvelope(spec, r.Envelope())
	if err != nil {
		w.t.Fatal(err)
	}
	return e.Facts
}

func (w *disposing) stream(ref domain.SubjectRef, class domain.Class, tier domain.Tier, gen domain.Gen) domain.Stream {
	return w.Streams().Of(domain.Where{Ref: ref, Class: class, Tier: tier, Gen: gen})
}

func (w *disposing) deleted(s domain.Stream) bool {
	_, err := w.store.Last(w.t.Context(), s)
	return errors.Is(err, eventstore.ErrDeleted)
}

// Proves: INV-3
func TestADisposedPersonLeavesTombstonesAndCountsAndNobodyElseIsTouched(t *testing.T) {
	w := newDisposing(t)
	ada, bob := w.person("ada"), w.person("bob")
	for range 3 {
		w.record(ada, "messages", w.now)
		w.record(ada, "lifecycle", w.now)
	}
	kept := w.record(bob, "messages", w.now)
	if _, err := w.erase(domain.RequestID{}, "ada", func(e *ledger.Erasure) { e.Classes = []domain.Class{"messages"} }); err != nil {
		t.Fatal(err)
	}
	w.record(ada, "messages", w.now) // under gen 2
	out, err := w.erase(domain.RequestID{}, "ada", nil)
	if err != nil || out.State != ledger.RequestKeysDestroyed {
		t.Fatal(out.State, err)
	}
	done := w.dispose()
	if done.Destructions != 2 || done.Events != 7 || done.Records != 7 || w.scavenges != 1 {
		t.Errorf("disposed of %+v, %d scavenges", done, w.scavenges)
	}
	for _, s := range []domain.Stream{
		w.stream(ada, "messages", domain.OwnTier, 1), w.stream(ada, "messages", domain.OwnTier, 2), w.stream(ada, "lifecycle", domain.OwnTier, 1),
		w.stream(ada, "network", domain.OwnTier, 1), w.stream(ada, "consent", domain.OwnTier, 1), // never were
	} {
		if !w.deleted(s) {
			t.Errorf("stream %s is not deleted", s)
		}
	}
	w.reads("the other person", kept, nil)
	if events, records := w.counted(); events != 7 || records != 7 {
		t.Errorf("the records count %d events, %d records", events, records)
	}
	if last := w.witnessed[0]; last.Before(kept.Position) {
		t.Errorf("removed with leaves up to %s only", last)
	}
	again, err := w.erase(out.Request, "ada", nil)
	if err != nil || again.State != ledger.RequestCompleted || string(again.Stored) != string(out.Stored) {
		t.Errorf("the request is %s, %v", again.State, err)
	}
	if n := w.count(domain.RequestCompleted); n != 2 {
		t.Errorf("%d requests are completed", n)
	}
	before := w.count(domain.SubjectDisposed)
	if done := w.dispose(); done.Destructions+done.Deleted+done.Truncated != 0 || w.count(domain.SubjectDisposed) != before {
		t.Errorf("a second run disposed of %+v", done)
	}
}

// Proves: INV-8
func TestExpiredBucketsAreCutFromStreamsAndWhatLivesStays(t *testing.T) {
	w := newDisposing(t)
	ada, bob := w.person("ada"), w.person("bob")
	w.record(ada, "messages", w.now)
	w.record(ada, "messages", w.now)
	w.record(bob, "messages", w.now)
	w.pass(24 * time.Hour)
	young := w.record(ada, "messages", w.now)
	w.pass(29*24*time.Hour - 10*time.Hour)
	if _, err := w.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.busy[bob] = true
	done := w.dispose()
	if done.Buckets != 1 || done.Events != 3 || done.Truncated != 2 || done.Retired != 0 {
		t.Errorf("disposed of %+v", done)
	}
	if left := w.personal(); len(left) != 1 || left[0].ID() != young.ID() {
		t.Errorf("%d events are left", len(left))
	}
	if n := w.count(domain.StreamRested); n != 1 {
		t.Errorf("%d streams were put to rest, want bob's", n)
	}
	if done := w.dispose(); done.Truncated != 0 || w.count(domain.StreamRested) != 1 {
		t.Errorf("a second run cut %d streams", done.Truncated)
	}
	w.record(bob, "messages", w.now) // behind stream.rested
	w.reads("a younger day", young, nil)
}

func TestARangeGoesWhenNothingAliveStandsBeforeIt(t *testing.T) {
	w := newDisposing(t)
	ada := w.person("ada")
	first := w.record(ada, "messages", w.now)
	w.pass(24 * time.Hour)
	day := domain.BucketAt(w.now, domain.Day)
	w.record(ada, "messages", w.now)
	w.pass(24 * time.Hour)
	last := w.record(ada, "messages", w.now)
	if _, err := w.erase(domain.RequestID{}, "ada", func(e *ledger.Erasure) { e.From, e.Before = day.Start(), day.End() }); err != nil {
		t.Fatal(err)
	}
	done := w.dispose()
	if done.Events != 1 || len(w.personal()) < 3 {
		t.Errorf("disposed of %+v; it stands behind a kept event and goes with that one", done)
	}
	w.pass(28*24*time.Hour - 10*time.Hour)
	if _, err := w.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if done := w.dispose(); done.Events != 1 || done.Truncated != 1 {
		t.Errorf("disposed of %+v", done)
	}
	w.reads("the day behind", last, nil)
	for _, r := range w.personal() {
		if r.Stream() == first.Stream() && r.Revision < last.Revision {
			t.Errorf("revision %d is still shown", r.Revision)
		}
	}
}

// Proves: INV-4, INV-5, INV-7
func TestADisposalFinishesWhereverItWasInterrupted(t *testing.T) {
	arms := map[string]func(*disposing, int){
		"custodian lost":       func(w *disposing, n int) { w.custodian.FailAt(n, keytest.Lost) },
		"custodian unanswered": func(w *disposing, n int) { w.custodian.FailAt(n, keytest.Unanswered) },
		"log lost":             func(w *disposing, n int) { w.log.failAt(n, storetest.Lost) },
		"log unanswered":       func(w *disposing, n int) { w.log.failAt(n, storetest.Unanswered) },
	}
	interruptions := 0
	for name, arm := range arms {
		for n := 1; n < 500; n++ {
			w := newDisposing(t)
			through := w.interrupted(fmt.Sprintf("%s %d", name, n), func() { arm(w, n) })
			if through {
				break
			}
			interruptions++
		}
	}
	if interruptions < 60 {
		t.Errorf("only %d interruptions: the test lost its subject", interruptions)
	}
}

// interrupted erases one person, lets a day of two others expire, and disposes of
// both with one call failing.
func (w *disposing) interrupted(what string, arm func()) (through bool) {
	t := w.t
	t.Helper()
	ada, bob := w.person("ada "+what), w.person("bob "+what)
	w.record(ada, "messages", w.now)
	w.record(ada, "lifecycle", w.now)
	w.record(bob, "messages", w.now)
	w.pass(24 * time.Hour)
	w.record(bob, "messages", w.now)
	if _, err := w.erase(domain.RequestID{}, "ada "+what, nil); err != nil {
		t.Fatal(err)
	}
	w.pass(29 * 24 * time.Hour)
	for {
		done, err := w.Expire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(done.Keys) == 0 {
			break
		}
	}
	alive := len(w.personal())
	before, _ := w.counted()
	arm()
	_, err := w.disposal().Run(t.Context(), nil)
	through = err == nil
	w.reopen()
	if err := w.ResumeAll(t.Context()); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	w.dispose()
	left := w.personal()
	after, _ := w.counted()
	if int64(alive)+before != int64(len(left))+after {
		t.Errorf("%s: %d events and %d counted became %d and %d", what, alive, before, len(left), after)
	}
	if !w.deleted(w.stream(ada, "messages", domain.OwnTier, 1)) {
		t.Errorf("%s: the erased person's stream is there", what)
	}
	if !slices.ContainsFunc(left, func(r domain.Recorded) bool { return strings.HasSuffix(string(r.Stream()), bob.String()) }) {
		t.Errorf("%s: the other person's later day is gone", what)
	}
	o, err := w.disposal().Outstanding(t.Context())
	if err != nil || o.Buckets != 0 {
		t.Errorf("%s: outstanding %+v, %v", what, o, err)
	}
	return through
}

func TestWhatComesBetweenACountAndItsRecordIsCountedByTheNext(t *testing.T) {
	w := newDisposing(t)
	ada := w.person("ada")
	w.record(ada, "messages", w.now)
	w.pass(30 * 24 * time.Hour)
	if _, err := w.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	late := w.draft(ada, "messages", w.now.AddDate(0, 0, -30))
	next := w.log.Next
	w.log.Next = func() storetest.Fault { // the first append of the disposal is its record
		w.log.Next = next
		if err := errors.Join(w.Record(t.Context(), []domain.Draft{late})...); err != nil {
			t.Error(err)
		}
		return storetest.None
	}
	w.busy[ada] = true
	done := w.dispose()
	if events, _ := w.counted(); done.Events != 2 || events != 2 || len(w.personal()) != 0 {
		t.Errorf("disposed of %+v, the records count %d, %d are left", done, events, len(w.personal()))
	}
	if n := w.count(domain.BucketDisposed); n != 2 {
		t.Errorf("%d records, want one and the difference", n)
	}
}

func TestARefOfWhichNothingIsLeftIsRetired(t *testing.T) {
	w := newDisposing(t)
	ada, bob, eve := w.person("ada"), w.person("bob"), w.person("eve")
	principal, err := w.EnrolPrincipal(t.Context(), "legal")
	if err != nil {
		t.Fatal(err)
	}
	w.spared = []domain.SubjectRef{principal}
	w.record(ada, "messages", w.now)
	w.record(bob, "lifecycle", w.now)
	if done := w.dispose(); done.Retired != 0 {
		t.Fatalf("%d were retired within 48 h", done.Retired)
	}
	w.pass(30 * 24 * time.Hour)
	if _, err := w.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.busy[eve] = true
	if done := w.dispose(); done.Retired != 1 {
		t.Errorf("%d were retired, want ada", done.Retired)
	}
	if w.person("ada") == ada || w.person("bob") != bob || w.person("eve") != eve {
		t.Error("a ref that is in use was retired, or one that is not was not")
	}
	if again, err := w.EnrolPrincipal(t.Context(), "legal"); err != nil || again != principal {
		t.Errorf("the principal is another one, %v", err)
	}
	w.dispose()
	if !w.deleted(w.stream(ada, "messages", domain.OwnTier, 1)) {
		t.Error("the retired ref's streams are not deleted")
	}
}

func TestABlockOfWhichNothingIsLeftIsRetired(t *testing.T) {
	w := newDisposing(t)
	block, ref, err := w.ring.Anonymous(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := w.draft(ref, "messages", w.now)
	d.Block, d.Tier = block, domain.AnonTier
	if err := errors.Join(w.Record(t.Context(), []domain.Draft{d})...); err != nil {
		t.Fatal(err)
	}
	s := w.stored(d.ID).Stream()
	w.reopen() // the block is no longer handed out
	w.pass(30 * 24 * time.Hour)
	if _, err := w.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if done := w.dispose(); done.Retired != 1 || done.Events != 1 {
		t.Errorf("disposed of %+v", done)
	}
	w.dispose()
	if !w.deleted(s) {
		t.Errorf("stream %s is not deleted", s)
	}
}

func TestTheLedgersOwnStreamsAreCutPastTheirPeriod(t *testing.T) {
	w := newDisposing(t)
	node, err := w.OpenNode(t.Context(), domain.Name("version", "test"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := node.Time(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.person("ada")
	if _, err := w.erase(domain.RequestID{}, "ada", nil); err != nil {
		t.Fatal(err)
	}
	w.dispose()
	w.pass(4 * 366 * 24 * time.Hour)
	w.person("bob")
	if _, err := w.erase(domain.RequestID{}, "bob", nil); err != nil {
		t.Fatal(err)
	}
	for {
		if done, err := w.Expire(t.Context()); err != nil || len(done.Keys) == 0 {
			break
		}
	}
	w.dispose()
	if n := w.count(domain.TimeNoted) + w.count(domain.NodeOpened); n > 1 {
		t.Errorf("%d events of an old process are left", n)
	}
	for r, err := range w.store.ReadStream(t.Context(), w.Streams().Destruction(), 0, eventstore.Forward, 1) {
		if err != nil || r.Revision == 0 {
			t.Errorf("the destructions begin at revision %d, %v", r.Revision, err)
		}
	}
	if n := w.count(domain.StreamDisposed); n != 2 {
		t.Errorf("%d cuts are recorded", n)
	}
	w.reopen()
	w.dispose() // of what was retired
	if o, err := w.disposal().Outstanding(t.Context()); err != nil || o.Destructions > 0 || o.Buckets > 0 {
		t.Errorf("outstanding behind the cut: %+v, %v", o, err)
	}
}

func TestADisposalBeginsWhenHalfOfItsTimeHasPassed(t *testing.T) {
	w := newDisposing(t)
	w.record(w.person("ada"), "messages", w.now)
	if _, err := w.erase(domain.RequestID{}, "ada", nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pass time.Duration
		want int
	}{{14 * 24 * time.Hour, 0}, {24 * time.Hour, 1}, {time.Hour, 0}} {
		w.pass(c.pass)
		done, err := w.disposal().RunDue(t.Context())
		if err != nil || done.Destructions != c.want {
			t.Errorf("after %s: %+v, %v", c.pass, done, err)
		}
	}
}

func TestWhatComesForADeletedStreamIsDiscardedAndCounted(t *testing.T) {
	w := newDisposing(t)
	ada := w.person("ada")
	w.record(ada, "messages", w.now)
	if err := w.store.Delete(t.Context(), w.stream(ada, "messages", domain.OwnTier, 1)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // with the head known, and without
		err := errors.Join(w.Record(t.Context(), []domain.Draft{w.draft(ada, "messages", w.now)})...)
		if !errors.Is(err, domain.ErrErased) {
			t.Errorf("it reads %v", err)
		}
	}
	if n := w.Counts().Discarded.Load(); n != 2 {
		t.Errorf("%d records were counted as discarded", n)
	}
}
