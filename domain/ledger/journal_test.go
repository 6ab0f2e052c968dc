package ledger_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
)

// twoErasures records and erases two persons, and returns an event of each.
func twoErasures(t *testing.T, w *world) (events []domain.Recorded) {
	t.Helper()
	for _, id := range []string{"ada", "bob"} {
		events = append(events, w.record(w.person(id), "messages", w.now))
		if _, err := w.erase(domain.RequestID{}, id, nil); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

func TestAJournalFileThatIsBehindIsFilledFromTheLog(t *testing.T) {
	w := newWorld(t)
	events := twoErasures(t, w)
	whole, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(whole, '\n') + 1
	for name, file := range map[string][]byte{"a line less": whole[:first], "torn": whole[:len(whole)-9], "empty": nil} {
		if err := os.WriteFile(w.path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		w.reopen()
		if again, err := os.ReadFile(w.path); err != nil || !bytes.Equal(again, whole) {
			t.Errorf("%s: the file was not made whole: %v", name, err)
		}
		if w.found.FileLines == 0 {
			t.Errorf("%s: nothing was reported", name)
		}
		for _, r := range events {
			w.reads(name, r, domain.ErrErased)
		}
	}
}

// stopped fails unless a ledger opens and erases nothing because of a journal
// file, and goes on recording.
func (w *world) stopped(what string, r domain.Recorded) {
	w.t.Helper()
	w.reads(what, r, domain.ErrForked)
	w.reads(what, r, domain.ErrUnavailable)
	if out, err := w.erase(domain.RequestID{}, "cy", nil); !errors.Is(err, domain.ErrForked) || out.State != "" {
		w.t.Errorf("%s: an erasure is %s, %v", what, out.State, err)
	}
	w.record(w.person("dora"), "messages", w.now)
}

func TestAJournalFileThatIsNotTheLedgersIsGivenUpByTwo(t *testing.T) {
	w := newWorld(t)
	twoErasures(t, w)
	cy := w.record(w.person("cy"), "messages", w.now)
	whole, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	edited := bytes.Replace(whole, []byte(`"kind":"subject"`), []byte(`"kind":"class"`), 1)
	if err := os.WriteFile(w.path, edited, 0o600); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	if !errors.Is(w.found.Stopped, domain.ErrForked) {
		t.Errorf("the start says %v", w.found.Stopped)
	}
	w.stopped("an edited file", cy)
	if _, err := w.RestoreCheck(t.Context()); !errors.Is(err, domain.ErrTampered) && !errors.Is(err, domain.ErrJournalChain) {
		t.Errorf("the check takes what nobody signed: %v", err)
	}
	last := domain.HashJournalLine(bytes.TrimSuffix(edited, []byte{'\n'})).String()
	one, two := domain.New[domain.SubjectRef](), domain.New[domain.SubjectRef]()
	for _, by := range []domain.SubjectRef{one, one} {
		if _, err := w.GiveUp(t.Context(), by, last); !errors.Is(err, ledger.ErrSecondPrincipal) {
			t.Errorf("given up by one: %v", err)
		}
	}
	if _, err := w.GiveUp(t.Context(), two, "another"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("a file that nobody has: %v", err)
	}
	w.stopped("one principal", cy)
	if _, err := w.GiveUp(t.Context(), two, last); err != nil {
		t.Fatal(err)
	}
	w.reads("given up", cy, nil)
	if kept, err := os.ReadFile(w.path + ".forked-" + last[:16]); err != nil || !bytes.Equal(kept, edited) {
		t.Errorf("the file is not kept: %v", err)
	}
	if again, err := os.ReadFile(w.path); err != nil || !bytes.Equal(again, whole) {
		t.Errorf("the file is not the log's: %v", err)
	}
	if _, err := w.erase(domain.RequestID{}, "cy", nil); err != nil {
		t.Fatal(err)
	}
	w.reads("erased once nothing stops it", cy, domain.ErrErased)
	w.reopen()
	if w.found.Stopped != nil {
		t.Errorf("the next start says %v", w.found.Stopped)
	}
}

// The log was restored from a copy made before the erasures, the file was not:
// its lines stand in the log again, and their keys stay dead.
//
// Proves: INV-3
func TestALogThatWentBackGetsItsLinesFromTheFile(t *testing.T) {
	w := newWorld(t)
	events := twoErasures(t, w)
	lines := w.journal.Lines()
	older := emptyWorld(t, w.custodian, w.path)
	older.reopen()
	if older.journal.Lines() != lines || older.found.FileLines != int(lines) {
		t.Errorf("%d lines of %d, %d reported", older.journal.Lines(), lines, older.found.FileLines)
	}
	if n := older.count(domain.JournalRecorded); n != int(lines) {
		t.Errorf("%d lines stand in the log", n)
	}
	for _, r := range events {
		older.reads("erased before the log went back", r, domain.ErrErased)
	}
}

// Log and journal file were both restored, the custodian was not: it knows that
// lines are missing, and nothing is opened.
func TestAJournalShorterThanTheCustodianKnowsStopsTheStart(t *testing.T) {
	w := newWorld(t)
	twoErasures(t, w)
	older := emptyWorld(t, w.custodian, filepath.Join(t.TempDir(), "erasures.jsonl"))
	if err := older.open(); !errors.Is(err, ledger.ErrJournalShort) {
		t.Errorf("opened with %v", err)
	}
}
