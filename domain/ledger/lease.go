package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// Bounds of open leases (ARCHITECTURE §4).
const (
	// LeaseTime is how long a lease lasts from just before its renewal was appended.
	LeaseTime = 800 * time.Millisecond
	// LeaseWait is how long an eraser waits after its fence was acknowledged: by
	// then no node opens anything without having applied the fence.
	LeaseWait = LeaseTime + LeaseTime/20
	// leaseDrift is how far wall clock and boot clock may part before nothing that
	// was granted is believed any more.
	leaseDrift = 250 * time.Millisecond
	// leaseAhead: a lease in use is renewed when less than this is left of it.
	leaseAhead = LeaseTime / 2
	// leaseGrace is how long one Hold waits for a renewal to come back.
	leaseGrace = 2 * time.Second
)

// An Instant is a moment by two clocks: one that goes on while the machine sleeps
// and nobody sets (CLOCK_BOOTTIME), and the wall.
type Instant struct {
	Boot time.Duration
	Wall time.Time
}

// since returns how long ago o was by each clock.
func (i Instant) since(o Instant) (boot, wall time.Duration) {
	return i.Boot - o.Boot, i.Wall.Round(0).Sub(o.Wall.Round(0))
}

// A LeaseConfig is what a lease stands on. All fields are required.
type LeaseConfig struct {
	Now func() Instant
	// Renew appends node.renewed to this process's own stream, once: it tells
	// begun the event's id before it sends. An error means that the lease is not
	// to be had by this attempt.
	Renew func(ctx context.Context, begun func(domain.EventID)) error
	// Check asks, beside each renewal and within its lease's time, whether something
	// stops opening everywhere: what it does not see yet it sees within LeaseTime. An
	// error grants no lease.
	Check func(ctx context.Context) error
	// Drop drops every handle that opens.
	Drop func()
	// Pause waits, or returns the context's error.
	Pause func(ctx context.Context, d time.Duration) error
}

// A Lease is the right of one process to open what is sealed, where several
// processes open: it lasts LeaseTime from just before the process appended a
// renewal to the log, and holds only once its own subscription has delivered
// that renewal. Every fence that was acknowledged before then was delivered
// before it, so whoever opens under a lease has applied it. No list of nodes, no
// read and no custodian grants one; the custodian can refuse it.
//
// It is safe for concurrent use. Close it before what it renews with.
type Lease struct {
	LeaseConfig
	closed  context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu sync.Mutex // protects what follows
	// refused is what the last Check said.
	refused error
	// granted is the moment from which the lease in force lasts.
	granted  Instant
	holds    bool
	pending  map[domain.EventID]*renewal
	renewing bool
	changed  chan struct{} // closed and replaced when something was delivered or failed
	failed   error         // of the last renewal
}

// NewLease returns a lease that does not hold yet.
func NewLease(c LeaseConfig) *Lease {
	l := &Lease{LeaseConfig: c, pending: map[domain.EventID]*renewal{}, changed: make(chan struct{})}
	l.closed, l.stop = context.WithCancel(context.Background())
	return l
}

// Close ends renewals in progress.
func (l *Lease) Close() {
	l.stop()
	l.running.Wait()
}

// Allowed reports whether the lease holds now: domain.ErrUnavailable if not. It
// is asked again after decrypting, before the first byte leaves.
func (l *Lease) Allowed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.left(); !ok {
		return fmt.Errorf("no lease to open: %w", domain.ErrUnavailable)
	}
	return nil
}

// left returns what is left of the lease. Clocks that part end it, and every
// opening handle with it.
func (l *Lease) left() (time.Duration, bool) {
	if !l.holds {
		return 0, false
	}
	boot, wall := l.Now().since(l.granted)
	if (boot - wall).Abs() > leaseDrift {
		l.holds = false
		clear(l.pending)
		l.Drop()
		return 0, false
	}
	left := LeaseTime - max(boot, wall)
	if left <= 0 {
		l.holds = false
	}
	return left, left > 0
}

