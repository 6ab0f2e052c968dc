package outbox

import (
	"context"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A loading is the fold over the segments at Open.
type loading struct {
	box      *Outbox
	lanes    map[uint64]*lane
	segments map[domain.Stream]*segment
	newest   uint64
}

// load folds the segments in the order in which they were written, and begins a
// new one.
func (b *Outbox) load(ctx context.Context) error {
	f := &loading{box: b, lanes: map[uint64]*lane{}, segments: map[domain.Stream]*segment{}}
	for e, err := range b.local.ReadAll(ctx, domain.Start, eventstore.Forward, 0) {
		if err != nil {
			return err
		}
		if err := f.take(e); err != nil {
			return fmt.Errorf("event %d of %s: %w: %w", e.Revision, e.Stream(), err, eventstore.ErrDamaged)
		}
	}
	b.segments = append(b.segments, newSegment(f.newest+1))
	return f.finish()
}

func (f *loading) take(e domain.Recorded) error {
	number, ours := segmentNumber(e.Stream())
	if !ours {
		return fmt.Errorf("not an event of an outbox")
	}
	f.newest = max(f.newest, number)
	if e.Type() == eventstore.DeletedType {
		return nil
	}
	s := f.segment(number, e.Stream())
	f.box.occupy(s, e.Size()+standing)
	if e.Type() == pageType {
		return readPage(e.Data(), func(en entry) { f.entry(s, en) })
	}
	lane, seq, _, err := unwrap(e.Sealed)
	if err != nil {
		return err
	}
	l := f.lane(lane)
	l.next = max(l.next, seq+1)
	f.box.add(l, place{seq: seq, segment: s, revision: e.Revision, size: int32(e.Size()), at: seconds(e.StoreTime)}) //nolint:gosec // below a mebibyte
	return nil
}

func (f *loading) segment(number uint64, stream domain.Stream) *segment {
	s := f.segments[stream]
	if s == nil {
		s = newSegment(number)
		f.segments[stream] = s
		f.box.segments = append(f.box.segments, s)
	}
	return s
}

func (f *loading) lane(number uint64) *lane {
	l := f.lanes[number]
	if l == nil {
		l = &lane{number: number, acked: domain.NoStream, shipping: shipping{at: domain.NoStream}}
		f.lanes[number] = l
		f.box.last = max(f.box.last, number)
	}
	return l
}

func (f *loading) entry(s *segment, e entry) {
	switch e.kind {
	case entryState:
		l := f.lane(e.lane)
		l.stream, l.stated = e.name, s
		l.next, l.acked = max(l.next, e.next), max(l.acked, e.revision)
	case entryIntent:
		f.lane(e.lane).intent = intent{set: true, last: e.next, expected: e.revision}
	case entryAway:
		l := f.lane(e.lane)
		l.acked = max(l.acked, e.revision)
		f.box.drop(l, e.runs)
	case entryOwed:
		f.box.oweAgain(e.debt, s)
	case entryPaid:
		f.box.paid(e.debt.ID)
	case entryForgot:
		for _, l := range f.lanes {
			l.forget()
		}
	}
}

// finish keeps the lanes that have a name. One without has nothing pending: its
// events were settled, and it was forgotten before its statement was deleted.
func (f *loading) finish() error {
	now := f.box.opt.Clock()
	for number, l := range f.lanes {
		if l.stated == nil {
			if len(l.pending) > 0 {
				return fmt.Errorf("stream number %d has events and no name: %w", number, eventstore.ErrDamaged)
			}
			continue
		}
		if known := f.box.lanes[l.stream]; known != nil && known.number > number {
			continue // forgotten, and known again under another number
		}
		l.tail, l.loaded = l.next, l.next
		if l.intent.set && len(l.fixed()) == 0 {
			return fmt.Errorf("an append of no events to %s is fixed: %w", l.stream, eventstore.ErrDamaged)
		}
		l.doubt = l.intent.set
		f.box.lanes[l.stream] = l
		f.box.enlist(l, now)
	}
	return nil
}
