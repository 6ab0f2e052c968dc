package outbox

import (
	"context"

	"github.com/lethe-ledger/lethe/domain"
)

// onward settles the intent, which the log took at a revision, and fixes what is
// pending behind it in the same commit. It returns the events of that, or nil when
// the lane was released: because nothing is pending, or because something stands in
// the way that ship has to look at. size is what the lane holds of Relay.bytes.
func (r *Relay) onward(ctx context.Context, l *lane, at domain.Revision, size *int64) []domain.Sealed {
	done, next := r.box.fixedOf(l), r.box.behind(l)
	events := r.ready(ctx, l, next, size)
	if len(events) == 0 {
		r.settled(l, done, at)
		return nil
	}
	runs := runsAt(done)
	err := r.box.commit(&unit{page: naming + 20*len(runs), place: func(c *commit) error {
		c.settle(l, runs, at)
		c.fix(l, intent{set: true, last: next[len(next)-1].seq, expected: max(l.acked, at)})
		return nil
	}})
	if err != nil {
		r.rested(l, err)
		return nil
	}
	return events
}

// ready reads the next events of a lane if all of them may be shipped at once.
func (r *Relay) ready(ctx context.Context, l *lane, next []place, size *int64) []domain.Sealed {
	if len(next) == 0 || ctx.Err() != nil || !r.resize(size, weight(next)) {
		return nil
	}
	events, err := r.box.fetch(ctx, l.stream, next)
	if err != nil {
		return nil
	}
	if late, err := r.sift(ctx, l, next, events); err != nil || late != nil {
		return nil
	}
	return events
}

// resize makes what is held of Relay.bytes more or less, if that is there.
func (r *Relay) resize(size *int64, to int64) bool {
	if more := to - *size; more > 0 && !r.bytes.TryAcquire(more) {
		return false
	} else if more < 0 {
		r.bytes.Release(-more)
	}
	*size = to
	return true
}
