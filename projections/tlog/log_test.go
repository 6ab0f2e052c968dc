package tlog_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/tlog"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string, files tlog.Files) *tlog.Log {
	t.Helper()
	l, err := tlog.Open(dir, viewtest.Ledger, files)
	check(t, err)
	return l
}

func catchUp(t testing.TB, w *viewtest.Writer, l *tlog.Log, batch int) error {
	t.Helper()
	opt := viewtest.Options()
	opt.Batch = batch
	return projections.NewSinkLoop(w.Log, opt, "leaves", l).CatchUp(t.Context(), domain.End)
}

// traffic writes n events of the ledger, and between them some that have no leaf.
func traffic(w *viewtest.Writer, n int) {
	for i := range n {
		w.NoteTime()
		if i%100 == 0 {
			w.Append(domain.NewSealed(domain.New[domain.EventID](), "other.stream", "x.y.v1", nil, nil))
			w.Append(domain.NewSealed(domain.New[domain.EventID](), w.Streams.Policy(), "$metadata", nil, nil))
			w.Append(w.Seal(w.Streams.Checkpoint(), domain.CheckpointSigned, domain.Envelope{}, "LTD\x01\x01head"))
		}
	}
}

// expected are the leaves by the definition, from the log.
func expected(t testing.TB, w *viewtest.Writer) (leaves []tlog.Leaf) {
	t.Helper()
	for e, err := range w.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
		check(t, err)
		if strings.HasPrefix(string(e.Stream()), "lethe.test.") && e.Type().Ours() && e.Stream() != w.Streams.Checkpoint() {
			leaves = append(leaves, tlog.LeafOf(e.Sealed))
		}
	}
	return leaves
}

func stored(t testing.TB, l *tlog.Log) (leaves []tlog.Leaf) {
	t.Helper()
	for leaf, err := range l.Leaves(0) {
		check(t, err)
		leaves = append(leaves, leaf)
	}
	return leaves
}

func TestLeavesStandInTheOrderOfTheLog(t *testing.T) {
	w, dir := viewtest.NewWriter(), t.TempDir()
	l := open(t, dir, tlog.OS{})
	for _, n := range []int{1, 254, 1, 1, 255, 700, 3} {
		traffic(w, n)
		check(t, catchUp(t, w, l, 100))
		if !slices.Equal(stored(t, l), expected(t, w)) {
			t.Fatalf("%d leaves stored, %d expected, or others", l.Size(), len(expected(t, w)))
		}
		l = open(t, dir, tlog.OS{})
	}
	full, err := os.ReadFile(filepath.Join(dir, "tile/entries/000"))
	check(t, err)
	if len(full) != 256*35 || full[0] != 0 || full[1] != 33 || full[2] != 1 {
		t.Fatalf("bundle 0 has %d bytes and begins with %x", len(full), full[:3])
	}
	partial, err := filepath.Glob(filepath.Join(dir, "tile/entries/*.p/*"))
	check(t, err)
	if len(partial) != 1 {
		t.Fatalf("partial bundles %v, want the last one only", partial)
	}
}

// faults fails the n-th Replace, before or behind its effect.
type faults struct {
	tlog.OS
	n      int
	behind bool
}

var errFault = errors.New("fault")

func (f *faults) Replace(name string, data []byte) error {
	f.n--
	switch {
	case f.n == 0 && f.behind:
		return errors.Join(f.OS.Replace(name, data), errFault)
	case f.n == 0:
		return errFault
	}
	return f.OS.Replace(name, data)
}

func TestAFaultAtAnyWriteLeavesNeitherGapNorDouble(t *testing.T) {
	hit := 0
	for _, behind := range []bool{false, true} {
		for n := 1; n < 12; n++ {
			w, dir := viewtest.NewWriter(), t.TempDir()
			traffic(w, 300)
			check(t, catchUp(t, w, open(t, dir, tlog.OS{}), 1000))
			traffic(w, 700)
			err := catchUp(t, w, open(t, dir, &faults{n: n, behind: behind}), 200)
			if err != nil {
				hit++
				if !errors.Is(err, domain.ErrUnavailable) {
					t.Fatalf("write %d: %v, want unavailable", n, err)
				}
			}
			l := open(t, dir, tlog.OS{})
			check(t, catchUp(t, w, l, 150))
			if !slices.Equal(stored(t, l), expected(t, w)) {
				t.Fatalf("write %d (behind: %v): the leaves differ from the log's", n, behind)
			}
		}
	}
	if hit < 12 {
		t.Fatalf("only %d faults were met", hit)
	}
}

