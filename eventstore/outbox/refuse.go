package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A look is what stands in a stream of the log behind the last revision
// acknowledged here.
type look struct {
	first, last domain.Revision // NoStream where nothing does
	own         []place         // events of the intent that were found
	highest     domain.Revision // of these
	end         domain.EventID  // the event at last
	before      domain.EventID  // the event at the revision seen earlier
}

// refused is what follows an append that the log refuses because the stream ends
// at actual.
func (r *Relay) refused(ctx context.Context, l *lane, events []domain.Sealed, actual domain.Revision) {
	if actual < l.acked {
		r.fail(wentBack(l.stream, actual, l.acked))
		r.box.release(l, r.opt.Clock().Add(r.opt.MaxBackoff))
		return
	}
	k, err := r.look(ctx, l, events, actual)
	switch {
	case errors.Is(err, eventstore.ErrDeleted):
		r.box.release(l, r.opt.Clock()) // the same append says so
	case err != nil:
		r.askAgain(l)
	case k.last < actual || actual == l.intent.expected:
		r.askAgain(l) // whoever answered does not know the stream's events, or its end
	case !r.sure(l, k, actual):
		r.askAgain(l)
	case len(k.own) > 0:
		r.counts.Shipped.Add(uint64(len(k.own)))
		r.counts.Found.Add(uint64(len(k.own)))
		r.settled(l, k.own, k.highest)
	default:
		r.move(l, k, actual)
	}
}

func (r *Relay) askAgain(l *lane) { r.box.release(l, r.opt.Clock().Add(r.opt.Settle)) }

// look reads the stream from behind what was acknowledged to actual.
func (r *Relay) look(ctx context.Context, l *lane, events []domain.Sealed, actual domain.Revision) (look, error) {
	places := r.box.fixedOf(l)
	byID := make(map[domain.EventID]place, len(events))
	for i, e := range events {
		byID[e.ID()] = places[i]
	}
	k := look{first: domain.NoStream, last: l.acked}
	call, done := context.WithCancel(ctx)
	defer done()
	idle := time.AfterFunc(r.opt.CallTimeout, done)
	defer idle.Stop()
	for e, err := range r.opt.Log.ReadStream(call, l.stream, l.acked+1, eventstore.Forward, 0) {
		if err != nil {
			return k, fmt.Errorf("read stream %s: %w", l.stream, err)
		}
		idle.Reset(r.opt.CallTimeout)
		if e.Revision > actual {
			break
		}
		if k.first == domain.NoStream {
			k.first = e.Revision
		}
		if k.last = e.Revision; l.saw.set && e.Revision == l.saw.revision {
			k.before = e.ID()
		}
		k.end = e.ID()
		if p, ours := byID[e.ID()]; ours {
			k.own, k.highest = append(k.own, p), e.Revision
		}
	}
	return k, nil
}

// sure reports whether what was read may be believed. If the append may have been
// applied already, or if this outbox is an older copy of itself, a deposed leader
// could be answering, which lacks our events or has events that nobody else has.
// So the answer must stand for the time of Settle: what was the stream's end must
// be in it still.
func (r *Relay) sure(l *lane, k look, actual domain.Revision) bool {
	if !l.doubt && len(k.own) == 0 && r.box.fixedOf(l)[0].seq >= l.loaded {
		return true
	}
	if l.saw.set && actual == l.acked && l.saw.revision == actual {
		return true
	}
	if l.saw.set && l.saw.revision > l.acked && k.before == l.saw.id {
		return true
	}
	l.saw = sight{set: true, revision: actual, id: k.end}
	return false
}

// move lets the next intent go behind events of others. What lies where the log
// was truncated cannot be told from our own.
func (r *Relay) move(l *lane, k look, actual domain.Revision) {
	r.counts.Moved.Add(1)
	r.box.mu.Lock()
	if k.first > l.acked+1 && (l.doubt || l.loaded > 0) {
		l.hidden = l.intent.last + 1
	}
	l.at, l.saw, l.intent = actual, sight{}, intent{}
	r.box.mu.Unlock()
	r.box.release(l, r.opt.Clock())
}
