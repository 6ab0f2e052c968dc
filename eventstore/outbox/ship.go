package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Bounds of one append to the log.
const (
	maxShipBytes  = domain.MaxAppendBytes
	maxShipEvents = 4096
)

// maxTurns is how many appends of a lane follow one another before others have
// their turn.
const maxTurns = 8

// ship brings a lane one step further, and on as long as the log takes what is
// pending of it, and releases it.
func (r *Relay) ship(ctx context.Context, l *lane) {
	entered := r.opt.Clock()
	if first := r.began.Add(r.opt.Settle); l.intent.set && l.intent.last < l.loaded && entered.Before(first) {
		r.box.release(l, first) // another process may have sent it a moment ago
		return
	}
	size := r.box.sizeOfNext(l)
	if err := r.bytes.Acquire(ctx, size); err != nil {
		r.box.release(l, l.due) // the relay is being stopped
		return
	}
	defer func() { r.bytes.Release(size) }()
	events, err := r.fixed(ctx, l)
	switch {
	case err != nil:
		r.later(ctx, l, err)
	case len(events) == 0: // all of them came too late
		r.box.release(l, r.opt.Clock())
	}
	for turn := 1; err == nil && len(events) > 0; turn++ {
		at, taken := r.send(ctx, l, events, entered)
		switch {
		case !taken:
			return
		case turn == maxTurns || r.stopping.Load():
			r.settled(l, r.box.fixedOf(l), at)
			return
		}
		events = r.onward(ctx, l, at, &size)
	}
}

// later is what follows a failure before anything was sent.
func (r *Relay) later(ctx context.Context, l *lane, err error) {
	hopeless := errors.Is(err, eventstore.ErrDamaged) || errors.Is(err, domain.ErrUnknownType) || errors.Is(err, domain.ErrEnvelope)
	if hopeless || r.box.failure() != nil {
		r.fail(fmt.Errorf("ship stream %s: %w", l.stream, err))
	}
	if ctx.Err() == nil {
		r.box.opt.Logf("outbox: stream %s waits: %v", l.stream, err)
	}
	r.box.release(l, r.opt.Clock().Add(jittered(time.Second)))
}

// fixed returns the events of the intent, which it makes where there is none.
func (r *Relay) fixed(ctx context.Context, l *lane) ([]domain.Sealed, error) {
	if l.intent.set {
		return r.box.fetch(ctx, l.stream, r.box.fixedOf(l))
	}
	return r.fixNext(ctx, l)
}

// fixNext makes an intent of what is pending and not too late.
func (r *Relay) fixNext(ctx context.Context, l *lane) ([]domain.Sealed, error) {
	places := r.box.front(l)
	events, err := r.box.fetch(ctx, l.stream, places)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	late, err := r.sift(ctx, l, places, events)
	if err != nil {
		return nil, err
	}
	kept := make([]domain.Sealed, 0, len(events))
	for i, e := range events {
		if late == nil || !late.has(places[i].seq) {
			kept = append(kept, e)
		}
	}
	if late != nil {
		if err := r.drop(ctx, l, late); err != nil {
			return nil, err
		}
	}
	if len(kept) == 0 {
		return nil, nil
	}
	return kept, r.box.fix(l, intent{set: true, last: places[len(places)-1].seq, expected: l.where()})
}

// front is what one append takes of a lane's pending events.
func (b *Outbox) front(l *lane) []place {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]place(nil), front(l.pending)...)
}

// behind is front of what is pending behind the intent.
func (b *Outbox) behind(l *lane) []place {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]place(nil), front(l.pending[len(l.fixed()):])...)
}

// sizeOfNext is how many bytes the next append of a lane has.
func (b *Outbox) sizeOfNext(l *lane) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.intent.set {
		return weight(l.fixed())
	}
	return weight(front(l.pending))
}

// weight is how many bytes events have.
func weight(places []place) (n int64) {
	for _, p := range places {
		n += int64(p.size)
	}
	return n
}

// front is what one append takes of what is pending.
func front(pending []place) []place {
	bytes, n := 0, 0
	for n < len(pending) && n < maxShipEvents {
		bytes += int(pending[n].size)
		if n > 0 && bytes > maxShipBytes {
			break
		}
		n++
	}
	return pending[:n]
}

