package esdb

// Other people's clients of the same server: they read what the store wrote, and
// the store reads what they write.

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

// TestOtherClients runs every scene with each library, on a real server if there is
// one.
func TestOtherClients(t *testing.T) {
	dir := clientsFolder(t)
	for _, library := range libraries {
		t.Run(library, func(t *testing.T) {
			url := os.Getenv(realServer)
			if url == "" {
				url = esdbtest.Start(t, esdbtest.Options{Clock: time.Now}).URL()
			}
			p := start(t, dir, library, url)
			for _, scene := range scenes {
				t.Run(scene.name, func(t *testing.T) { scene.play(newForeign(t, p, url)) })
			}
		})
	}
}

var scenes = []struct {
	name string
	play func(*foreign)
}{
	{"they read the streams of the store", (*foreign).readStreams},
	{"they see what the store disposed of", (*foreign).seeDisposals},
	{"they read the log", (*foreign).readLog},
	{"they follow the log", (*foreign).followLog},
	{"the store reads what they write", (*foreign).readTheirs},
	{"wrong revisions are answered with the right one", (*foreign).refuse},
	{"the store sees what they disposed of", (*foreign).seeTheirDisposals},
}

const (
	forwards, backwards = "forwards", "backwards"
	atStart, atEnd      = "start", "end"
)

func (f *foreign) readStreams() {
	a, cut := f.name("a"), f.name("cut")
	es := f.events(a, 9)
	f.write(f.store, domain.NoStream, es[:4]...)
	f.write(f.store, 3, es[4:]...)
	f.write(f.store, domain.NoStream, f.events(cut, 5)...)
	f.must(f.store.Truncate(f.ctx, cut, 3))

	for _, s := range []domain.Stream{a, cut} {
		ours := f.read(s, 0, eventstore.Forward)
		f.same("forwards", f.run(command{Do: "stream", Stream: s, From: atStart, Direction: forwards}).Events, ours)
		slices.Reverse(ours)
		f.same("backwards", f.run(command{Do: "stream", Stream: s, From: atEnd, Direction: backwards}).Events, ours)
	}
	f.same("forwards from 5", f.run(command{Do: "stream", Stream: a, From: "5", Direction: forwards, Count: 2}).Events, f.read(a, 5, eventstore.Forward)[:2])
	f.same("backwards from 5", f.run(command{Do: "stream", Stream: a, From: "5", Direction: backwards, Count: 2}).Events, f.read(a, 5, eventstore.Backward)[:2])
	if first := f.run(command{Do: "stream", Stream: cut, From: atStart, Direction: forwards}).Events[0]; first.Revision != "3" {
		f.Errorf("a stream truncated before 3 begins at %s", first.Revision)
	}
}

func (f *foreign) seeDisposals() {
	cut, gone := f.name("cut"), f.name("gone")
	f.write(f.store, domain.NoStream, f.events(cut, 5)...)
	f.write(f.store, domain.NoStream, f.events(gone, 2)...)
	f.must(f.store.Truncate(f.ctx, cut, 2))
	if m := string(f.run(command{Do: "metadata", Stream: cut}).Metadata); m != `{"truncateBefore":2}` {
		f.Errorf("metadata of a stream truncated before 2: %s", m)
	}
	f.must(f.store.Delete(f.ctx, gone))
	for _, c := range []command{
		{Do: "stream", From: atStart, Direction: forwards},
		{Do: "stream", From: atEnd, Direction: backwards},
		{Do: "append", Expected: "1", Events: sent(f.events(gone, 1))},
		{Do: "append", Expected: "no_stream", Events: sent(f.events(gone, 1))},
		{Do: "tombstone", Expected: "any"},
	} {
		c.Stream = gone
		f.fails(c, "stream-deleted")
	}
	f.fails(command{Do: "stream", Stream: f.name("never"), From: atStart, Direction: forwards}, "stream-not-found")
}

func (f *foreign) readLog() {
	ours := f.scene()
	first := map[string]string{"commit": shownAs(ours[0]).Commit, "prepare": shownAs(ours[0]).Prepare}
	f.same("forwards", f.only(f.run(command{Do: "all", From: first, Direction: forwards})), ours)
	f.same("backwards", f.only(f.run(command{Do: "all", From: atEnd, Direction: backwards})), f.log(eventstore.Backward))
}