// Hold returns once the lease holds, renewing it where it must: it lasts only
// while opening goes on. domain.ErrUnavailable: the log does not take or does not
// deliver the renewal, or something stops opening, which is then in the error, too.
func (l *Lease) Hold(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseGrace)
	defer cancel()
	for waited := false; ; waited = true {
		l.mu.Lock()
		left, ok := l.left()
		if refused := l.refused; refused != nil && !ok && waited && !l.renewing {
			l.mu.Unlock()
			return fmt.Errorf("no lease to open: %w: %w", domain.ErrUnavailable, refused)
		}
		if !l.renewing && (!ok || left < leaseAhead) {
			l.renewing, l.failed = true, nil
			l.running.Go(l.renew)
		}
		changed, failed := l.changed, l.failed
		l.mu.Unlock()
		switch {
		case ok:
			return nil
		case failed != nil:
			return fmt.Errorf("no lease to open: %w: %w", domain.ErrUnavailable, failed)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("no lease to open: %w", domain.ErrUnavailable)
		case <-l.closed.Done():
			return fmt.Errorf("no lease to open: %w", domain.ErrUnavailable)
		}
	}
}

// A renewal grants once it was acknowledged and delivered: a server that lost its
// followers may deliver what it cannot acknowledge.
type renewal struct {
	start                   Instant
	acknowledged, delivered bool
}

// renew sends one renewal. Its lease lasts from before the first byte was sent; one
// that is not acknowledged grants nothing.
func (l *Lease) renew() {
	ctx, cancel := context.WithTimeout(l.closed, leaseGrace)
	defer cancel()
	sent := &renewal{start: l.Now()}
	var id domain.EventID
	err := l.checked(ctx, func() error {
		return l.Renew(ctx, func(of domain.EventID) {
			id = of
			l.mu.Lock()
			defer l.mu.Unlock()
			l.pending[id] = sent
		})
	})
	if err == nil {
		l.note(id, func(r *renewal) { r.acknowledged = true })
		err = l.delivery(ctx, id)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pending, id)
	l.renewing = false
	if err != nil {
		l.failed = err
		l.wake()
	}
}

// checked asks beside an append whether it may grant a lease; before it, and so that
// nothing is appended, where the last answer was no.
func (l *Lease) checked(ctx context.Context, appending func() error) error {
	l.mu.Lock()
	before := l.refused
	l.mu.Unlock()
	answer := make(chan error, 1)
	l.running.Go(func() { answer <- l.Check(ctx) })
	var failed error
	if before == nil {
		failed = appending()
	}
	err := <-answer
	l.mu.Lock()
	l.refused = err
	l.mu.Unlock()
	if before != nil && err == nil {
		failed = appending()
	}
	return errors.Join(err, failed)
}

// delivery waits until the subscription delivers a renewal, or its lease would be
// over.
func (l *Lease) delivery(ctx context.Context, id domain.EventID) error {
	ctx, cancel := context.WithTimeout(ctx, LeaseTime)
	defer cancel()
	for {
		l.mu.Lock()
		_, waiting := l.pending[id]
		changed := l.changed
		l.mu.Unlock()
		if !waiting {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the log does not deliver: %w", ctx.Err())
		}
	}
}

// Delivered tells the lease that the process's own subscription has delivered an
// event, and with it everything that was in the log before.
func (l *Lease) Delivered(id domain.EventID) { l.note(id, func(r *renewal) { r.delivered = true }) }

// note changes a pending renewal, and grants its lease when it is complete.
func (l *Lease) note(id domain.EventID, change func(*renewal)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.pending[id]
	if !ok {
		return
	}
	change(r)
	if !r.acknowledged || !r.delivered {
		return
	}
	delete(l.pending, id)
	boot, wall := l.Now().since(r.start)
	if (boot-wall).Abs() <= leaseDrift && max(boot, wall) < LeaseTime {
		l.granted, l.holds = r.start, true
	}
	l.wake()
}

// Lost ends the lease: the subscription has a gap, and what was derived may be
// behind a fence.
func (l *Lease) Lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds = false
	clear(l.pending)
	l.Drop()
	l.wake()
}

func (l *Lease) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}
