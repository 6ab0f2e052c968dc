package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
)

// Run feeds what is in the log and then what comes, until ctx ends, and returns
// nil then. While the log, the integrity key or a consumer is unavailable it
// tries again, ever more slowly, and moves no checkpoint. Any other error ends
// it: an operator has to look.
func (l *Loop) Run(ctx context.Context) error {
	backoff := firstBackoff
	for {
		before := l.position()
		err := l.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case !unavailable(err):
			return err
		}
		l.notice(err)
		if l.position() != before {
			backoff = firstBackoff
		}
		if l.opt.Pause(ctx, backoff) != nil {
			return nil
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (l *Loop) notice(err error) {
	if l.opt.Notice != nil {
		l.opt.Notice(err)
	}
}

func (l *Loop) position() domain.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.least()
}

// follow goes on from where the consumers stand, until something fails.
func (l *Loop) follow(ctx context.Context) error {
	after, err := l.begin(ctx)
	if err != nil {
		return err
	}
	l.notice(nil)
	f, p := l.opt.Tail.follow(after), l.opt.parser()
	defer f.leave()
	for {
		seen, err := f.next(ctx, l.opt.Batch)
		if err == nil {
			err = l.take(ctx, p, seen)
		}
		if err == nil && !l.whole(seen) {
			err = l.linger(ctx)
		}
		if err != nil {
			return err
		}
		if l.large && f.atEnd(ctx) {
			l.rest(f)
		}
	}
}

// take consumes what was seen, up to the first event that cannot be read.
func (l *Loop) take(ctx context.Context, p *parser, seen []sighted) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var unread error
	l.batch = slices.Grow(l.batch, len(seen))
	for i := range seen {
		e, err := p.event(seen[i])
		if err != nil {
			unread = err
			break
		}
		if !l.skip.covers(&e) {
			l.skip.complete(&e)
			l.batch = append(l.batch, e)
		}
	}
	l.large = l.large || len(l.batch) > smallBatch
	err := l.consume(ctx, l.batch)
	l.batch = emptied(l.batch)
	return errors.Join(err, unread)
}

// emptied clears what a batch was in and keeps its memory for the next one, unless
// this one left most of it unused: steady load pays for its memory once, and a
// burst leaves none behind.
func emptied[T any](s []T) []T {
	clear(s)
	if cap(s) > smallBatch && len(s) < cap(s)/4 {
		return nil
	}
	return s[:0]
}

// A rester can give back the memory that it keeps from batch to batch.
type rester interface{ rest() }

// rest gives back what large batches took, for as long as nothing comes.
func (l *Loop) rest(f *follower) {
	f.rest()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batch, l.large = nil, false
	for _, c := range l.consumers {
		if c, ok := c.(rester); ok {
			c.rest()
		}
	}
}

// whole: more may stand behind a batch that is as large as it may be.
func (l *Loop) whole(seen []sighted) bool {
	bytes := 0
	for i := range seen {
		bytes += seen[i].Size()
	}
	return len(seen) >= l.opt.Batch || bytes >= maxBatchBytes
}

// begin reads checkpoints anew and makes sure that the log holds them.
func (l *Loop) begin(ctx context.Context) (domain.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.each(ctx, Consumer.Reload); err != nil {
		return domain.Start, err
	}
	if err := l.verifyLog(ctx); err != nil {
		return domain.Start, err
	}
	if err := l.readDisposed(ctx); err != nil {
		return domain.Start, err
	}
	return l.least(), nil
}

// linger waits, unless somebody waits for the next batch.
func (l *Loop) linger(parent context.Context) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- l.opt.Pause(ctx, l.opt.Linger) }()
	select {
	case <-l.kick:
		cancel()
		if err := <-done; err != nil && parent.Err() != nil {
			return err
		}
		return nil
	case err := <-done:
		return err
	}
}

// Wait returns when every consumer has reached position at, or with the
// context's error. It is how a command sees what it just caused.
func (l *Loop) Wait(ctx context.Context, at domain.Position) error {
	for {
		l.mu.Lock()
		moved, reached := l.moved, !l.least().Before(at)
		l.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case l.kick <- struct{}{}:
		default:
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("waiting for position %s: %w", at, ctx.Err())
		}
	}
}
