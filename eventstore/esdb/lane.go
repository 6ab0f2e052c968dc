package esdb

import (
	"context"
	"errors"
	"fmt"
	"sync"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/metadata"
)

// A lane is a client, which holds one connection. Whoever has taken it from its
// pool is alone with it.
type lane struct {
	*client.Client
	epoch int // of the leader it goes to
}

// A pool lends lanes of one account. At most cap(slots) are lent at once.
type pool struct {
	store   *Store
	account Account
	slots   chan struct{}

	mu   sync.Mutex
	idle []*lane // the one used last at the end; none once the store is closed
}

func newPool(s *Store, a Account, size int) *pool {
	return &pool{store: s, account: a, slots: make(chan struct{}, size)}
}

// call runs f on a lane, for at most as long as ctx. When ctx ends first, call
// returns, and what f does from then on is nobody's: it must write to nothing but
// its own result.
func call[T any](ctx context.Context, p *pool, f func(ctx context.Context, c *client.Client) (T, error)) (T, error) {
	var none T
	if err := p.enter(ctx); err != nil {
		return none, err
	}
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	started := p.store.spawn(func() {
		defer p.leave()
		var a answer
		a.err = p.run(ctx, func(ctx context.Context, c *client.Client) (err error) {
			a.value, err = f(ctx, c)
			return err
		})
		answers <- a
	})
	if !started {
		p.leave()
		return none, fmt.Errorf("%w: %w", errUnsent, errClosed)
	}
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, ended(ctx)
	}
}

// enter waits for a free slot.
func (p *pool) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errUnsent, ended(ctx))
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errUnsent, ended(ctx))
	}
}

func (p *pool) leave() { <-p.slots }

// run runs f on a lane, on this goroutine, and keeps the lane only if the server
// answered: a client that met anything else is not used again.
func (p *pool) run(ctx context.Context, f func(ctx context.Context, c *client.Client) error) error {
	l, err := p.lane(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnsent, err)
	}
	err = guarded(leaderOnly(ctx), l.Client, f)
	v := judge(err)
	if v.decisive() && v != denied {
		p.put(l)
		return err
	}
	if !errors.Is(ctx.Err(), context.Canceled) && estranged(err) {
		p.store.leader.lost(l.epoch)
	}
	return errors.Join(err, l.Close())
}

// guarded turns a panic of the client into an error.
func guarded(ctx context.Context, c *client.Client, f func(ctx context.Context, c *client.Client) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errPanic, r)
		}
	}()
	return f(ctx, c)
}

const requiresLeader = "requires-leader"

// leaderOnly puts requires-leader where it is sent: the client puts it into the
// metadata of incoming calls, where nobody looks.
func leaderOnly(ctx context.Context) context.Context {
	if md, ok := metadata.FromOutgoingContext(ctx); ok && len(md.Get(requiresLeader)) > 0 {
		return ctx // of a call within a call
	}
	return metadata.AppendToOutgoingContext(ctx, requiresLeader, "true")
}

// lane takes an idle lane to the leader of now, or makes one.
func (p *pool) lane(ctx context.Context) (*lane, error) {
	node, epoch, err := p.store.leader.find(ctx)
	if err != nil {
		return nil, err
	}
	for {
		l := p.take()
		if l == nil {
			break
		}
		if l.epoch == epoch {
			return l, nil
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	c, err := client.NewClient(p.store.client(node, p.account))
	if err != nil {
		return nil, err
	}
	return &lane{Client: c, epoch: epoch}, nil
}

func (p *pool) take() *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	l := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return l
}

func (p *pool) put(l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, l)
}

// close closes the idle lanes. No call is in progress any more.
func (p *pool) close() (err error) {
	for l := p.take(); l != nil; l = p.take() {
		err = errors.Join(err, l.Close())
	}
	return err
}