func (f *foreign) followLog() {
	ours := f.scene()
	whole := f.run(command{Do: "subscribe", Name: "whole", Prefix: f.store.Prefix, From: atStart, Count: len(ours)})
	f.same("from the start", whole.Events, ours)
	behind := shownAs(ours[6])
	rest := f.run(command{
		Do: "subscribe", Name: "rest", Prefix: f.store.Prefix, Count: len(ours) - 7,
		From: map[string]string{"commit": behind.Commit, "prepare": behind.Prepare},
	})
	f.same("from an event", rest.Events, ours[7:])

	f.write(f.other, domain.NoStream, f.events(domain.Stream(f.other.Prefix+"late"), 3)...)
	f.write(f.store, 8, f.events(f.name("a"), 2)...)
	for _, name := range []string{"whole", "rest"} {
		f.same("live", f.run(command{Do: "take", Name: name, Count: 2}).Events, f.read(f.name("a"), 9, eventstore.Forward))
		f.run(command{Do: "unsubscribe", Name: name})
	}
}

// scene writes 13 events to streams of which one is truncated and one deleted, and
// what is not ours in between, and returns what the store reads of it.
func (f *foreign) scene() []domain.Recorded {
	f.Helper()
	a, b, gone := f.events(f.name("a"), 9), f.events(f.name("b"), 3), f.events(f.name("gone"), 1)
	foreign := f.events(domain.Stream(f.other.Prefix+"a"), 4)
	f.write(f.store, domain.NoStream, a[:5]...)
	f.write(f.other, domain.NoStream, foreign[:2]...)
	f.write(f.store, domain.NoStream, b...)
	f.write(f.store, domain.NoStream, gone...)
	f.write(f.store, 4, a[5:]...)
	f.must(f.store.Truncate(f.ctx, f.name("b"), 1))
	f.must(f.store.Delete(f.ctx, f.name("gone")))
	f.write(f.other, 1, foreign[2:]...)
	ours := f.log(eventstore.Forward)
	if n := len(ours); n != 14 { // 13 events and the tombstone
		f.Fatalf("the store reads %d events, want 14", n)
	}
	return ours
}

func (f *foreign) readTheirs() {
	a := f.name("a")
	es := f.events(a, 6)
	created := command{Do: "append", Stream: a, Expected: "no_stream", Events: sent(es[:3])}
	grown := command{Do: "append", Stream: a, Expected: "2", Events: sent(es[3:])}
	f.appendedAt(f.run(created), 2)
	f.appendedAt(f.run(grown), 5)
	f.appendedAt(f.run(created), 2) // both once more
	f.appendedAt(f.run(grown), 5)
	f.asSent(a, es)

	again := f.write(f.store, domain.NoStream, es[:3]...)
	if want := f.read(a, 2, eventstore.Forward)[0].Position; again.Revision != 2 || again.Position != want {
		f.Errorf("what they wrote, repeated by the store: %+v, want revision 2 at %s", again, want)
	}
	more := f.events(a, 2)
	f.write(f.store, 5, more...)
	f.appendedAt(f.run(command{Do: "append", Stream: a, Expected: "5", Events: sent(more)}), 7)
	f.asSent(a, append(es, more...))
}

func (f *foreign) refuse() {
	a, b := f.name("a"), f.name("b")
	es := f.events(a, 5)
	f.write(f.store, domain.NoStream, es...)
	for _, c := range []struct {
		stream           domain.Stream
		expected, actual string
	}{{a, "no_stream", "4"}, {a, "3", "4"}, {a, "9", "4"}, {b, "0", "no_stream"}, {b, "7", "no_stream"}} {
		got := f.fails(command{Do: "append", Stream: c.stream, Expected: c.expected, Events: sent(f.events(c.stream, 2))}, "wrong-expected-version")
		if got.Actual != c.actual || got.Stream != c.stream {
			f.Errorf("append to %s at %s: they were told %s ends at %s, want %s", c.stream, c.expected, got.Stream, got.Actual, c.actual)
		}
	}
	f.asSent(a, es)

	f.run(command{Do: "append", Stream: b, Expected: "no_stream", Events: sent(f.events(b, 3))})
	_, err := f.store.Append(f.ctx, b, domain.NoStream, f.events(b, 1))
	var wrong *eventstore.WrongRevision
	if !errors.As(err, &wrong) || wrong.Actual != 2 {
		f.Errorf("the store was told %v, want that the stream ends at 2", err)
	}
}