func TestCompare(t *testing.T) {
	w := viewtest.NewWriter()
	traffic(w, 300)
	ref := domain.New[domain.SubjectRef]()
	place := viewtest.Place{Scope: domain.Erasable, Ref: ref, Class: "messages", Tier: domain.OwnTier, Gen: 1}
	e := w.Person(place, domain.TrafficRecorded, 3, domain.Name("pool", "chat"), domain.UUID("connection", domain.New[domain.ConnectionID]()))
	traffic(w, 10)
	l := open(t, t.TempDir(), tlog.OS{})
	check(t, catchUp(t, w, l, 1000))
	c, err := l.Compare(t.Context(), w)
	check(t, err)
	if c.Gone != 0 || c.Present != l.Size() || c.Present != 312 {
		t.Fatalf("%+v of %d leaves", c, l.Size())
	}
	w.Delete(e.Stream(), false)
	if c, err = l.Compare(t.Context(), w); err != nil || c.Gone != 1 {
		t.Fatalf("after a disposal: %+v, %v", c, err)
	}
	other := w.Seal(w.Streams.Policy(), domain.TimeNoted, domain.Envelope{Facts: domain.NewFacts(domain.Int("at", 1))}, "LTH\x01\x01")
	w.Replace(domain.Position{Commit: 20, Prepare: 20}, other)
	if _, err = l.Compare(t.Context(), w); !errors.Is(err, tlog.ErrDiffers) {
		t.Fatalf("a log rewritten compares as %v", err)
	}
}

func TestDamageAndASecondWriterAreFound(t *testing.T) {
	w, dir := viewtest.NewWriter(), t.TempDir()
	traffic(w, 10)
	a, b := open(t, dir, tlog.OS{}), open(t, dir, tlog.OS{})
	check(t, catchUp(t, w, a, 100))
	if err := catchUp(t, w, b, 100); !errors.Is(err, tlog.ErrActive) {
		t.Fatalf("the second writer got %v", err)
	}
	name := filepath.Join(dir, "head.json")
	head, err := os.ReadFile(name)
	check(t, err)
	check(t, os.WriteFile(name, []byte(strings.Replace(string(head), `"size":11`, `"size":10`, 1)), 0o600))
	if _, err := tlog.Open(dir, viewtest.Ledger, tlog.OS{}); !errors.Is(err, tlog.ErrDamaged) {
		t.Fatalf("an edited head opened: %v", err)
	}
	check(t, os.WriteFile(name, head, 0o600))
	check(t, os.RemoveAll(filepath.Join(dir, "tile")))
	if _, err := tlog.Open(dir, viewtest.Ledger, tlog.OS{}); !errors.Is(err, tlog.ErrDamaged) {
		t.Fatalf("missing entries opened: %v", err)
	}
}

func TestLeafIsAsTheFormatSays(t *testing.T) {
	id := domain.EventID{0: 1, 15: 2}
	s := domain.NewSealed(id, "lethe.test.policy", "time.noted.v1", []byte("{}"), []byte("data"))
	data := sha256.Sum256([]byte("data"))
	sum := sha256.Sum256(slices.Concat(
		[]byte("\x00\x00\x00\x0dlethe/leaf/v1\x00\x00\x00\x11lethe.test.policy"), id[:],
		[]byte("\x00\x00\x00\x0dtime.noted.v1\x00\x00\x00\x02{}"), data[:],
	))
	want := tlog.Leaf(append([]byte{1}, sum[:]...))
	if got := tlog.LeafOf(s); got != want {
		t.Fatalf("leaf %x, want %x", got, want)
	}
}
