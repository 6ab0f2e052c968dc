package lethe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
	storeengine "github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/eventstore/outbox"
	"github.com/lethe-ledger/lethe/gateway/recorder"
)

func aGap(pool string) recorder.Gap {
	return recorder.Gap{
		ID: domain.Event(domain.New[domain.CommandID](), 0), Pool: pool, From: time.Unix(100, 5), To: time.Unix(200, 5), Connections: 3, Messages: 9, Bytes: 1001,
	}
}

func mustGapFile(t *testing.T, dir string) *gapFile {
	t.Helper()
	f, err := openGapFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.close() })
	return f
}

// TestTheGapFile outlives a write that was torn, needs no room, and is bounded.
func TestTheGapFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gaps")
	f := mustGapFile(t, dir)
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	first, second := fileDebt{Debt: debtOf(aGap("chat"))}, fileDebt{Debt: debtOf(aGap("news")), Tried: domain.New[domain.WriterID]()}
	if err := errors.Join(f.put(first), f.put(second), f.put(first)); err != nil {
		t.Fatal(err)
	}
	if got := mustGapFile(t, dir); !slices.Equal(got.debts, []fileDebt{first, second}) || size() != before {
		t.Fatalf("kept %+v in %d bytes, %d before", got.debts, size(), before)
	}
	if err := errors.Join(f.forget(first.ID), f.forget(first.ID)); err != nil {
		t.Fatal(err)
	}
	tear(t, path, int64(f.seq%2)*gapSlot+gapHeader)
	if got := mustGapFile(t, dir); !slices.Equal(got.debts, []fileDebt{first, second}) {
		t.Fatalf("behind a torn write: %+v", got.debts)
	}
	tear(t, path, int64((f.seq+1)%2)*gapSlot+3)
	if _, err := openGapFile(dir); !errors.Is(err, errGapFile) {
		t.Errorf("both slots torn: %v", err)
	}
	bounded := mustGapFile(t, t.TempDir())
	pool := strings.Repeat("p", 160) // the longest that a fact can be
	for range maxGaps {
		if err := bounded.put(fileDebt{Debt: debtOf(aGap(pool))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := bounded.put(second); !errors.Is(err, eventstore.ErrFull) || len(bounded.debts) != maxGaps {
		t.Errorf("one gap too many: %v", err)
	}
}

func tear(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// A lossy log loses its next append, or the answer to it.
type lossy struct {
	ledger.Log
	lose, unanswered bool
}

func (l *lossy) Append(ctx context.Context, s domain.Stream, expected domain.Revision, events []domain.Sealed) (at eventstore.Appended, err error) {
	if !l.lose {
		at, err = l.Log.Append(ctx, s, expected, events)
	}
	if l.lose || l.unanswered {
		l.lose, l.unanswered = false, false
		return eventstore.Appended{}, domain.ErrUnavailable
	}
	return at, err
}

// gapEvents are the gaps in the log, as their facts.
func gapEvents(t *testing.T, l *Lethe) (all []string) {
	t.Helper()
	for r, err := range l.store.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Type() == domain.GapRecorded {
			spec, err := domain.Events.Spec(r.Type())
			if err != nil {
				t.Fatal(err)
			}
			e, err := domain.DecodeEnvelope(spec, r.Envelope())
			if err != nil {
				t.Fatal(err)
			}
			f := e.Facts
			all = append(all, fmt.Sprint(f.Text("pool"), " ", f.Int("from"), "-", f.Int("to"), " ", f.Int("connections"), " ", f.Int("bytes")))
		}
	}
	return all
}

// noted is aGap as it stands in the log: 1001 bytes are about 1024.
const noted = "chat 100-201 3 1024"

// TestAGapIsNotedOnceOnOneMachine: wherever an answer is lost or the process dies.
func TestAGapIsNotedOnceOnOneMachine(t *testing.T) {
	t.Parallel()
	for _, fault := range []lossy{{}, {lose: true}, {unanswered: true}} {
		for _, restarted := range []bool{false, true} {
			c := testConfig(t, t.TempDir(), "ws://127.0.0.1:9")
			l, g := withGaps(t, c, &fault)
			gap := aGap("chat")
			gap.Open = true
			if err := errors.Join(g.Owe(gap), g.Pay(t.Context())); err != nil || g.count() != 1 {
				t.Fatalf("an open gap is paid, or: %v", err)
			}
			gap.Open = false
			if err := g.Owe(gap); err != nil {
				t.Fatal(err)
			}
			failed := fault.lose || fault.unanswered
			if err := g.Pay(t.Context()); (err != nil) != failed {
				t.Fatalf("%+v: %v", fault, err)
			}
			if restarted {
				shutLedger(t, l, g)
				l, g = withGaps(t, c, &lossy{})
			}
			if err := errors.Join(g.Pay(t.Context()), g.Pay(t.Context())); err != nil || g.count() != 0 {
				t.Fatalf("%+v, restarted %v: %v", fault, restarted, err)
			}
			if got := gapEvents(t, l); !slices.Equal(got, []string{noted}) {
				t.Errorf("%+v, restarted %v: %v", fault, restarted, got)
			}
			shutLedger(t, l, g)
		}
	}
}

// withGaps opens a ledger with a log that is lossy from here on.
func withGaps(t *testing.T, c *Config, fault *lossy) (*Lethe, *gaps) {
	t.Helper()
	l, err := Open(t.Context(), c, Options{Logger: zerolog.Nop(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	node, err := l.openNode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file, err := openGapFile(l.cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	lost := *fault
	lost.Log = l.ledger.Log
	l.ledger.Log = &lost
	return l, newGaps(&localBook{file: file, node: node}, file, zerolog.Nop())
}

func shutLedger(t *testing.T, l *Lethe, g *gaps) {
	t.Helper()
	if err := errors.Join(g.close(), l.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// A brokenDisk below an outbox takes nothing while it is set.
type brokenDisk struct {
	*storeengine.Store
	answer error
}

func (b *brokenDisk) Append(ctx context.Context, s domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error) {
	if b.answer != nil {
		return eventstore.Appended{}, b.answer
	}
	return b.Store.Append(ctx, s, expected, events)
}

// notesHere implements outbox.Notes.
type notesHere struct{ stream domain.Stream }

func (n notesHere) Note(_ context.Context, typ domain.EventType, facts ...domain.Fact) (domain.Sealed, error) {
	spec, err := domain.Events.Spec(typ)
	if err != nil {
		return domain.Sealed{}, err
	}
	e := domain.Envelope{Hour: "2026-11-23T10Z", Policy: 1, Class: domain.ClassNode, Facts: domain.NewFacts(facts...)}
	raw, err := e.Encode(spec)
	return domain.NewSealed(domain.Event(domain.New[domain.CommandID](), 0), n.stream, typ, raw, nil), err
}

// TestAGapOutlivesAnOutboxThatTakesNoMore: full or broken, it is kept in the file,
// and paid once by the next process.
func TestAGapOutlivesAnOutboxThatTakesNoMore(t *testing.T) {
	t.Parallel()
	for _, answer := range []error{eventstore.ErrFull, domain.ErrUnavailable} {
		dir := t.TempDir()
		stream := domain.StreamsOf("main").Node("2026-11-23", domain.New[domain.WriterID]())
		disk := &brokenDisk{}
		open := func() (*outbox.Outbox, *gaps) {
			var err error
			disk.answer = nil
			if disk.Store, err = storeengine.Open(filepath.Join(dir, "outbox"), storeengine.Options{Clock: time.Now, Reserve: 1}); err != nil {
				t.Fatal(err)
			}
			box, err := outbox.Open(t.Context(), disk, outbox.Options{Clock: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			file := mustGapFile(t, dir)
			return box, newGaps(&outboxBook{box: box, notes: notesHere{stream}, file: file}, file, zerolog.Nop())
		}
		box, g := open()
		gap := aGap("chat")
		gap.Open, gap.Bytes = true, 5
		if err := g.Owe(gap); err != nil || len(g.file.debts) != 1 {
			t.Fatalf("owed %+v: %v", g.file.debts, err)
		}
		disk.answer = answer
		gap.Open, gap.Bytes = false, 1001
		if err := g.Owe(gap); err != nil || len(g.file.debts) != 1 {
			t.Fatalf("%v: %v, in the file %+v", answer, err, g.file.debts)
		}
		if err := g.Pay(t.Context()); err == nil {
			t.Fatal("paid to an outbox that takes nothing")
		}
		_, _ = box.Close(), disk.Close() // of a broken one it says so
		box, g = open()
		if err := errors.Join(g.Pay(t.Context()), g.Pay(t.Context())); err != nil || g.count() != 0 || len(box.Debts()) != 0 || len(g.file.debts) != 0 {
			t.Fatalf("%v: %v, still owed %+v, %+v", answer, err, box.Debts(), g.file.debts)
		}
		paid := 0
		for e, err := range box.ReadStream(t.Context(), stream, 0, eventstore.Forward, 0) {
			if spec, _ := domain.Events.Spec(domain.GapRecorded); err == nil {
				if env, err := domain.DecodeEnvelope(spec, e.Envelope()); err == nil && env.Facts.Int("bytes") == 1024 {
					paid++
				}
			}
		}
		if paid != 1 {
			t.Errorf("%v: noted %d times", answer, paid)
		}
		feared := aGap("chat")
		feared.Open, feared.Feared = true, true
		err := g.Owe(feared)
		kept, counted := len(g.file.debts), g.count()
		if err := errors.Join(err, g.Owe(recorder.Gap{ID: feared.ID, Pool: "chat"})); err != nil || kept != 1 || counted != 0 || len(g.file.debts) != 0 || len(g.owed) != 0 {
			t.Errorf("what was feared: kept %d, counted %d, then %+v, %+v: %v", kept, counted, g.file.debts, g.owed, err)
		}
		if err := errors.Join(box.Close(), disk.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
