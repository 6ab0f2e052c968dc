package lethe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Bounds of the clock rule (ARCHITECTURE §4).
const (
	maxNoteAge     = 10 * time.Minute
	maxClockOffset = time.Second
)

// A clock judges the machine's time: keys are issued and destroyed by it, and the
// time is noted, only while it is trusted.
type clock struct {
	now     func() time.Time
	elapsed func() time.Duration // by the monotonic clock
	synced  func() bool

	mu     sync.Mutex    // protects what follows
	agreed time.Time     // since when wall and monotonic clock have agreed
	since  time.Duration // the same by the monotonic clock
	known  bool          // the log vouches for the time at which the process began
	// store reports nil while the clock agrees with that of a log which other
	// processes use; nil where there are none.
	store func() error
}

func newClock(now func() time.Time) *clock {
	start := now()
	return &clock{now: now, elapsed: func() time.Duration { return now().Sub(start) }, synced: kernelSynced, agreed: start}
}

// kernelSynced reports whether the kernel calls the clock synchronised.
func kernelSynced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	const unsynchronised = 0x40 // STA_UNSYNC
	return err == nil && state != unix.TIME_ERROR && t.Status&unsynchronised == 0
}

// readLog finds whether the log vouches for the present: it is empty, or its
// last time.noted lies at most 10 minutes back.
func (c *clock) readLog(ctx context.Context, log eventstore.Reader, id domain.LedgerID) error {
	streams, now, empty := domain.StreamsOf(id), c.now(), true
	for r, err := range log.ReadAll(ctx, domain.End, eventstore.Backward, 0) {
		if err != nil {
			return fmt.Errorf("looking for the last time noted: %w", err)
		}
		empty = false
		name, err := streams.Parse(r.Stream())
		if err != nil || name.Kind != domain.StreamNode || r.Type() != domain.TimeNoted {
			if now.Sub(r.StoreTime) > maxNoteAge {
				break
			}
			continue
		}
		spec, err := domain.Events.Spec(r.Type())
		if err != nil {
			return err
		}
		e, err := domain.DecodeEnvelope(spec, r.Envelope())
		if err != nil {
			return fmt.Errorf("looking for the last time noted: %w", err)
		}
		age := now.Sub(time.Unix(e.Facts.Int("at"), 0))
		c.vouch(age >= -maxClockOffset && age <= maxNoteAge)
		return nil
	}
	c.vouch(empty)
	return nil
}

// besides makes the clock's trust depend on agrees, too.
func (c *clock) besides(agrees func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store = agrees
}

func (c *clock) vouch(known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = known
}

// maxSeen is how far the time that an operator sees may be from the clock's.
const maxSeen = time.Minute

// confirm lets an operator vouch for the clock, by the time that they see on another
// one: until the wall clock jumps. It stands for what the kernel or the log would say
// on one machine; against the log's clock, where processes share one, nobody can
// vouch. It reports false, and changes nothing, if the two are a minute apart.
func (c *clock) confirm(seen time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Round(0).Sub(seen).Abs() >= maxSeen {
		return false
	}
	c.agreed, c.since, c.known = now, c.elapsed(), true
	return true
}

var errClockJumped = errors.New("wall and monotonic clock disagree, or the last time noted is not within 10 minutes; they must agree for 10 minutes, or an operator confirms by lethe keys trust-clock")

// trusted reports nil while keys may be issued and destroyed by the clock.
func (c *clock) trusted() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store != nil {
		if err := c.store(); err != nil {
			return err
		}
	}
	if c.synced() {
		return nil
	}
	now, elapsed := c.now(), c.elapsed()
	offset := now.Round(0).Sub(c.agreed.Round(0)) - (elapsed - c.since)
	if offset.Abs() > maxClockOffset {
		c.agreed, c.since, c.known = now, elapsed, false
	}
	if c.known || elapsed-c.since >= maxNoteAge {
		return nil
	}
	return errClockJumped
}