func (f *foreign) seeTheirDisposals() {
	cut, gone := f.name("cut"), f.name("gone")
	f.write(f.store, domain.NoStream, f.events(cut, 5)...)
	f.write(f.store, domain.NoStream, f.events(gone, 2)...)
	f.run(command{Do: "truncate", Stream: cut, Before: 3, Expected: "no_stream"})
	if left := f.read(cut, 0, eventstore.Forward); len(left) != 2 || left[0].Revision != 3 {
		f.Errorf("truncated before 3, %d events are left", len(left))
	}
	for _, c := range []struct{ before, want domain.Revision }{{2, 3}, {4, 4}} { // theirs is never taken back
		f.must(f.store.Truncate(f.ctx, cut, c.before))
		if m := string(f.run(command{Do: "metadata", Stream: cut}).Metadata); m != fmt.Sprintf(`{"truncateBefore":%d}`, c.want) {
			f.Errorf("they truncated before 3, the store before %d: metadata %s", c.before, m)
		}
	}
	f.run(command{Do: "tombstone", Stream: gone, Expected: "1"})
	_, lastErr := f.store.Last(f.ctx, gone)
	_, appendErr := f.store.Append(f.ctx, gone, 1, f.events(gone, 1))
	for what, err := range map[string]error{"last": lastErr, "append": appendErr} {
		if !errors.Is(err, eventstore.ErrDeleted) {
			f.Errorf("%s of a stream they deleted: %v", what, err)
		}
	}
	last := f.log(eventstore.Backward)[0]
	if last.Type() != eventstore.DeletedType || last.Stream() != gone {
		f.Errorf("the log ends with %s of %s", last.Type(), last.Stream())
	}
}

func (f *foreign) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *foreign) read(s domain.Stream, from domain.Revision, dir eventstore.Direction) (out []domain.Recorded) {
	f.Helper()
	for e, err := range f.store.ReadStream(f.ctx, s, from, dir, 0) {
		f.must(err)
		out = append(out, e)
	}
	return out
}

// log is everything under the store's prefix.
func (f *foreign) log(dir eventstore.Direction) (out []domain.Recorded) {
	f.Helper()
	from := map[eventstore.Direction]domain.Position{eventstore.Forward: domain.Start, eventstore.Backward: domain.End}[dir]
	for e, err := range f.store.ReadAll(f.ctx, from, dir, 0) {
		f.must(err)
		out = append(out, e)
	}
	return out
}

// only leaves of an answer what is under the store's prefix.
func (f *foreign) only(a answer) []foreignEvent {
	return slices.DeleteFunc(a.Events, func(e foreignEvent) bool { return !strings.HasPrefix(string(e.Stream), f.store.Prefix) })
}

// appendedAt asks that an append of theirs is answered with where the store reads
// its last event.
func (f *foreign) appendedAt(a answer, last domain.Revision) {
	f.Helper()
	e := shownAs(f.read(f.name("a"), last, eventstore.Forward)[0])
	if !a.Success || a.Revision != strconv.FormatInt(int64(last), 10) || a.Commit != e.Commit || a.Prepare != e.Prepare {
		f.Errorf("they were told %+v, want revision %d at %s/%s", a, last, e.Commit, e.Prepare)
	}
}

// asSent asks that the store reads from a stream exactly es.
func (f *foreign) asSent(s domain.Stream, es []domain.Sealed) {
	f.Helper()
	got := f.read(s, 0, eventstore.Forward)
	if len(got) != len(es) {
		f.Fatalf("%d events in %s, want %d", len(got), s, len(es))
	}
	for i, e := range got {
		same := e.ID() == es[i].ID() && e.Type() == es[i].Type() && string(e.Envelope()) == string(es[i].Envelope()) && string(e.Data()) == string(es[i].Data())
		if !same || e.Revision != domain.Revision(i) {
			f.Errorf("event %d of %s is %s %s at %d with %q and %q", i, s, e.ID(), e.Type(), e.Revision, e.Envelope(), e.Data())
		}
	}
}
