package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

func asWrong(err error) (*eventstore.WrongRevision, bool) {
	var wrong *eventstore.WrongRevision
	ok := errors.As(err, &wrong)
	return wrong, ok
}

// A retry is one row of the table: a batch of three events stands behind
// revision e, and perhaps two more behind it; then something is appended at
// e + at. Events are named by their place: 0 to 2 the batch, 3 and 4 what was
// appended later, another number a new event.
type retry struct {
	name   string
	later  bool
	at     domain.Revision
	events []int
	// want is the answered revision minus e; 0 is *WrongRevision.
	want domain.Revision
}

const fresh = 9

// retries says for an expected revision what EventStoreDB was seen to answer
// (docs of the contract: eventstore.Appender). Each row is asked at NoStream and
// at an exact revision.
func retries() []retry {
	return []retry{
		{name: "the same", events: []int{0, 1, 2}, want: 3},
		{name: "its first", events: []int{0}, want: 1},
		{name: "its first two", events: []int{0, 1}, want: 2},
		{name: "more than it", events: []int{0, 1, 2, fresh}},
		{name: "its end", events: []int{1, 2}},
		{name: "its end at its own place", at: 1, events: []int{1, 2}, want: 3},
		{name: "its middle at its own place", at: 1, events: []int{1}, want: 2},
		{name: "its last at its own place", at: 2, events: []int{2}, want: 3},
		{name: "begins with another", events: []int{fresh, 1, 2}},
		{name: "a new one before it", events: []int{fresh, 0, 1, 2}},
		{name: "ends with another", events: []int{0, 1, fresh}},
		{name: "another order", events: []int{1, 0, 2}},
		{name: "another order behind the first", events: []int{0, 2, 1}},
		{name: "one of it twice", events: []int{0, 0}},
		{name: "new ones in its place", events: []int{fresh, fresh, fresh}},
		{name: "a revision ahead", at: 7, events: []int{0, 1, 2}},
		{name: "at the new end, as new events", at: 3, events: []int{0, 1, 2}, want: 6},
		{name: "the same, after more", later: true, events: []int{0, 1, 2}, want: 3},
		{name: "its first, after more", later: true, events: []int{0}, want: 1},
		{name: "its end at its own place, after more", later: true, at: 1, events: []int{1, 2}, want: 3},
		{name: "with what came later", later: true, events: []int{0, 1, 2, 3, 4}, want: 5},
		{name: "over the border of two appends", later: true, at: 2, events: []int{2, 3}, want: 4},
		{name: "with a new one, after more", later: true, events: []int{0, 1, 2, fresh}},
		{name: "beyond the end, after more", later: true, events: []int{0, 1, 2, 3, 4, fresh}},
	}
}

func testIdempotency(t *testing.T, e Engine) {
	k := open(t, e)
	for _, base := range []int{0, 2} {
		for _, r := range retries() {
			k.sub(fmt.Sprintf("%s at %d", r.name, base-1), func(k *kit) { r.ask(k, base) })
		}
	}
	k.sub("same ids, other bytes", func(k *kit) {
		s, es := k.fill("a", 3)
		first := k.read(s, 2, eventstore.Forward, 1)[0].Position
		if a := k.append(domain.NoStream, otherBytes(es)...); a.Position != first {
			k.Fatalf("position %s, at first %s", a.Position, first)
		}
		k.append(0, otherBytes(es[1:])...)
		k.whole(s, es, 0)
	})
	k.sub("the same id twice in an append", func(k *kit) {
		s := k.stream("a")
		es := events(s, 1)
		es = append(es, es[0])
		k.append(domain.NoStream, es...)
		k.append(domain.NoStream, es...)
		k.whole(s, es, 0)
	})
	k.sub("the same ids in another stream", func(k *kit) {
		_, es := k.fill("a", 2)
		b := k.stream("b")
		var moved []domain.Sealed
		for _, e := range es {
			moved = append(moved, domain.NewSealed(e.ID(), b, e.Type(), e.Envelope(), e.Data()))
		}
		k.append(domain.NoStream, moved...)
		k.whole(b, moved, 0)
	})
	k.sub("after truncation", testRetryTruncated)
	k.sub("after deletion", func(k *kit) {
		s, es := k.fill("a", 2)
		if err := k.store.Delete(k.ctx, s); err != nil {
			k.Fatal(err)
		}
		for _, expected := range []domain.Revision{domain.NoStream, 0, 1, 5} {
			_, err := k.store.Append(k.ctx, s, expected, es)
			k.is(err, eventstore.ErrDeleted)
		}
	})
}

// ask prepares the stream, appends what the row says, and asks that the answer is
// right and nothing that stood there moved.
func (r retry) ask(k *kit, base int) {
	s, stand := k.fill("a", base)
	e := domain.Revision(base) - 1
	batch := events(s, 5)
	k.append(e, batch[:3]...)
	stand = append(stand, batch[:3]...)
	if r.later {
		k.append(e+3, batch[3:]...)
		stand = append(stand, batch[3:]...)
	}
	var es []domain.Sealed
	for _, i := range r.events {
		if i == fresh {
			es = append(es, events(s, 1)...)
			continue
		}
		es = append(es, batch[i])
	}
	before := k.read(s, 0, eventstore.Forward, 0)
	last := domain.Revision(len(stand)) - 1
	if r.want == 0 {
		k.wrong(last, e+r.at, es...)
	} else {
		a := k.append(e+r.at, es...)
		k.answeredAs(a, e+r.want, before)
	}
	if e+r.at == last {
		stand = append(stand, es...)
	}
	k.whole(s, stand, 0)
}

// answeredAs asks that a repetition answers the position at which the event
// stands.
func (k *kit) answeredAs(a eventstore.Appended, want domain.Revision, before []domain.Recorded) {
	k.Helper()
	if a.Revision != want {
		k.Fatalf("revision %d, want %d", a.Revision, want)
	}
	if int(want) < len(before) && a.Position != before[want].Position {
		k.Fatalf("position %s, at first %s", a.Position, before[want].Position)
	}
}

func testRetryTruncated(k *kit) {
	s, es := k.fill("a", 6)
	positions := k.read(s, 0, eventstore.Forward, 0)
	if err := k.store.Truncate(k.ctx, s, 4); err != nil {
		k.Fatal(err)
	}
	for range 2 {
		k.known(k.append(domain.NoStream, es[:3]...), positions)
		k.known(k.append(1, es[2:4]...), positions)
		k.known(k.append(2, es[3:]...), positions) // half of it truncated
		k.wrong(5, domain.NoStream, events(s, 1)...)
		k.wrong(5, 0, es[2], es[1])
		k.wrong(5, 1, append(es[2:6:6], events(s, 1)...)...)
	}
	k.whole(s, es[4:], 4)
}

// known asks that a truncated event's position is the one it had, or not known.
func (k *kit) known(a eventstore.Appended, positions []domain.Recorded) {
	k.Helper()
	if a.Position != domain.Start && a.Position != positions[a.Revision].Position {
		k.Fatalf("position %s of revision %d, which stood at %s", a.Position, a.Revision, positions[a.Revision].Position)
	}
}
