package storetest

import (
	"cmp"
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A model is a store that is too simple to be wrong: slices in memory.
type model struct {
	streams map[domain.Stream]*modelStream
	log     []domain.Sealed
}

type modelStream struct {
	events    []domain.Sealed
	truncated int
	deleted   bool
}

func (m *model) stream(s domain.Stream) *modelStream {
	if m.streams[s] == nil {
		m.streams[s] = &modelStream{}
	}
	return m.streams[s]
}

// append answers as eventstore.Appender says.
func (m *model) append(a eventstore.Append) (domain.Revision, error) {
	s := m.stream(a.Stream)
	last := domain.Revision(len(s.events)) - 1
	end := a.Expected + domain.Revision(len(a.Events))
	switch {
	case s.deleted:
		return 0, eventstore.ErrDeleted
	case a.Expected == last:
		s.events = append(s.events, a.Events...)
		m.log = append(m.log, a.Events...)
		return end, nil
	case a.Expected < last && end <= last && slices.EqualFunc(s.events[a.Expected+1:end+1], a.Events, sameID):
		return end, nil
	}
	return 0, &eventstore.WrongRevision{Stream: a.Stream, Expected: a.Expected, Actual: last}
}

func sameID(a, b domain.Sealed) bool { return a.ID() == b.ID() }

func (m *model) truncate(name domain.Stream, before domain.Revision) {
	s := m.stream(name)
	s.truncated = max(s.truncated, min(int(before), len(s.events)-1))
}

// A trial is one run of the property: the store, the model, and what is drawn.
type trial struct {
	*kit
	model   *model
	streams []domain.Stream
	reopen  func()
}

// testModel lets a random sequence of calls meet the store and the model.
func testModel(t *testing.T, e Engine) {
	k := open(t, e)
	rapid.Check(t, func(r *rapid.T) {
		own := &kit{T: t, store: k.store, ctx: k.ctx, prefix: k.prefix + uuid.NewString() + "."}
		tr := &trial{kit: own, model: &model{streams: map[domain.Stream]*modelStream{}}, streams: []domain.Stream{own.stream("a"), own.stream("b"), own.stream("c")}}
		tr.reopen = func() { k.store = e.Reopen(t, k.store); own.store = k.store }
		r.Repeat(map[string]func(*rapid.T){
			"append":   tr.append,
			"many":     tr.appendMany,
			"truncate": tr.truncateSome,
			"delete":   tr.deleteSome,
			"read":     tr.readSome,
			"reopen":   tr.reopenSometimes,
			"":         tr.compare,
		})
	})
}

// draw makes an append that is often a repetition, or close to one.
func (tr *trial) draw(r *rapid.T) eventstore.Append {
	name := rapid.SampledFrom(tr.streams).Draw(r, "stream")
	stand := tr.model.stream(name).events
	last := len(stand) - 1
	expected := last
	if rapid.IntRange(0, 2).Draw(r, "at its end") == 0 {
		expected = rapid.IntRange(-1, last+1).Draw(r, "expected")
	}
	var es []domain.Sealed
	for i := range rapid.IntRange(1, 4).Draw(r, "events") {
		place := expected + 1 + i
		if rapid.IntRange(0, 7).Draw(r, "elsewhere") == 0 {
			place = rapid.IntRange(-1, last).Draw(r, "place")
		}
		if place >= 0 && place <= last {
			es = append(es, stand[place])
			continue
		}
		es = append(es, events(name, 1)...)
	}
	return eventstore.Append{Stream: name, Expected: domain.Revision(expected), Events: es}
}

func (tr *trial) append(r *rapid.T) {
	a := tr.draw(r)
	got, err := tr.store.Append(tr.ctx, a.Stream, a.Expected, a.Events)
	tr.check(r, a, eventstore.Result{Appended: got, Err: err})
}

func (tr *trial) appendMany(r *rapid.T) {
	var appends []eventstore.Append
	for range rapid.IntRange(1, 4).Draw(r, "appends") {
		appends = append(appends, tr.draw(r))
	}
	results := tr.store.AppendMany(tr.ctx, appends)
	begin := len(tr.model.log)
	parts := make([]part, len(results))
	for i, got := range results {
		before := len(tr.model.log)
		tr.check(r, appends[i], got)
		parts[i] = part{got.Appended.Position, slices.Clone(tr.model.log[before:])}
	}
	tr.model.reorder(begin, parts)
}

// A part is what one append of many added to the log, and where its last event
// stands.
type part struct {
	at     domain.Position
	events []domain.Sealed
}

// reorder puts the end of the model's log into the order that the store chose: the
// appends of one AppendMany may be done in any.
func (m *model) reorder(begin int, parts []part) {
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(a.at.Commit, b.at.Commit) })
	m.log = m.log[:begin]
	for _, p := range parts {
		m.log = append(m.log, p.events...)
	}
}

