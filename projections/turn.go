package projections

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Shared engine keeps views that several processes see. One of them at a time
// keeps them up to date; Commit is what makes that safe, the lead what makes it
// cheap.
type Shared interface {
	Engine
	// Lead MUST return at once: with Led while another process leads, else
	// with a context that ends with ctx, when the lead is given back, and when this
	// process can no longer be sure of it. A process that hangs MUST lose the lead in
	// bounded time. Who leads already may lead once more; give gives one of them
	// back and may be called twice.
	Lead(ctx context.Context) (lasting context.Context, give func(), err error)
}

// Led says which process keeps the views; it is an ErrActive.
type Led struct{ By string }

func (e *Led) Error() string { return e.By + " keeps the views" }

// Is implements the contract of errors.Is.
func (e *Led) Is(target error) bool { return target == ErrActive }

// lookEvery is how often a projector that does not lead looks where the views
// are, and whether the lead is free.
const lookEvery = 250 * time.Millisecond

// run keeps the views: at once where this process is alone, else in its turns.
func (p *Projector) run(ctx context.Context) error {
	shared, ok := p.engine.(Shared)
	if !ok {
		return p.loop.Run(ctx)
	}
	for ctx.Err() == nil {
		if err := p.turn(ctx, shared); err != nil {
			return err
		}
		if p.opt.Pause(ctx, lookEvery) != nil {
			return nil
		}
	}
	return nil
}

// turn keeps the views while this process leads, or looks at them once.
func (p *Projector) turn(ctx context.Context, shared Shared) error {
	lasting, give, err := shared.Lead(ctx)
	if errors.Is(err, ErrActive) {
		err = p.loop.look(ctx)
		if err == nil {
			p.notice(nil)
			return nil
		}
	}
	switch {
	case ctx.Err() != nil:
		if give != nil {
			give()
		}
		return nil
	case unavailable(err):
		p.notice(err)
		return nil
	case err != nil:
		return err
	}
	defer give()
	err = p.loop.Run(lasting)
	if errors.Is(err, ErrActive) {
		return nil // it took over in time; what it wrote is read back before the next turn
	}
	return err
}

// lead takes the lead for a rebuild, which moves the live views, and reads them
// back: another process may have kept them until now.
func (p *Projector) lead(ctx context.Context) (context.Context, func(), error) {
	shared, ok := p.engine.(Shared)
	if !ok {
		return ctx, func() {}, nil
	}
	lasting, give, err := shared.Lead(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("taking the lead of the views: %w", err)
	}
	if err := p.loop.reload(lasting); err != nil {
		give()
		return nil, nil, err
	}
	return lasting, give, nil
}

func (l *Loop) reload(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.each(ctx, Consumer.Reload)
}

// A looker reads where its rows are, without what it keeps in memory of them.
type looker interface {
	look(ctx context.Context) error
}

// look tells those who wait where another projector has brought the views.
func (l *Loop) look(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.each(ctx, func(c Consumer, ctx context.Context) error {
		if c, ok := c.(looker); ok {
			return c.look(ctx)
		}
		return nil
	})
	close(l.moved)
	l.moved = make(chan struct{})
	return err
}

// look makes p stale: it folds nothing before it is read back.
func (p *Projection) look(ctx context.Context) error {
	at, err := p.gen.Checkpoint(ctx)
	if err != nil {
		return fmt.Errorf("looking where view %s is: %w", p.name, err)
	}
	if at != p.stored {
		p.at, p.stored, p.stale = at, at, true
	}
	return nil
}
