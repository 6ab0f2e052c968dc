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

// ship brings a lane one step further and releases it.
func (r *Relay) ship(ctx context.Context, l *lane) {
	if first := r.began.Add(r.opt.Settle); l.intent.set && l.intent.last < l.loaded && r.opt.Clock().Before(first) {
		r.box.release(l, first) // another process may have sent it a moment ago
		return
	}
	size := r.box.sizeOfNext(l)
	if err := r.bytes.Acquire(ctx, size); err != nil {
		r.box.release(l, l.due) // the relay is being stopped
		return
	}
	defer r.bytes.Release(size)
	events, err := r.fixed(ctx, l)
	switch {
	case err != nil:
		r.later(ctx, l, err)
	case len(events) == 0: // all of them came too late
		r.box.release(l, r.opt.Clock())
	default:
		r.send(ctx, l, events)
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
	return append([]place(nil), l.front()...)
}

// sizeOfNext is how many bytes the next append of a lane has.
func (b *Outbox) sizeOfNext(l *lane) (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	places := l.front()
	if l.intent.set {
		places = l.fixed()
	}
	for _, p := range places {
		n += int64(p.size)
	}
	return n
}

// front is what one append takes of what is pending.
func (l *lane) front() []place {
	bytes, n := 0, 0
	for n < len(l.pending) && n < maxShipEvents {
		bytes += int(l.pending[n].size)
		if n > 0 && bytes > maxShipBytes {
			break
		}
		n++
	}
	return l.pending[:n]
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
		c.entry(entry{kind: entryIntent, lane: l.number, next: i.last, revision: i.expected})
		c.then = append(c.then, func() { l.intent = i })
		return nil
	}})
	if err == nil {
		l.doubt = false
	}
	return err
}

// send sends the intent and does what its answer says.
func (r *Relay) send(ctx context.Context, l *lane, events []domain.Sealed) {
	r.counts.Appends.Add(1)
	r.calls <- struct{}{}
	defer func() { <-r.calls }()
	began := r.opt.Clock()
	call, done := context.WithTimeout(ctx, r.opt.CallTimeout)
	at, err := r.opt.Log.Append(call, l.stream, l.intent.expected, events)
	done()
	now := r.opt.Clock()
	var wrong *eventstore.WrongRevision
	switch {
	case err == nil:
		r.gate.answered()
		r.counts.Shipped.Add(uint64(len(events)))
		r.settled(l, r.box.fixedOf(l), at.Revision)
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
}

// settled takes events away that stand in the log, the last of them at revision.
// Nobody waits for it: were it lost, the same append would find them there.
func (r *Relay) settled(l *lane, places []place, revision domain.Revision) {
	runs := runsAt(places)
	r.box.submit(&unit{
		page: naming + 20*len(runs),
		place: func(c *commit) error {
			c.entry(entry{kind: entryAway, lane: l.number, revision: revision, runs: runs})
			c.then = append(c.then, func() {
				l.acked = max(l.acked, revision)
				r.box.drop(l, runs)
				l.doubt, l.saw, l.at = false, sight{}, domain.NoStream
			})
			return nil
		},
		done: func(err error) {
			if err != nil && !isFull(err) {
				r.fail(fmt.Errorf("settle stream %s: %w", l.stream, err))
			}
			r.box.release(l, r.opt.Clock())
		},
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
