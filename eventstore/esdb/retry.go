package esdb

import (
	"context"
	"fmt"
	"time"
)

// settleAfter is how long an operation of unknown outcome is left alone: while the
// first one is still in flight, the server drops its repetition without an answer.
const settleAfter = 3 * time.Second

// The pauses between tries of what did nothing.
const (
	shortPause = 50 * time.Millisecond
	longPause  = time.Second
)

// settle repeats try until its verdict is decisive, patience is over or ctx ends.
// Each try gets ctx with a deadline of Deadlines.Attempt. It does not begin to wait
// for what ctx would not see the end of.
func (s *Store) settle(ctx context.Context, patience time.Duration, try func(ctx context.Context) error) (verdict, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	pause := shortPause
	for {
		err := attempt(ctx, s.Deadlines.Attempt, try)
		v := judge(err)
		if v.decisive() {
			return v, err
		}
		wait := pause
		if v == unknown {
			wait = settleAfter
		}
		if !s.pause(ctx, wait) {
			return v, err
		}
		pause = min(2*pause, longPause)
	}
}

func attempt(ctx context.Context, limit time.Duration, try func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return try(ctx)
}

// again repeats what changes nothing, a read, until its verdict is decisive,
// Deadlines.Read is over or ctx ends.
func (s *Store) again(ctx context.Context, try func(ctx context.Context) error) (verdict, error) {
	ctx, stop := context.WithTimeout(ctx, s.Deadlines.Read)
	defer stop()
	for pause := shortPause; ; pause = min(2*pause, longPause) {
		err := try(ctx)
		v := judge(err)
		if v.decisive() || !s.pause(ctx, pause) {
			return v, err
		}
	}
}

// pause reports whether it was worth waiting: ctx goes on afterwards.
func (s *Store) pause(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(s.Clock()) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// outcome names the operation that failed; what its caller's context says counts
// more than what came of it on the way.
func outcome(ctx context.Context, operation string, v verdict, err error) error {
	if v.decisive() && v != denied {
		return fmt.Errorf("%s: %w", operation, told(v, err))
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w (%w)", operation, ended(ctx), err)
	}
	return fmt.Errorf("%s: %w", operation, told(v, err))
}
