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

func TestAJournalFileThatContradictsTheLogStopsTheStart(t *testing.T) {
	w := newWorld(t)
	twoErasures(t, w)
	whole, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	edited := bytes.Replace(whole, []byte(`"kind":"subject"`), []byte(`"kind":"class"`), 1)
	if err := os.WriteFile(w.path, edited, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.open(); !errors.Is(err, ledger.ErrJournalForked) {
		t.Errorf("opened with %v", err)
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
