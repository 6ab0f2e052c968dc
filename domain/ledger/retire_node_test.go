package ledger_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
)

var first, second = domain.New[domain.SubjectRef](), domain.New[domain.SubjectRef]()

func (w *world) node() *ledger.Node {
	w.t.Helper()
	n, err := w.OpenNode(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// signs lists the processes, by writer.
func (w *world) signs() map[domain.WriterID]ledger.NodeSigns {
	w.t.Helper()
	nodes, more, err := w.Nodes(w.t.Context(), w.store)
	if err != nil || more {
		w.t.Fatal(err, more)
	}
	all := map[domain.WriterID]ledger.NodeSigns{}
	for _, n := range nodes {
		all[n.Writer] = n
	}
	return all
}

func (w *world) noteTime(n *ledger.Node) {
	w.t.Helper()
	if err := n.Time(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// gaps are the gaps of no pool, as stream, from and to.
func (w *world) gaps() (all []string) {
	w.t.Helper()
	for r, err := range w.store.ReadAll(w.t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		if r.Type() != domain.GapRecorded {
			continue
		}
		spec, err := domain.Events.Spec(r.Type())
		if err != nil {
			w.t.Fatal(err)
		}
		e, err := domain.DecodeEnvelope(spec, r.Envelope())
		if err != nil || e.Facts.Text("pool") != "-" || w.Verify(r) != nil {
			w.t.Fatalf("gap %s: %v", r.Envelope(), err)
		}
		all = append(all, fmt.Sprint(r.Stream(), " ", e.Facts.Int("from"), " ", e.Facts.Int("to")))
	}
	return all
}

func (w *world) retire(by domain.SubjectRef, node *ledger.Node, writer domain.WriterID, want error) *ledger.NodeRetirement {
	w.t.Helper()
	got, err := w.RetireNode(w.t.Context(), node, w.store, by, writer)
	if !errors.Is(err, want) || (want == nil && err != nil) {
		w.t.Fatalf("retiring: %v, want %v", err, want)
	}
	return got
}

// TestASilentProcessIsRetiredByTwo: what it may have lost stands in the log once,
// in the stream of who says so, and nothing says that it ended.
func TestASilentProcessIsRetiredByTwo(t *testing.T) {
	w := newWorld(t)
	start := w.now
	lost := w.node()
	w.pass(90 * time.Minute)
	w.noteTime(lost)
	last := w.now
	w.pass(23 * time.Hour)
	here := w.node()
	if s := w.signs()[lost.Writer()]; !s.First.Equal(start) || !s.Last.Equal(last) || s.Closed || s.Retired || s.Silent(w.now) {
		t.Fatalf("signs %+v", s)
	}
	w.retire(first, here, lost.Writer(), ledger.ErrNodeSpoke)
	w.pass(2 * time.Hour)
	if s := w.signs()[lost.Writer()]; !s.Silent(w.now) {
		t.Fatalf("signs %+v", s)
	}
	named := w.retire(first, here, lost.Writer(), ledger.ErrSecondPrincipal)
	w.pass(time.Hour)
	if again := w.retire(first, here, lost.Writer(), ledger.ErrSecondPrincipal); !again.Named.Equal(named.Named) {
		t.Errorf("named again at %s, first at %s", again.Named, named.Named)
	}
	if len(w.gaps()) != 0 {
		t.Errorf("one principal made %v", w.gaps())
	}
	done := w.retire(second, here, lost.Writer(), nil)
	want := fmt.Sprint(domain.StreamsOf(testLedger).Node(domain.BucketAt(w.now, domain.Day), here.Writer()), " ", last.Unix(), " ", w.now.Unix())
	if got := w.gaps(); len(got) != 1 || got[0] != want || !done.Done {
		t.Errorf("gaps %v, want %s; %+v", got, want, done)
	}
	w.pass(time.Hour)
	if again := w.retire(first, here, lost.Writer(), nil); again.To != done.To || len(w.gaps()) != 1 {
		t.Errorf("again: %+v, %v", again, w.gaps())
	}
	if s := w.signs()[lost.Writer()]; !s.Retired || s.Closed || !s.Last.Equal(last) {
		t.Errorf("signs %+v", s)
	}
	w.noteTime(here) // goes on behind a note of another command
	if w.count(domain.NodeClosed) != 0 {
		t.Error("an end was forged")
	}
}

// TestWhoIsNotRetired: unknown, ended, named too long ago, or back again.
func TestWhoIsNotRetired(t *testing.T) {
	w := newWorld(t)
	ended, lost := w.node(), w.node()
	if err := ended.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.pass(25 * time.Hour)
	here := w.node()
	w.retire(first, here, domain.New[domain.WriterID](), domain.ErrNotFound)
	w.retire(first, here, ended.Writer(), ledger.ErrNodeSpoke)
	if s := w.signs()[ended.Writer()]; !s.Closed || s.Silent(w.now) {
		t.Errorf("signs of what ended %+v", s)
	}
	w.retire(first, here, lost.Writer(), ledger.ErrSecondPrincipal)
	w.pass(25 * time.Hour)
	w.retire(second, here, lost.Writer(), ledger.ErrSecondPrincipal) // the first one's word is too old
	w.retire(first, here, lost.Writer(), nil)
	w.pass(time.Minute)
	w.noteTime(lost)
	if s := w.signs()[lost.Writer()]; s.Retired || s.Silent(w.now) {
		t.Errorf("signs of what came back %+v", s)
	}
	w.retire(second, here, lost.Writer(), ledger.ErrNodeSpoke)
	w.pass(25 * time.Hour)
	w.retire(second, here, lost.Writer(), ledger.ErrSecondPrincipal)
	w.retire(first, here, lost.Writer(), nil)
	if len(w.gaps()) != 2 {
		t.Errorf("gaps %v", w.gaps())
	}
}

// TestAProcessIsNotToldOfAfterAMonth, nor what no process has a stream for.
func TestAProcessIsNotToldOfAfterAMonth(t *testing.T) {
	w := newWorld(t)
	old := w.node()
	w.pass(2 * time.Hour)
	scribe, err := w.NewScribe().Note(t.Context(), domain.GapRecorded, domain.Name("pool", "chat"), domain.Int("from", 1), domain.Int("to", 2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Append(t.Context(), scribe.Stream(), domain.NoStream, []domain.Sealed{scribe}); err != nil {
		t.Fatal(err)
	}
	if len(w.signs()) != 1 {
		t.Errorf("signs %v", w.signs())
	}
	w.pass(ledger.NodesSince + 25*time.Hour)
	w.record(w.person("ada"), "messages", w.now)
	here := w.node()
	if s := w.signs(); len(s) != 1 || s[here.Writer()].Writer != here.Writer() {
		t.Errorf("signs %v", s)
	}
	w.retire(first, here, old.Writer(), domain.ErrNotFound)
}

// TestAnInterruptedRetirementIsFinishedOnce, wherever it was cut, by the same
// process and by the next one.
func TestAnInterruptedRetirementIsFinishedOnce(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.Lost, storetest.Unanswered} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(fault, restart), func(t *testing.T) {
				w := newWorld(t)
				lost := w.node()
				w.pass(25 * time.Hour)
				here := w.node()
				w.retire(first, here, lost.Writer(), ledger.ErrSecondPrincipal)
				w.log.failAt(1, fault)
				cut := w.retire(second, here, lost.Writer(), storetest.ErrFault)
				if cut.Done {
					t.Error("done without an answer")
				}
				w.pass(time.Hour)
				if restart {
					w.reopen()
					here = w.node()
				}
				done := w.retire(first, here, lost.Writer(), nil)
				if got := w.gaps(); len(got) != 1 || !done.Done || done.To != cut.To {
					t.Errorf("gaps %v, %+v", got, done)
				}
			})
		}
	}
}

// TestOneProcessAtATimeFinishesARetirement where there are several.
func TestOneProcessAtATimeFinishesARetirement(t *testing.T) {
	w := newWorld(t)
	lost := w.node()
	w.pass(25 * time.Hour)
	here := w.node()
	w.retire(first, here, lost.Writer(), ledger.ErrSecondPrincipal)
	w.log.failAt(1, storetest.Lost)
	w.retire(second, here, lost.Writer(), storetest.ErrFault)
	w.reopen()
	w.Many = &ledger.Many{Pause: sleep}
	other := w.node()
	w.retire(first, other, lost.Writer(), domain.ErrConflict)
	w.pass(11 * time.Minute)
	w.retire(first, other, lost.Writer(), nil)
	if got := w.gaps(); len(got) != 1 {
		t.Errorf("gaps %v", got)
	}
}

// TestTheTimeOfANoteInACopiedLog is the hour of its envelope, because the store's
// own clock tells when it was copied.
func TestTheTimeOfANoteInACopiedLog(t *testing.T) {
	w := newWorld(t)
	lost := w.node()
	signed := w.signs()[lost.Writer()]
	copied := newWorld(t)
	copied.pass(72 * time.Hour)
	for r, err := range w.store.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Type() != domain.NodeOpened {
			continue
		}
		if _, err := copied.store.Append(t.Context(), r.Stream(), domain.NoStream, []domain.Sealed{r.Sealed}); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(72 * time.Hour)
	nodes, _, err := w.Nodes(t.Context(), copied.store)
	if err != nil || len(nodes) != 1 || !nodes[0].Silent(w.now) || nodes[0].Last.Sub(signed.Last) > time.Hour {
		t.Errorf("signs %+v, %v", nodes, err)
	}
}
