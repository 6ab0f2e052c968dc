package projections

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A Source is the part of a store that a loop reads.
type Source interface {
	eventstore.Reader
	eventstore.Subscriber
}

// A Consumer takes the events of the log in order. Its methods are called by one
// goroutine at a time.
type Consumer interface {
	// Name is fit for errors.
	Name() string
	// Checkpoint is the one last read or moved.
	Checkpoint() Checkpoint
	// Consume MUST take events, all behind its checkpoint, and move the checkpoint
	// to the given one in the same transaction, or do neither. It reports ErrActive
	// if the stored checkpoint is not the one it last read or moved. It MUST NOT
	// keep the events.
	Consume(ctx context.Context, to Checkpoint, events []Event) error
	// Flush stores what Consume may have kept back, which only a consumer that does
	// not serve yet may do. It is called at the end of CatchUp.
	Flush(ctx context.Context) error
	// Reload reads the checkpoint and everything kept in memory anew; it is called
	// after Consume failed.
	Reload(ctx context.Context) error
}

// Options of a loop.
type Options struct {
	Ledger domain.LedgerID
	// Table of event types; its zero value means domain.Events.
	Table *domain.Table
	// Verify MUST report domain.ErrTampered for an event whose tag fails, and
	// domain.ErrUnavailable where its integrity key cannot be had.
	Verify func(domain.Recorded) error
	// Pause waits, or returns the context's error. The loop has no other clock.
	Pause func(ctx context.Context, d time.Duration) error
	// Linger is the least time between two live batches: the price of a
	// transaction is then shared by what came meanwhile. 0 is DefaultLinger.
	Linger time.Duration
	// Batch bounds the events of one transaction; 0 is DefaultBatch.
	Batch int
	// Tail, if set, reads the end of the log for this loop and for others of the
	// same log, ledger and Verify; nil is one of the loop's own.
	Tail *Tail
	// Raw leaves envelopes unread: consumers get verified bytes only.
	Raw bool
	// Progress, if set, is told of each batch of CatchUp.
	Progress func(Progress)
	// Notice, if set, is told when the log or a view is unavailable, and nil when
	// it is back.
	Notice func(error)
}

// Defaults and bounds of a loop.
const (
	DefaultLinger = 100 * time.Millisecond
	DefaultBatch  = 4096
	maxBatchBytes = 4 << 20
	smallBatch    = 512 // events; memory for so many is kept for good
	firstBackoff  = 100 * time.Millisecond
	maxBackoff    = 5 * time.Second
)

// Progress of CatchUp. Done and Total are distances between positions: counts of
// events on one machine, bytes of log beyond.
type Progress struct {
	Events      int64
	Done, Total uint64
}

// A Loop feeds consumers from the log. All of them share one reading and one
// verification; each has its own checkpoint.
type Loop struct {
	src       Source
	opt       Options
	consumers []Consumer
	// skip is set before a reading begins, and not changed during it.
	skip *disposed

	// mu is held while a batch is consumed: who holds it sees every consumer at a
	// checkpoint, and may exchange what a consumer writes to.
	mu sync.Mutex
	// moved is closed and made anew after each batch; protected by mu.
	moved chan struct{}
	// batch is what Run consumes, protected by mu.
	batch []Event
	kick  chan struct{}
	// large: a large batch came since the last rest. It belongs to Run.
	large bool
}

// NewLoop makes a loop; it reads nothing before CatchUp or Run. The Source and
// the consumers stay the caller's.
func NewLoop(src Source, opt Options, consumers ...Consumer) *Loop {
	if opt.Linger == 0 {
		opt.Linger = DefaultLinger
	}
	if opt.Batch == 0 {
		opt.Batch = DefaultBatch
	}
	if opt.Tail == nil {
		opt.Tail = NewTail(src, opt)
	}
	return &Loop{src: src, opt: opt, consumers: consumers, moved: make(chan struct{}), kick: make(chan struct{}, 1)}
}

func (o *Options) parser() *parser {
	table := o.Table
	if table == nil {
		table = &domain.Events
	}
	return &parser{streams: domain.StreamsOf(o.Ledger), table: *table, verify: o.Verify, raw: o.Raw}
}

// CatchUp feeds what is in the log up to until, which is included; domain.End is
// the end of the log at the time of the call. Any error ends it; what was
// consumed before stays consumed.
func (l *Loop) CatchUp(ctx context.Context, until domain.Position) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readDisposed(ctx); err != nil {
		return err
	}
	return l.advance(ctx, until)
}

