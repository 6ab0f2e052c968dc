package outbox

import (
	"container/heap"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

var errRunning = errors.New("the relay runs")

// Compare reads the end of every stream in the log of which the outbox remembers an
// acknowledged event, as many at a time as RelayOptions.Parallel. It reports
// ErrWentBack where one ends before that. The relay may run meanwhile.
func (r *Relay) Compare(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opt.Parallel)
	for stream, acked := range r.box.acknowledged() {
		g.Go(func() error {
			last := domain.NoStream
			for e, err := range r.opt.Log.ReadStream(ctx, stream, eventstore.LastRevision, eventstore.Backward, 1) {
				if errors.Is(err, eventstore.ErrDeleted) {
					return nil
				}
				if err != nil {
					return fmt.Errorf("read the end of stream %s: %w", stream, err)
				}
				last = e.Revision
			}
			if last < acked {
				return wentBack(stream, last, acked)
			}
			return nil
		})
	}
	return g.Wait()
}

func wentBack(s domain.Stream, last, acked domain.Revision) error {
	return fmt.Errorf("stream %s ends at revision %d, an event at %d was acknowledged: %w", s, last, acked, ErrWentBack)
}

// acknowledged are the streams with an event that the log acknowledged, and where.
func (b *Outbox) acknowledged() map[domain.Stream]domain.Revision {
	b.mu.Lock()
	defer b.mu.Unlock()
	ends := map[domain.Stream]domain.Revision{}
	for s, l := range b.lanes {
		if l.acked >= 0 {
			ends[s] = l.acked
		}
	}
	return ends
}

// Forget makes the outbox forget, in one commit, where its events stand in the log,
// and where the appends that were fixed were to go: what it does once the log was
// restored from a copy. Whatever is pending may then stand in the log already, so the
// next Run looks for it by its ids before it goes behind the end of its stream.
// Calling it where nothing went back costs that reading, and writes nothing twice. It
// is refused while the relay runs.
func (r *Relay) Forget() error {
	if !r.standing.TryLock() {
		return errRunning
	}
	defer r.standing.Unlock()
	r.began = r.opt.Clock() // nothing that was fixed is sent before Settle has passed
	soon := r.began.Add(r.opt.Settle)
	return r.box.commit(&unit{page: naming, place: func(c *commit) error {
		// Pages of the same commit state what is in memory, so that goes first. Were the
		// commit lost, memory would know less than the book, which is no harm.
		for _, l := range c.box.lanes {
			l.forget()
			l.loaded = l.next
			l.at, l.saw, l.doubt = domain.NoStream, sight{}, l.intent.set
			if l.due.After(soon) { // the lane that stopped the relay
				l.due = soon
			}
		}
		heap.Init(&c.box.resting)
		c.entry(entry{kind: entryForgot})
		return nil
	}})
}

// forget is what the book says of a lane from there on.
func (l *lane) forget() {
	l.acked = domain.NoStream
	if l.intent.set {
		l.intent.expected = domain.NoStream
	}
}
