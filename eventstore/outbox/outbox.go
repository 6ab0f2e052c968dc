package outbox

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Local is the store on this machine: eventstore/embedded, or another that keeps
// the contract and finishes what it began when it is opened. The outbox has it for
// itself, and its owner closes it after the outbox.
type Local interface {
	eventstore.Appender
	eventstore.Reader
	eventstore.Disposer
}

// Options of an outbox. The zero value of every field but Clock is the default.
type Options struct {
	// Clock tells when an event came. It has no default.
	Clock func() time.Time
	// MaxBytes bounds the segments on disk: beyond it appends answer
	// eventstore.ErrFull. The local store adds what it has not compacted yet, up to
	// as much again: 1 GiB, at least 1 MiB.
	MaxBytes int64
	// SegmentBytes is what is deleted at once: a 32nd of MaxBytes.
	SegmentBytes int64
	// CacheBytes bounds the pending events kept in memory, which the relay need not
	// read from the disk: 16 MiB; below 0 there are none.
	CacheBytes int64
	// Streams is how many streams without pending events are remembered with their
	// end in the log. Of a stream that was forgotten, or never known here, the relay
	// reads everything the first time others have written to it: 65,536.
	Streams int
	// Scavenge gives deleted bytes back to the disk; it is called now and then,
	// beside everything else. The embedded store's own is meant.
	Scavenge func(ctx context.Context) error
	// Logf takes the few lines about trouble in the background. The default drops
	// them.
	Logf func(format string, args ...any)
}

func (o Options) withDefaults() (Options, error) {
	if o.Clock == nil {
		return o, fmt.Errorf("outbox without a clock: %w", eventstore.ErrInvalid)
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30
	}
	o.MaxBytes = max(o.MaxBytes, 1<<20)
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = o.MaxBytes / 32
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 16 << 20
	}
	if o.Streams <= 0 {
		o.Streams = 1 << 16
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	return o, nil
}

// An Outbox is safe for concurrent use. Append, AppendMany, ReadStream and Last
// keep the promises of an eventstore.Store for the one process that owns it, with
// revisions of the outbox's own, and so carry a recorder; see append.go for what
// differs.
type Outbox struct {
	local  Local
	opt    Options
	reader *pageReader

	// queue belongs to the callers and the sequencer, protected by queueing.
	queueing sync.Mutex
	queue    []*unit
	closed   bool
	work     chan struct{} // holds a token when the queue is not empty or closed
	ended    chan struct{} // closed when the sequencer has ended

	// The janitor deletes segments. It ends by stop.
	tidy    chan struct{}
	stop    context.CancelFunc
	tidying sync.WaitGroup

	mu       sync.Mutex // protects what follows, and every lane
	lanes    map[domain.Stream]*lane
	last     uint64 // the highest number of a lane
	segments []*segment
	deleted  int64 // bytes since the last scavenge
	used     int64 // of all segments
	pending  Counts
	cached   int64
	debts    []owed
	broken   error // set once: the local store did not answer
	ready    []*lane
	resting  schedule
	wake     chan struct{} // holds a token when there may be something to ship
}

// Counts are events and their bytes.
type Counts struct {
	Events int
	Bytes  int64
}

// Stats are what stands in an outbox now.
type Stats struct {
	Pending Counts
	// Oldest is when the oldest pending event came, to the second; zero if there is
	// none.
	Oldest time.Time
	// Used is what counts towards Options.MaxBytes.
	Used int64
	// Streams are remembered, with or without pending events.
	Streams int
	Debts   int
}

// ErrFull says that the outbox has no room until the relay has shipped something.
// It matches eventstore.ErrFull: nothing was written.
var ErrFull = fmt.Errorf("outbox: %w", eventstore.ErrFull)

// errClosed is the answer of an outbox that was closed.
var errClosed = fmt.Errorf("outbox is closed: %w", domain.ErrUnavailable)

// Open reads the outbox in local, which it makes if there is none. Errors:
// eventstore.ErrDamaged if what is there is not an outbox, else those of local.
func Open(ctx context.Context, local Local, opt Options) (*Outbox, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Outbox{
		local: local, opt: opt, lanes: map[domain.Stream]*lane{},
		work: make(chan struct{}, 1), ended: make(chan struct{}), tidy: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	if b.reader, err = newPageReader(local); err != nil {
		return nil, err
	}
	if err := b.load(ctx); err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.stop = stop
	go b.sequence() //nolint:contextcheck // it outlives every call, see Append
	b.tidying.Go(func() { b.janitor(run) })
	notify(b.tidy)
	return b, nil
}

// Close waits for what is being written and ends the outbox; the relay must have
// ended before. It may be called twice.
func (b *Outbox) Close() error {
	b.stop()
	b.tidying.Wait()
	b.queueing.Lock()
	b.closed = true
	b.queueing.Unlock()
	notify(b.work)
	<-b.ended
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken
}

// Stats counts what is pending.
func (b *Outbox) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stats{Pending: b.pending, Used: b.used, Streams: len(b.lanes), Debts: len(b.debts)}
	if b.pending.Events == 0 {
		return s
	}
	oldest := ^uint32(0)
	for _, l := range b.lanes {
		if len(l.pending) > 0 {
			oldest = min(oldest, l.pending[0].at)
		}
	}
	s.Oldest = time.Unix(int64(oldest), 0).UTC()
	return s
}

// notify leaves a token, if there is none yet.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// enlist makes a lane with pending events one to be shipped when it is due. It
// needs mu.
func (b *Outbox) enlist(l *lane, now time.Time) {
	if l.busy || l.queued || len(l.pending) == 0 {
		return
	}
	l.queued = true
	if l.due.After(now) {
		heap.Push(&b.resting, l)
	} else {
		b.ready = append(b.ready, l)
	}
	notify(b.wake)
}

// next hands out the lane that has waited longest, for the caller alone until it
// is released. If there is none, it tells how long until one is due, or 0.
func (b *Outbox) next(now time.Time) (*lane, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.resting) > 0 && !b.resting[0].due.After(now) {
		if l, ok := heap.Pop(&b.resting).(*lane); ok {
			b.ready = append(b.ready, l)
		}
	}
	if len(b.ready) == 0 {
		if len(b.resting) > 0 {
			return nil, b.resting[0].due.Sub(now)
		}
		return nil, 0
	}
	l := b.ready[0]
	b.ready[0] = nil
	b.ready = b.ready[1:]
	l.queued, l.busy = false, true
	return l, 0
}

// release gives a lane back, to be shipped again from due on.
func (b *Outbox) release(l *lane, due time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.busy, l.due = false, due
	b.enlist(l, b.opt.Clock())
}

// failure is why the outbox takes no more, or nil.
func (b *Outbox) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken
}

// isFull reports whether an error says that nothing was written for want of room.
func isFull(err error) bool { return errors.Is(err, eventstore.ErrFull) }
