package outbox

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Append keeps the promise of eventstore.Appender, with revisions that count what
// came through this outbox. It differs where the outbox has a shorter memory:
//
//   - A repetition is known while its events are pending. It does not need to be
//     longer, because a context does not end an append once it is queued: an answer
//     always comes, within what the local disk takes.
//   - Of a stream that was forgotten (Options.Streams) nothing is pending, and any
//     expected revision is right.
//   - A deleted stream is not known as such: the relay counts what comes too late.
//   - Each event may be 20 bytes smaller than elsewhere, and an append by so many
//     for each of its events, and 256.
//
// Beyond Options.MaxBytes it answers ErrFull.
func (b *Outbox) Append(ctx context.Context, stream domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error) {
	r := b.AppendMany(ctx, []eventstore.Append{{Stream: stream, Expected: expected, Events: events}})
	return r[0].Appended, r[0].Err
}

// AppendMany is many appends, each as Append, in the order of the list.
func (b *Outbox) AppendMany(ctx context.Context, appends []eventstore.Append) []eventstore.Result {
	results := make([]eventstore.Result, len(appends))
	if ctx.Err() != nil {
		for i := range results {
			results[i].Err = fmt.Errorf("append to the outbox: %w: %w", domain.ErrUnavailable, context.Cause(ctx))
		}
		return results
	}
	waiting := 0
	answered := make(chan struct{}, len(appends))
	for i, a := range appends {
		if results[i].Err = check(a); results[i].Err != nil {
			continue
		}
		waiting++
		b.submit(b.unit(a, &results[i], answered)) //nolint:contextcheck // it outlives the call, see Append
	}
	for range waiting {
		<-answered
	}
	return results
}

// naming is room for the entry that states a stream.
const naming = 256

// check refuses what the local store would refuse, and the whole commit with it.
func check(a eventstore.Append) error {
	if err := eventstore.Check(a.Stream, a.Expected, a.Events); err != nil {
		return err
	}
	for _, e := range a.Events {
		if e.Size()+wrapping > domain.MaxEventBytes {
			return fmt.Errorf("event %s of %d bytes: %w", e.ID(), e.Size(), eventstore.ErrTooLarge)
		}
	}
	if len(a.Stream) > naming-64 {
		return fmt.Errorf("stream %s: a name of %d bytes: %w", a.Stream, len(a.Stream), eventstore.ErrInvalid)
	}
	if size := sizeOf(a.Events) + naming; size > domain.MaxAppendBytes {
		return fmt.Errorf("append of %d bytes: %w", size, eventstore.ErrTooLarge)
	}
	return nil
}

// sizeOf is what events take in a commit.
func sizeOf(events []domain.Sealed) (n int) {
	for _, e := range events {
		n += e.Size() + wrapping
	}
	return n
}

func (b *Outbox) unit(a eventstore.Append, r *eventstore.Result, answered chan<- struct{}) *unit {
	return &unit{
		size: sizeOf(a.Events), page: naming,
		place: func(c *commit) error { return b.placeAppend(c, a) },
		done: func(err error) {
			r.Err = err
			if err == nil {
				r.Appended.Revision = a.Expected + domain.Revision(len(a.Events))
			}
			answered <- struct{}{}
		},
	}
}

// placeAppend decides one append.
func (b *Outbox) placeAppend(c *commit, a eventstore.Append) error {
	l := b.lanes[a.Stream]
	if l != nil {
		head := domain.Revision(l.tail) - 1 //nolint:gosec // far below
		if a.Expected < head {
			if repeated, err := b.repeats(c, l, a); repeated || err != nil {
				return err
			}
		}
		if a.Expected != head {
			return &eventstore.WrongRevision{Stream: a.Stream, Expected: a.Expected, Actual: head}
		}
	}
	if b.used+int64(c.bytes)+int64(sizeOf(a.Events)) > b.opt.MaxBytes {
		return fmt.Errorf("%d of %d bytes are used: %w", b.used, b.opt.MaxBytes, ErrFull)
	}
	if l == nil {
		l = b.lane(a.Stream, uint64(a.Expected+1)) //nolint:gosec // not below -1
	}
	for _, e := range a.Events {
		c.event(l, e)
	}
	return nil
}

// lane makes the lane of a stream that has none. It needs mu.
func (b *Outbox) lane(stream domain.Stream, next uint64) *lane {
	b.last++
	l := &lane{number: b.last, stream: stream, next: next, tail: next, acked: domain.NoStream, shipping: shipping{at: domain.NoStream}}
	b.lanes[stream] = l
	return l
}

// repeats reports whether the events of an append stand behind its expected
// revision, pending or in the commit that is being built.
func (b *Outbox) repeats(c *commit, l *lane, a eventstore.Append) (bool, error) {
	first := uint64(a.Expected + 1) //nolint:gosec // not below -1
	for i, e := range a.Events {
		id, there, err := b.idOf(c, l, first+uint64(i)) //nolint:gosec // an index
		if err != nil || !there || id != e.ID() {
			return false, err
		}
	}
	return true, nil
}

func (b *Outbox) idOf(c *commit, l *lane, seq uint64) (domain.EventID, bool, error) {
	for _, a := range c.adds {
		if a.lane == l && a.seq == seq {
			return a.event.ID(), true, nil
		}
	}
	i := slices.IndexFunc(l.pending, func(p place) bool { return p.seq == seq })
	if i < 0 {
		return domain.EventID{}, false, nil
	}
	events, err := b.fetch(context.Background(), l.stream, l.pending[i:i+1])
	if err != nil {
		return domain.EventID{}, false, err
	}
	return events[0].ID(), true, nil
}

// Last answers the revision here of the last event that came for a stream, shipped
// or not; domain.NoStream of one that is not known or was forgotten.
func (b *Outbox) Last(_ context.Context, stream domain.Stream) (domain.Revision, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return 0, b.broken
	}
	if l := b.lanes[stream]; l != nil {
		return domain.Revision(l.next) - 1, nil //nolint:gosec // far below
	}
	return domain.NoStream, nil
}

// ReadStream reads what is pending of a stream, with revisions of the outbox's own
// and no position. What was shipped is read from the log.
func (b *Outbox) ReadStream(ctx context.Context, stream domain.Stream, from domain.Revision, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error] {
	return func(yield func(domain.Recorded, error) bool) {
		n := 0
		for _, p := range b.placesOf(stream, from, dir) {
			if limit > 0 && n == limit {
				return
			}
			events, err := b.fetch(ctx, stream, []place{p})
			if err != nil && b.gone(stream, p) {
				continue // shipped meanwhile
			}
			r := domain.Recorded{Revision: domain.Revision(p.seq)} //nolint:gosec // far below
			if err == nil {
				r.Sealed = events[0]
			}
			if !yield(r, err) || err != nil {
				return
			}
			n++
		}
	}
}

func (b *Outbox) placesOf(stream domain.Stream, from domain.Revision, dir eventstore.Direction) []place {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[stream]
	if l == nil {
		return nil
	}
	places := slices.DeleteFunc(slices.Clone(l.pending), func(p place) bool {
		r := domain.Revision(p.seq) //nolint:gosec // far below
		return dir == eventstore.Forward && r < from || dir == eventstore.Backward && r > from
	})
	if dir == eventstore.Backward {
		slices.Reverse(places)
	}
	return places
}

func (b *Outbox) gone(stream domain.Stream, p place) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[stream]
	return l == nil || !slices.ContainsFunc(l.pending, func(q place) bool { return q.seq == p.seq })
}
