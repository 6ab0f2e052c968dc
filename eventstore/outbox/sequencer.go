package outbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A unit is what stands or falls together in a commit.
type unit struct {
	// place lays the unit down, in the sequencer with mu held, or refuses it with
	// an error, before it has laid anything down.
	place func(c *commit) error
	// size is at least what place lays down, in bytes of events and of the book.
	size, page int
	// done takes the outcome, in the sequencer without mu.
	done func(err error)
}

// A commit is one append to the segment that is being written.
type commit struct {
	box     *Outbox
	segment *segment
	page    []byte
	adds    []add
	bytes   int
	then    []func() // with mu held, once the commit stands
	lanes   []*lane  // whose tail it moves
}

// An add is an event laid down in a commit.
type add struct {
	lane  *lane
	seq   uint64
	event domain.Sealed
}

// Bounds of a commit. A page is one event of the local store.
const (
	maxCommitBytes = domain.MaxAppendBytes
	maxPageBytes   = domain.MaxEventBytes - 1024
	// wrapping is what an event may grow by when it is laid into a segment.
	wrapping = 20
	// standing is what an event costs in the local store beside its bytes.
	standing = 48
)

// submit queues a unit. Its done is called in any case.
func (b *Outbox) submit(u *unit) {
	b.queueing.Lock()
	closed := b.closed
	if !closed {
		b.queue = append(b.queue, u)
	}
	b.queueing.Unlock()
	if closed {
		u.done(errClosed)
		return
	}
	notify(b.work)
}

// commit submits a unit and waits for it. What is laid down in no time is not
// taken back by a context: its caller would not know what became of it.
func (b *Outbox) commit(u *unit) error {
	outcome := make(chan error, 1)
	u.done = func(err error) { outcome <- err }
	b.submit(u)
	return <-outcome
}

// sequence is the sequencer. It ends when the outbox is closed and the queue is
// empty.
func (b *Outbox) sequence() {
	defer close(b.ended)
	for range b.work {
		for {
			units, closed := b.waiting()
			if len(units) == 0 {
				if closed {
					return
				}
				break
			}
			for len(units) > 0 {
				units = units[b.write(units):]
			}
		}
	}
}

func (b *Outbox) waiting() ([]*unit, bool) {
	b.queueing.Lock()
	defer b.queueing.Unlock()
	units := b.queue
	b.queue = nil
	return units, b.closed
}

// write commits as many of the units as one append takes, and returns how many.
func (b *Outbox) write(units []*unit) int {
	c, n, refused := b.build(units)
	err := b.store(c)
	b.apply(c, err)
	for i, u := range units[:n] {
		if refused[i] != nil {
			u.done(refused[i])
			continue
		}
		u.done(err)
	}
	return n
}

func (b *Outbox) build(units []*unit) (c *commit, n int, refused []error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c = &commit{box: b, segment: b.current()}
	refused = make([]error, 0, len(units))
	for _, u := range units {
		if n > 0 && (c.bytes+len(c.page)+u.size+u.page > maxCommitBytes || len(c.page)+u.page > maxPageBytes) {
			break
		}
		err := b.broken
		if err == nil {
			err = u.place(c)
		}
		refused = append(refused, err)
		n++
	}
	return c, n, refused
}

// event lays an event of a stream down.
func (c *commit) event(l *lane, e domain.Sealed) {
	c.state(l)
	c.adds = append(c.adds, add{lane: l, seq: l.tail, event: wrap(c.segment.stream, l.number, l.tail, e)})
	c.bytes += e.Size() + wrapping
	l.tail++
	c.lanes = append(c.lanes, l)
}

// entry writes an entry into the book.
func (c *commit) entry(e entry) { c.page = e.append(c.page) }

// state names a lane in the book, if no segment does yet.
func (c *commit) state(l *lane) {
	if l.stated == nil {
		c.restate(l)
	}
}

func (c *commit) restate(l *lane) {
	c.entry(entry{kind: entryState, lane: l.number, next: l.tail, revision: l.acked, name: l.stream})
	c.then = append(c.then, func() { l.stated = c.segment })
}

// events are what the append of a commit holds: a page of the book first.
func (c *commit) events() []domain.Sealed {
	events := make([]domain.Sealed, 0, 1+len(c.adds))
	if len(c.page) > 0 {
		events = append(events, domain.NewSealed(domain.New[domain.EventID](), c.segment.stream, pageType, nil, c.page))
	}
	for _, a := range c.adds {
		events = append(events, a.event)
	}
	return events
}

// store appends a commit to its segment. COMMIT POINT of everything in it.
//
// An append of unknown outcome is settled by the same append; a local store that
// does not answer it either is given up until the outbox is opened again.
func (b *Outbox) store(c *commit) error {
	events := c.events()
	if len(events) == 0 {
		return nil
	}
	var err error
	for range 2 {
		_, err = b.local.Append(context.Background(), c.segment.stream, c.segment.last, events)
		if err == nil || isFull(err) {
			break
		}
	}
	if err == nil {
		c.segment.last += domain.Revision(len(events))
		return nil
	}
	if isFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	var wrong *eventstore.WrongRevision
	if errors.As(err, &wrong) {
		err = fmt.Errorf("somebody else writes to the outbox: %w", err)
	}
	return fmt.Errorf("outbox takes no more until it is opened again: %w: %w", domain.ErrUnavailable, err)
}

// apply does in memory what stands in the store now, or undoes what does not.
func (b *Outbox) apply(c *commit, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		for _, l := range c.lanes {
			l.tail = l.next
			if l.stated == nil && len(l.pending) == 0 {
				delete(b.lanes, l.stream) // it came with this commit
			}
		}
		if !isFull(err) && b.broken == nil {
			b.broken = err
			notify(b.wake)
		}
		return
	}
	b.place(c)
	for _, f := range c.then {
		f()
	}
	if b.settledSegment() {
		notify(b.tidy)
	}
}

// place makes the events of a commit pending.
func (b *Outbox) place(c *commit) {
	revision := c.segment.last - domain.Revision(len(c.adds)) + 1
	now := b.opt.Clock()
	b.occupy(c.segment, len(c.page)+standing)
	for i, a := range c.adds {
		l := a.lane
		l.next = a.seq + 1
		p := place{seq: a.seq, segment: c.segment, revision: revision + domain.Revision(i), size: int32(a.event.Size()), at: seconds(now)} //nolint:gosec // below a mebibyte
		b.occupy(c.segment, a.event.Size()+standing)
		if b.cached+int64(p.size) <= b.opt.CacheBytes {
			b.cached += int64(p.size)
			p.event = &c.adds[i].event
		}
		b.add(l, p)
		b.enlist(l, now)
	}
}

// add makes an event pending. It needs mu.
func (b *Outbox) add(l *lane, p place) {
	l.pending = append(l.pending, p)
	p.segment.pending++
	b.pending.Events++
	b.pending.Bytes += int64(p.size)
}

// drop takes events away that are pending no more. It needs mu.
func (b *Outbox) drop(l *lane, runs []run) {
	l.take(runs, func(p place) {
		p.segment.pending--
		b.pending.Events--
		b.pending.Bytes -= int64(p.size)
		if p.event != nil {
			b.cached -= int64(p.size)
		}
	})
	l.intent = intent{}
}

func (b *Outbox) occupy(s *segment, n int) {
	s.bytes += int64(n)
	b.used += int64(n)
}