// readDisposed reads anew what was disposed of. Whoever is behind a record skips
// what it stands for, live and rebuild alike: part of it may be gone from the
// store, and what is left would tell another story than the record. So two
// generations are alike only at positions behind every record that either knew.
func (l *Loop) readDisposed(ctx context.Context) (err error) {
	if l.opt.Raw {
		return nil
	}
	l.skip, err = readDisposed(ctx, l.src, l.opt.parser())
	return err
}

// advance is CatchUp with what is known to be disposed of. The caller holds mu.
func (l *Loop) advance(ctx context.Context, until domain.Position) error {
	if err := l.verifyLog(ctx); err != nil {
		return err
	}
	q := newQueue(l.opt.Batch, maxBatchBytes)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { q.close(l.read(ctx, q, until)); return nil })
	g.Go(func() error { return l.drain(ctx, q, l.meter(until)) })
	return g.Wait()
}

// read parses ahead of the writer.
func (l *Loop) read(ctx context.Context, q *queue, until domain.Position) error {
	p := l.opt.parser()
	for rec, err := range l.src.ReadAll(ctx, l.least(), eventstore.Forward, 0) {
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		if until.Before(rec.Position) {
			return nil
		}
		if err := l.feed(ctx, q, p, rec); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (l *Loop) feed(ctx context.Context, q *queue, p *parser, rec domain.Recorded) error {
	e, ok, err := p.parse(rec)
	if err != nil || !ok || l.skip.covers(&e) {
		return err
	}
	l.skip.complete(&e)
	return q.put(ctx, e)
}

func (l *Loop) drain(ctx context.Context, q *queue, progress func(batch []Event)) error {
	for {
		batch, ok, err := q.take(ctx)
		if !ok {
			return errors.Join(err, l.each(ctx, Consumer.Flush))
		}
		if err := l.consume(ctx, batch); err != nil {
			return err
		}
		progress(batch)
	}
}

func (l *Loop) meter(until domain.Position) func([]Event) {
	from, p := l.least().Commit, Progress{}
	return func(batch []Event) {
		if l.opt.Progress == nil {
			return
		}
		at := batch[len(batch)-1].Position.Commit
		p.Events += int64(len(batch))
		p.Done, p.Total = at-from, max(until.Commit, at)-from
		l.opt.Progress(p)
	}
}

// consume gives each consumer the part of a batch that lies behind its
// checkpoint, all at once. The caller holds mu.
func (l *Loop) consume(ctx context.Context, batch []Event) error {
	err := l.each(ctx, func(c Consumer, ctx context.Context) error {
		events := behind(batch, c.Checkpoint().Position)
		if len(events) == 0 {
			return nil
		}
		return c.Consume(ctx, c.Checkpoint().behind(&events[len(events)-1]), events)
	})
	close(l.moved)
	l.moved = make(chan struct{})
	return err
}

func behind(batch []Event, at domain.Position) []Event {
	for i := range batch {
		if at.Before(batch[i].Position) {
			return batch[i:]
		}
	}
	return nil
}

// least is the position from which every consumer is served.
func (l *Loop) least() domain.Position {
	at := domain.End
	for _, c := range l.consumers {
		if p := c.Checkpoint().Position; p.Before(at) {
			at = p
		}
	}
	return at
}

// most is the position that at least one consumer has reached.
func (l *Loop) most() domain.Position {
	at := domain.Start
	for _, c := range l.consumers {
		if p := c.Checkpoint().Position; at.Before(p) {
			at = p
		}
	}
	return at
}

// verifyLog reports ErrLogWentBack unless the log still holds what every
// consumer was built from.
func (l *Loop) verifyLog(ctx context.Context) error {
	seen := map[Checkpoint]bool{}
	for _, c := range l.consumers {
		cp := c.Checkpoint()
		cp.Generation = 0 // alike in all generations
		if seen[cp] {
			continue
		}
		seen[cp] = true
		if err := cp.verify(ctx, l.src); err != nil {
			return fmt.Errorf("%s: %w", c.Name(), err)
		}
	}
	return nil
}

// each calls f for all consumers at once.
func (l *Loop) each(ctx context.Context, f func(Consumer, context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range l.consumers {
		g.Go(func() error {
			if err := f(c, ctx); err != nil {
				return fmt.Errorf("%s: %w", c.Name(), err)
			}
			return nil
		})
	}
	return g.Wait()
}

func unavailable(err error) bool { return errors.Is(err, domain.ErrUnavailable) }