func (b *Outbox) fixedOf(l *lane) []place {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]place(nil), l.fixed()...)
}

// fix commits an intent. COMMIT POINT of an append to the log: from here it is
// sent as it is until its outcome is known.
func (b *Outbox) fix(l *lane, i intent) error {
	err := b.commit(&unit{page: naming, place: func(c *commit) error {
		c.fix(l, i)
		return nil
	}})
	if err == nil {
		l.doubt = false
	}
	return err
}

func (c *commit) fix(l *lane, i intent) {
	c.entry(entry{kind: entryIntent, lane: l.number, next: i.last, revision: i.expected})
	c.then = append(c.then, func() { l.intent = i })
}

// send sends the intent and answers the revision at which the log took it. It does
// what any other answer says, and releases the lane; so it does, having sent nothing,
// if the log has stopped answering since the lane entered.
func (r *Relay) send(ctx context.Context, l *lane, events []domain.Sealed, entered time.Time) (at domain.Revision, taken bool) {
	r.calls <- struct{}{}
	defer func() { <-r.calls }()
	if r.gate.shut(entered) {
		r.box.release(l, r.opt.Clock())
		return 0, false
	}
	r.counts.Appends.Add(1)
	began := r.opt.Clock()
	call, done := context.WithTimeout(ctx, r.opt.CallTimeout)
	appended, err := r.opt.Log.Append(call, l.stream, l.intent.expected, events)
	done()
	now := r.opt.Clock()
	var wrong *eventstore.WrongRevision
	switch {
	case err == nil:
		r.gate.answered()
		r.counts.Shipped.Add(uint64(len(events)))
		return appended.Revision, true
	case errors.As(err, &wrong):
		r.gate.answered()
		r.refused(ctx, l, events, wrong.Actual)
	case errors.Is(err, eventstore.ErrDeleted):
		r.gate.answered()
		r.tombstoned(ctx, l, events)
	case errors.Is(err, eventstore.ErrTooLarge), errors.Is(err, eventstore.ErrInvalid):
		r.fail(fmt.Errorf("ship stream %s: %w", l.stream, err))
		r.box.release(l, now.Add(r.opt.MaxBackoff))
	case isFull(err):
		r.gate.unanswered(began, now)
		r.box.release(l, now.Add(jittered(r.opt.MinBackoff)))
	default:
		r.counts.Unknown.Add(1)
		r.gate.unanswered(began, now)
		l.doubt = true
		r.box.release(l, now.Add(r.opt.Settle))
	}
	return 0, false
}

// settled takes events away that stand in the log, the last of them at revision.
// Nobody waits for it: were it lost, the same append would find them there.
func (r *Relay) settled(l *lane, places []place, revision domain.Revision) {
	runs := runsAt(places)
	r.box.submit(&unit{
		page: naming + 20*len(runs),
		place: func(c *commit) error {
			c.settle(l, runs, revision)
			return nil
		},
		done: func(err error) { r.rested(l, err) },
	})
}

// rested releases a lane that was settled, or is to be settled again.
func (r *Relay) rested(l *lane, err error) {
	if err != nil && !isFull(err) {
		r.fail(fmt.Errorf("settle stream %s: %w", l.stream, err))
	}
	r.box.release(l, r.opt.Clock())
}

func (c *commit) settle(l *lane, runs []run, revision domain.Revision) {
	c.entry(entry{kind: entryAway, lane: l.number, revision: revision, runs: runs})
	c.then = append(c.then, func() {
		l.acked = max(l.acked, revision)
		c.box.drop(l, runs)
		l.doubt, l.saw, l.at = false, sight{}, domain.NoStream
	})
}

func runsAt(places []place) []run {
	seqs := make([]uint64, len(places))
	for i, p := range places {
		seqs[i] = p.seq
	}
	return runsOf(seqs)
}

// tombstoned counts the events of an append to a stream that was deleted for ever:
// they came too late, or an earlier attempt had written them.
func (r *Relay) tombstoned(ctx context.Context, l *lane, events []domain.Sealed) {
	late := &lateness{unsure: l.doubt}
	for i, p := range r.box.fixedOf(l) {
		late.add(p.seq, events[i])
	}
	if err := r.drop(ctx, l, late); err != nil {
		r.later(ctx, l, err)
		return
	}
	r.box.release(l, r.opt.Clock())
}
