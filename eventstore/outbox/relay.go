package outbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Log is where the relay ships to. It MUST keep the promises of
// eventstore.Store.
type Log interface {
	Append(ctx context.Context, stream domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error)
	ReadStream(ctx context.Context, stream domain.Stream, from domain.Revision, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error]
}

// Fates knows what was destroyed.
type Fates interface {
	// Destroyed reports whether the ref, gen or block of an event in stream, or the
	// retention key of its bucket, is destroyed or being destroyed, as far as the
	// log was read here. It MUST NOT go back to false, and MUST answer with an error
	// while it does not know: the event waits.
	Destroyed(ctx context.Context, stream domain.Stream, e domain.Envelope) (bool, error)
}

// Notes makes the notes that the outbox adds by itself.
type Notes interface {
	// Note makes an event of type typ for a stream of the node that nothing else
	// appends to through this outbox. Each note MUST have an id of its own, and the
	// stream MUST be one that is not deleted.
	Note(ctx context.Context, typ domain.EventType, facts ...domain.Fact) (domain.Sealed, error)
}

// RelayOptions of a relay. Log, Fates, Notes and Clock have no default.
type RelayOptions struct {
	Log   Log
	Fates Fates
	Notes Notes
	Clock func() time.Time
	// Parallel is how many appends are on their way to the log at once: 64. Seven
	// times as many are prepared meanwhile.
	Parallel int
	// Bytes bounds the events of the appends that are prepared or on their way, which
	// is what the relay holds in memory: 32 MiB, at least one append.
	Bytes int64
	// Settle is the least time between an append of unknown outcome and the same
	// append again: 3 s, because a server drops a repetition of what is in flight.
	Settle time.Duration
	// CallTimeout ends a call to the log; its outcome is unknown then: 15 s.
	CallTimeout time.Duration
	// Grace is how long calls in flight may go on when the relay is stopped: 2 s.
	Grace time.Duration
	// MinBackoff and MaxBackoff bound the pause while the log does not answer;
	// each is up to half as long again: 100 ms and 20 s.
	MinBackoff, MaxBackoff time.Duration
}

func (o RelayOptions) withDefaults() (RelayOptions, error) {
	if o.Log == nil || o.Fates == nil || o.Notes == nil || o.Clock == nil {
		return o, fmt.Errorf("relay without log, fates, notes or clock: %w", eventstore.ErrInvalid)
	}
	if o.Parallel <= 0 {
		o.Parallel = 64
	}
	if o.Bytes <= 0 {
		o.Bytes = 32 << 20
	}
	o.Bytes = max(o.Bytes, 2*maxShipBytes)
	for _, d := range []struct {
		value *time.Duration
		by    time.Duration
	}{
		{&o.Settle, 3 * time.Second},
		{&o.CallTimeout, 15 * time.Second},
		{&o.Grace, 2 * time.Second},
		{&o.MinBackoff, 100 * time.Millisecond},
		{&o.MaxBackoff, 20 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.by
		}
	}
	return o, nil
}

// ErrWentBack says that the log ends before an event that it acknowledged: it was
// restored from a copy. Nothing is shipped until Relay.Forget was called.
var ErrWentBack = errors.New("the log went back behind what it acknowledged")

// A Relay ships what is pending in an outbox, stream by stream, everything pending
// of a stream in one append.
//
// An event is written once. The append of a stream is fixed in the book, with its
// events and the revision it expects, before it is first sent. While its outcome
// is unknown it stays as it is and is sent again, which writes nothing if it was
// applied. A refusal by *eventstore.WrongRevision moves it only after the stream
// was read from behind the last revision acknowledged here to the one answered:
// events of the outbox that are found there are settled; only events of others
// move it.
//
// The zero Relay is not usable; an outbox has one relay at a time.
type Relay struct {
	box      *Outbox
	opt      RelayOptions
	counts   RelayCounts
	gate     gate
	standing sync.Mutex // held while it runs
	began    time.Time
	stopping atomic.Bool         // no further append is begun
	fatal    chan error          // the first failure that ends the relay
	calls    chan struct{}       // holds a token for each append on its way
	bytes    *semaphore.Weighted // of RelayOptions.Bytes
}

// RelayCounts are what a relay did since it was made, in events but for Appends.
type RelayCounts struct {
	Appends atomic.Uint64 // sent
	Shipped atomic.Uint64 // known to stand in the log
	Found   atomic.Uint64 // of these, those that the stream was read for
	Dropped atomic.Uint64 // too late
	Unsure  atomic.Uint64 // too late, or written before
	Moved   atomic.Uint64 // appends that events of others moved
	Unknown atomic.Uint64 // appends whose outcome was unknown
}