// check compares the answer to an append with the model's.
func (tr *trial) check(r *rapid.T, a eventstore.Append, got eventstore.Result) {
	want, err := tr.model.append(a)
	var wrong, gotWrong *eventstore.WrongRevision
	switch {
	case err == nil && (got.Err != nil || got.Appended.Revision != want):
		r.Fatalf("append %d at %d: %+v, want revision %d", len(a.Events), a.Expected, got, want)
	case errors.As(err, &wrong) && (!errors.As(got.Err, &gotWrong) || *gotWrong != *wrong):
		r.Fatalf("append %d at %d: %+v, want %v", len(a.Events), a.Expected, got, wrong)
	case errors.Is(err, eventstore.ErrDeleted) && !errors.Is(got.Err, eventstore.ErrDeleted):
		r.Fatalf("append to a deleted stream: %+v", got)
	}
}

func (tr *trial) truncateSome(r *rapid.T) {
	name := rapid.SampledFrom(tr.streams).Draw(r, "stream")
	if tr.model.stream(name).deleted {
		return
	}
	before := domain.Revision(rapid.IntRange(0, 10).Draw(r, "before"))
	if err := tr.store.Truncate(tr.ctx, name, before); err != nil {
		r.Fatal(err)
	}
	tr.model.truncate(name, before)
}

func (tr *trial) deleteSome(r *rapid.T) {
	if rapid.IntRange(0, 5).Draw(r, "rarely") != 0 {
		return
	}
	name := rapid.SampledFrom(tr.streams).Draw(r, "stream")
	if err := tr.store.Delete(tr.ctx, name); err != nil {
		r.Fatal(err)
	}
	tr.model.stream(name).deleted = true
}

func (tr *trial) reopenSometimes(r *rapid.T) {
	if rapid.IntRange(0, 15).Draw(r, "rarely") == 0 {
		tr.reopen()
	}
}

// readSome compares a read of a part of a stream.
func (tr *trial) readSome(r *rapid.T) {
	name := rapid.SampledFrom(tr.streams).Draw(r, "stream")
	s := tr.model.stream(name)
	if s.deleted {
		return
	}
	from, limit := rapid.IntRange(0, 12).Draw(r, "from"), rapid.IntRange(0, 5).Draw(r, "limit")
	dir := rapid.SampledFrom([]eventstore.Direction{eventstore.Forward, eventstore.Backward}).Draw(r, "direction")
	want := cut(s, from, dir, limit)
	got, err := collect(tr.store.ReadStream(tr.ctx, name, domain.Revision(from), dir, limit))
	if err != nil || !slices.EqualFunc(got, want, func(g domain.Recorded, w domain.Sealed) bool { return sameID(g.Sealed, w) }) {
		r.Fatalf("read from %d, direction %d, limit %d: %d events, %v; want %d", from, dir, limit, len(got), err, len(want))
	}
}

func cut(s *modelStream, from int, dir eventstore.Direction, limit int) []domain.Sealed {
	n := len(s.events)
	var want []domain.Sealed
	if dir == eventstore.Forward {
		want = s.events[min(max(from, s.truncated), n):]
	} else {
		want = reversed(s.events[s.truncated:max(min(from+1, n), s.truncated)])
	}
	if limit > 0 {
		want = want[:min(limit, len(want))]
	}
	return want
}

// compare reads every stream and the log whole.
func (tr *trial) compare(r *rapid.T) {
	for _, name := range tr.streams {
		s := tr.model.stream(name)
		last, err := tr.store.Last(tr.ctx, name)
		if s.deleted {
			if !errors.Is(err, eventstore.ErrDeleted) {
				r.Fatalf("last of a deleted stream: %d, %v", last, err)
			}
			continue
		}
		if err != nil || last != domain.Revision(len(s.events))-1 {
			r.Fatalf("last %d, %v, want %d", last, err, len(s.events)-1)
		}
		tr.same(tr.read(name, 0, eventstore.Forward, 0), s.events[s.truncated:], domain.Revision(s.truncated))
	}
	tr.compareLog(r)
}

// compareLog asks that the log shows what is visible, in order; what is truncated
// or deleted it may show or not.
func (tr *trial) compareLog(r *rapid.T) {
	next := map[domain.Stream]int{}
	var got []domain.Recorded
	for _, e := range tr.readOurs(domain.Start, eventstore.Forward) {
		if e.Type() != eventstore.DeletedType {
			got = append(got, e)
		}
	}
	for _, e := range tr.model.log {
		s := tr.model.stream(e.Stream())
		revision := next[e.Stream()]
		next[e.Stream()]++
		hidden := s.deleted || revision < s.truncated
		switch {
		case len(got) > 0 && got[0].Stream() == e.Stream() && got[0].Revision == domain.Revision(revision):
			got = got[1:]
		case !hidden:
			r.Fatalf("event %s of %s is not in the log in its place", e.ID(), e.Stream())
		}
	}
	if len(got) > 0 {
		r.Fatalf("%d events in the log that nobody appended there", len(got))
	}
}
