package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// Bounds of the clock rule beyond one machine (ARCHITECTURE §4).
const (
	// StoreTimeApart is how far the wall clock and the log's must stay below.
	StoreTimeApart = 60 * time.Second
	// storeTimeJump is how far wall clock and boot clock may part before what was
	// compared says nothing about the clock any more.
	storeTimeJump = time.Second
)

// What is wrong with a clock by which several processes destroy: reasons of
// domain.ErrClock.
var (
	ErrNotCompared = errors.New("the clock was not compared with the log's since the process began or the clock jumped; that is tried each minute and needs a log that takes events and answers with them")
	ErrClocksApart = errors.New("set the clocks of this machine and of the log's servers by NTP; they are compared again each minute")
)

// A StoreTimeConfig is what comparing stands on. Both fields are required.
type StoreTimeConfig struct {
	Now func() Instant
	// Echo appends an event to this process's own stream, once, and reads it back
	// from the log: it tells begun just before it sends.
	Echo func(ctx context.Context, begun func()) (domain.Recorded, error)
}

// A StoreTime compares this machine's clock with the one that the log puts on its
// events, so that a machine whose clock is wrong destroys nothing that others
// still read. A comparison says something about the clock until the next one, or
// until the wall clock jumps. It is safe for concurrent use.
type StoreTime struct {
	StoreTimeConfig

	mu    sync.Mutex // protects what follows
	at    Instant    // of the last comparison
	apart time.Duration
	known bool
}

// NewStoreTime returns one that has compared nothing yet.
func NewStoreTime(c StoreTimeConfig) *StoreTime { return &StoreTime{StoreTimeConfig: c} }

// Agrees reports nil while the last comparison found less than StoreTimeApart and
// the clock has not jumped since: ErrNotCompared or ErrClocksApart if not.
func (s *StoreTime) Agrees() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch apart, known := s.last(); {
	case !known:
		return ErrNotCompared
	case apart.Abs() >= StoreTimeApart:
		side := "ahead of"
		if apart < 0 {
			side = "behind"
		}
		return fmt.Errorf("this machine's clock is %s %s the log's, and %s is too much: %w", apart.Abs().Round(time.Millisecond), side, StoreTimeApart, ErrClocksApart)
	}
	return nil
}

// Apart returns how far this machine's clock was ahead of the log's when they were
// last compared, at most; false where Agrees says ErrNotCompared.
func (s *StoreTime) Apart() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last()
}

func (s *StoreTime) last() (time.Duration, bool) {
	if !s.known {
		return 0, false
	}
	boot, wall := s.Now().since(s.at)
	s.known = (boot - wall).Abs() <= storeTimeJump
	return s.apart, s.known
}

// Compare compares now: domain.ErrClock with what Agrees says. Where the log does not
// take the event or does not give it back, that is the error, and what was known
// stays.
func (s *StoreTime) Compare(ctx context.Context) error { return s.by(ctx, s.Echo) }

// by compares by an event that echo appends and reads back. The log took it between
// two readings of the clock; the farther one counts, so that a slow log shows no
// clocks to agree that do not.
func (s *StoreTime) by(ctx context.Context, echo func(context.Context, func()) (domain.Recorded, error)) error {
	var sent Instant
	r, err := echo(ctx, func() { sent = s.Now() })
	if err != nil {
		return fmt.Errorf("comparing the clock with the log's: %w", err)
	}
	back := s.Now()
	apart := sent.Wall.Round(0).Sub(r.StoreTime)
	if late := back.Wall.Round(0).Sub(r.StoreTime); late.Abs() > apart.Abs() {
		apart = late
	}
	s.mu.Lock()
	s.at, s.apart, s.known = back, apart, true
	s.mu.Unlock()
	if err := s.Agrees(); err != nil {
		return fmt.Errorf("%w: %w", domain.ErrClock, err)
	}
	return nil
}
