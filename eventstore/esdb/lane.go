package esdb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A lane is a client, which holds one connection, until the first failure of any
// of its calls: then it is retired, and closed when the last of them has ended.
//
// Every call asks the client for its connection first. Once the client has been
// told of a failure, whoever asks makes it look for the server again: it forgets
// the connection it had, and if it finds none, everybody who tells it something is
// left hanging. So callers ask one at a time, holding gate, and the call that
// failed retires the lane, holding gate, before the client is told (log).
type lane struct {
	*client.Client
	epoch int           // of the leader it goes to
	gate  chan struct{} // full while a caller asks for the connection

	mu      sync.Mutex
	calls   int
	retired bool
	closed  bool
}

func newLane(t *target, node string, epoch int, a Account) (*lane, error) {
	l := &lane{epoch: epoch, gate: make(chan struct{}, 1)}
	c := t.client(node, a)
	c.Logger = l.log
	var err error
	l.Client, err = client.NewClient(c)
	return l, err
}

// textFailure is what the client logs, on the goroutine of the call that failed,
// just before it may look for another connection.
const textFailure = "unexpected exception: %v"

// log is where the client tells of its failures; it says nothing to anybody.
func (l *lane) log(_, format string, args ...any) {
	if format != textFailure || len(args) != 1 {
		return
	}
	if err, ok := args[0].(error); ok && status.Code(err) == codes.Unavailable {
		l.gate <- struct{}{}
		l.retire()
		<-l.gate
	}
}

func (l *lane) retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = true
}

func (l *lane) isRetired() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.retired
}

// join adds a call, if there is room for it.
func (l *lane) join(limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired || l.calls >= limit {
		return false
	}
	l.calls++
	return true
}

// leave ends a call, and the lane, if it was the last one of a retired one: a
// client that is closed under a caller panics there.
func (l *lane) leave() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls--
	return l.closeIfDone()
}

// end retires the lane and closes it as soon as it may.
func (l *lane) end() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = true
	return l.closeIfDone()
}

func (l *lane) closeIfDone() error {
	if !l.retired || l.calls > 0 || l.closed {
		return nil
	}
	l.closed = true
	return l.Close()
}

// A passing context tells when the client has its connection: the client looks at
// the deadline next. TestTheClientLooksAtTheDeadlineLast holds it to that.
type passing struct {
	context.Context
	passed func()
}

// Deadline is the first thing that the client asks of a context.
func (p *passing) Deadline() (time.Time, bool) {
	p.passed()
	return p.Context.Deadline()
}

// do runs f, which makes one call of the client, on the lane.
func (l *lane) do(ctx context.Context, f func(ctx context.Context, c *client.Client) error) error {
	select {
	case l.gate <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errUnsent, ended(ctx))
	}
	passed := sync.OnceFunc(func() { <-l.gate })
	defer passed()
	if l.isRetired() {
		return errRetired
	}
	return guarded(&passing{leaderOnly(ctx), passed}, l.Client, f) //nolint:contextcheck // it is ctx
}

// errRetired is a lane that ended while its caller waited for it.
var errRetired = fmt.Errorf("%w: the connection has ended", errUnsent)

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

// A pool has the lanes of one account.
type pool struct {
	store   *Store
	account Account
	limit   int           // calls at once on a lane
	slots   chan struct{} // calls at once

	mu    sync.Mutex
	lanes []*lane
}

// newPool makes a pool of some connections, each of which takes up to limit calls
// at once. Retired ones that still carry calls come on top.
func newPool(s *Store, a Account, connections, limit int) *pool {
	return &pool{store: s, account: a, limit: limit, slots: make(chan struct{}, connections*limit)}
}

// call runs f, which makes one call of the client, on a lane, for at most as long
// as ctx. When ctx ends first, call returns, and what f does from then on is
// nobody's: it must write to nothing but its own result.
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
	for {
		l, err := p.take(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errUnsent, err)
		}
		err = l.do(ctx, f)
		if !judge(err).decisive() {
			l.retire()
		}
		if !errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, errRetired) && estranged(err) {
			p.store.leader.lost(l.epoch)
		}
		closed := l.leave()
		if !errors.Is(err, errRetired) {
			return errors.Join(err, closed)
		}
	}
}

// take joins a lane to the leader of now, or makes one. Lanes to another are ended.
func (p *pool) take(ctx context.Context) (*lane, error) {
	node, epoch, err := p.store.leader.find(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.lanes[:0]
	var joined *lane
	for _, l := range p.lanes {
		switch {
		case l.epoch != epoch:
			err = errors.Join(err, l.end())
		case !l.isRetired():
			kept = append(kept, l)
			if joined == nil && l.join(p.limit) {
				joined = l
			}
		}
	}
	p.lanes = kept
	if err != nil || joined != nil {
		return joined, err
	}
	l, err := newLane(p.store.target, node, epoch, p.account)
	if err != nil {
		return nil, err
	}
	l.calls = 1
	p.lanes = append(p.lanes, l)
	return l, nil
}

// close ends the lanes. No call is in progress any more.
func (p *pool) close() (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lanes {
		err = errors.Join(err, l.end())
	}
	p.lanes = nil
	return err
}
