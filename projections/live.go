package projections

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

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

// follow subscribes once, from where the consumers stand.
func (l *Loop) follow(ctx context.Context) error {
	after, err := l.begin(ctx)
	if err != nil {
		return err
	}
	sub, err := l.src.SubscribeAll(ctx, after)
	if err != nil {
		return fmt.Errorf("subscribing to the log: %w", err)
	}
	l.notice(nil)
	q := newQueue(l.opt.Batch, maxBatchBytes)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		p := l.opt.parser()
		for {
			d, err := sub.Next(gctx)
			if err == nil && !d.CaughtUp {
				err = l.feed(gctx, q, p, d.Event)
			}
			if err != nil {
				q.close(fmt.Errorf("following the log: %w", err))
				return nil
			}
		}
	})
	g.Go(func() error {
		// The subscription goes with its reader: a blocked Next then returns.
		return errors.Join(l.writeLive(gctx, q), sub.Close())
	})
	return g.Wait()
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

func (l *Loop) writeLive(ctx context.Context, q *queue) error {
	for {
		batch, ok, err := q.take(ctx, false)
		if !ok {
			return err
		}
		if err := l.locked(ctx, batch); err != nil {
			return err
		}
		if len(batch) < l.opt.Batch {
			if err := l.linger(ctx); err != nil {
				return err
			}
		}
	}
}

func (l *Loop) locked(ctx context.Context, batch []Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.consume(ctx, batch)
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