// depth is how many lanes are in the relay's hands for each that may be sent. One
// sync makes the bounds of all that wait durable: with two, a disk that takes tens of
// milliseconds for a sync sets the pace.
const depth = 8

// NewRelay makes the relay of an outbox.
func NewRelay(b *Outbox, opt RelayOptions) (*Relay, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Relay{box: b, opt: opt, began: opt.Clock(), fatal: make(chan error, 1), calls: make(chan struct{}, opt.Parallel), bytes: semaphore.NewWeighted(opt.Bytes)}
	r.gate.opt = opt
	return r, nil
}

// Counts are live.
func (r *Relay) Counts() *RelayCounts { return &r.counts }

// Run ships until ctx ends, which is no error, and then waits for the calls in
// flight. It ends by itself with ErrWentBack, with an append that the log refuses
// for good, or when the local store does not answer; it can be called again.
func (r *Relay) Run(ctx context.Context) error {
	r.standing.Lock()
	defer r.standing.Unlock()
	r.stopping.Store(false)
	select {
	case old := <-r.fatal: // of a Run before
		r.box.opt.Logf("outbox: begins again behind: %v", old)
	default:
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	calls, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	work := make(chan *lane)
	var workers sync.WaitGroup
	for range depth * r.opt.Parallel {
		workers.Go(func() {
			for l := range work {
				r.ship(calls, l)
				r.gate.leave()
				notify(r.box.wake)
			}
		})
	}
	err := r.dispatch(ctx, work)
	r.stopping.Store(true)
	close(work)
	grace := time.AfterFunc(r.opt.Grace, stop)
	defer grace.Stop()
	workers.Wait()
	if err == nil {
		select {
		case err = <-r.fatal:
		default:
		}
	}
	return err
}

// dispatch hands lanes to the workers.
func (r *Relay) dispatch(ctx context.Context, work chan<- *lane) error {
	for {
		l, pause := r.choose()
		if l == nil {
			if err := r.rest(ctx, pause); err != nil || ctx.Err() != nil {
				return err
			}
			continue
		}
		select {
		case work <- l:
		case <-ctx.Done():
			r.gate.leave()
			r.box.release(l, l.due)
			return nil
		case err := <-r.fatal:
			r.gate.leave()
			r.box.release(l, l.due)
			return err
		}
	}
}

// choose returns a lane to be shipped now, or how long to rest; 0 is until
// something happens.
func (r *Relay) choose() (*lane, time.Duration) {
	now := r.opt.Clock()
	pause, open := r.gate.enter(now)
	if !open {
		return nil, pause
	}
	l, pause := r.box.next(now)
	if l == nil {
		r.gate.leave()
	}
	return l, pause
}

func (r *Relay) rest(ctx context.Context, pause time.Duration) error {
	var due <-chan time.Time
	if pause > 0 {
		t := time.NewTimer(pause)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-due:
	case <-r.box.wake:
	case <-ctx.Done():
		return nil
	case err := <-r.fatal:
		return err
	}
	return r.box.failure()
}

// fail ends the relay.
func (r *Relay) fail(err error) {
	select {
	case r.fatal <- err:
	default:
	}
}

// A gate holds lanes back while the log does not answer: after a few calls in a
// row without an answer it lets one through at a time, with pauses.
type gate struct {
	opt RelayOptions

	mu       sync.Mutex
	inside   int
	failures int
	failed   time.Time // the last failure counted
	until    time.Time
}

// patience is how many calls in a row may go without an answer.
const patience = 3

// enter lets a lane in; whoever was let in leaves.
func (g *gate) enter(now time.Time) (pause time.Duration, open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures >= patience {
		if now.Before(g.until) {
			return g.until.Sub(now), false
		}
		if g.inside > 0 {
			return 0, false
		}
	}
	g.inside++
	return 0, true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
}

func (g *gate) answered() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures = 0
}

// shut reports whether the log has stopped answering since a lane was let in.
func (g *gate) shut(entered time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures >= patience && entered.Before(g.failed)
}

// unanswered counts a failure, unless the call began before the last one counted:
// what goes away together counts once.
func (g *gate) unanswered(began, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures > 0 && began.Before(g.failed) {
		return
	}
	g.failures++
	g.failed = now
	if g.failures >= patience {
		d := min(g.opt.MinBackoff<<min(g.failures-patience, 20), g.opt.MaxBackoff)
		g.until = now.Add(jittered(d))
	}
}

// jittered adds up to a half, so that nodes do not come back all at once.
func jittered(d time.Duration) time.Duration {
	return d + rand.N(d/2+1) //nolint:gosec // no secret
}
