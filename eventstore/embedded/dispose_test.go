package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// count returns how many keys of a kind the store holds.
func count(t *testing.T, s *Store, kind byte) (n int) {
	t.Helper()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// fill appends n events of 1000 bytes to a stream and returns them.
func fill(t *testing.T, s *Store, stream domain.Stream, n int) []domain.Sealed {
	t.Helper()
	es := make([]domain.Sealed, n)
	for i := range es {
		es[i] = sample(stream, 1_000)
		if _, err := s.Append(t.Context(), stream, domain.Revision(i-1), es[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return es
}

// TestRemovedBytes asks that disposal removes events and that a scavenge takes
// their bytes out of every table, and no others.
func TestRemovedBytes(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	kept, cut, gone := fill(t, s, "lethe.test.kept", 50), fill(t, s, "lethe.test.cut", 50), fill(t, s, "lethe.test.gone", 50)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if !inTables(t, dir, cut[0]) || !inTables(t, dir, gone[0]) {
		t.Fatal("the test does not find what is there")
	}
	err := firstOf(s.Truncate(t.Context(), "lethe.test.cut", 30), s.Delete(t.Context(), "lethe.test.gone"), s.Scavenge(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, kindLog); n != 50+20+1 {
		t.Fatalf("%d events in the log, want 71", n)
	}
	if n := count(t, s, kindIndex); n != 50+50 {
		t.Fatalf("%d index entries, want 100", n)
	}
	mustClose(t, s) // waits for the removal of old files
	for _, e := range append(cut[:30:30], gone...) {
		if inTables(t, dir, e) {
			t.Fatalf("event %s is still in a table", e.ID())
		}
	}
	if !inTables(t, dir, cut[30]) || !inTables(t, dir, kept[0]) {
		t.Fatal("the scavenge took an event that lives")
	}
}

// inTables looks for a piece of an event's data in every table.
func inTables(t *testing.T, dir string, e domain.Sealed) bool {
	t.Helper()
	for _, file := range filesOf(t, dir, isTable) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, e.Data()[100:200]) {
			return true
		}
	}
	return false
}

// TestRemovalResumes stops after the truncation and the deletion are decided, as
// a crash would, and asks that the next Open removes the events.
func TestRemovalResumes(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, "store", Options{FS: fs})
	fill(t, s, "lethe.test.cut", removalChunk+50)
	fill(t, s, "lethe.test.gone", 20)
	for _, d := range []*disposal{{stream: "lethe.test.cut", before: removalChunk + 10}, {stream: "lethe.test.gone", delete: true}} {
		if err := s.do(t.Context(), &job{disposal: d, done: make(chan struct{})}); err != nil || d.err != nil {
			t.Fatal(err, d.err)
		}
	}
	if count(t, s, kindPending) != 2 || count(t, s, kindLog) != removalChunk+71 {
		t.Fatalf("%d marks, %d events", count(t, s, kindPending), count(t, s, kindLog))
	}
	mustClose(t, s)
	s = mustOpen(t, "store", Options{FS: fs})
	defer mustClose(t, s)
	if count(t, s, kindPending) != 0 || count(t, s, kindLog) != 41 || count(t, s, kindIndex) != removalChunk+50 {
		t.Fatalf("%d marks, %d events, %d entries", count(t, s, kindPending), count(t, s, kindLog), count(t, s, kindIndex))
	}
}

// TestRemovalInterrupted ends the context of a truncation between its decision and
// its removal; the next one does both.
func TestRemovalInterrupted(t *testing.T) {
	s := mustOpen(t, "store", Options{FS: vfs.NewMem()})
	defer mustClose(t, s)
	fill(t, s, "lethe.test.cut", 50)
	d := &disposal{stream: "lethe.test.cut", before: 20}
	if err := s.do(t.Context(), &job{disposal: d, done: make(chan struct{})}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Truncate(ctx, "lethe.test.cut", 30); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := s.Truncate(t.Context(), "lethe.test.cut", 30); err != nil {
		t.Fatal(err)
	}
	if count(t, s, kindPending) != 0 || count(t, s, kindLog) != 20 {
		t.Fatalf("%d marks, %d events", count(t, s, kindPending), count(t, s, kindLog))
	}
}

// TestBackup asks that a copy made while the store is written opens as a store
// with everything acknowledged before.
func TestBackup(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	l := newLoad()
	l.run(s, 4, 1_000, 50, nil)
	stop, done := make(chan struct{}), make(chan struct{})
	acked := l.snapshot()
	go func() {
		defer close(done)
		l.run(s, 4, 1_000, 1<<30, stop)
	}()
	dir := t.TempDir() + "/copy"
	if err := s.Backup(dir); err != nil {
		t.Fatal(err)
	}
	close(stop)
	<-done
	mustClose(t, s)
	copied := mustOpen(t, dir, Options{})
	verify(t, copied, acked, nil)
	mustClose(t, copied)
	if err := s.Backup(dir + "2"); !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("backup of a closed store: %v", err)
	}
}

// TestManyStreams appends to more streams than heads are kept, twice.
func TestManyStreams(t *testing.T) {
	s := mustOpen(t, "store", Options{FS: vfs.NewMem(), Heads: 1})
	defer mustClose(t, s)
	var appends []eventstore.Append
	for i := range minHeads + 2_000 {
		stream := domain.Stream(fmt.Sprint("lethe.test.s", i))
		appends = append(appends, eventstore.Append{Stream: stream, Expected: domain.NoStream, Events: []domain.Sealed{sample(stream, 10)}})
	}
	for round := range 3 {
		for i, r := range s.AppendMany(t.Context(), appends) {
			if want := domain.Revision(max(0, round-1)); r.Err != nil || r.Appended.Revision != want {
				t.Fatalf("round %d, stream %d: %+v", round, i, r)
			}
			if round == 1 { // round 0 appended, round 1 repeated, round 2 appends behind
				appends[i].Expected, appends[i].Events = 0, []domain.Sealed{sample(appends[i].Stream, 10)}
			}
		}
	}
}
