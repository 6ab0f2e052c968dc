package esdbtest

import (
	"context"
	"errors"
	"sync"
)

// The methods of a Call.
const (
	MethodAppend    = "append"
	MethodDelete    = "delete"
	MethodTombstone = "tombstone"
	MethodRead      = "read"
	MethodSubscribe = "subscribe"
	MethodFeatures  = "features"
	MethodGossip    = "gossip"
)

// AllStream is the stream of a call that reads the whole log.
const AllStream = "$all"

// A Call is what a hook sees of a call.
type Call struct {
	Method string
	// Stream is the stream, AllStream for the whole log, empty for the rest.
	Stream string
	// Expected is the revision expected by a write: -1 none, -2 any, -4 exists.
	Expected int64
	// Events is the number of events of an append, 0 before they have arrived.
	Events int
}

// Hooks are what a test lets happen to calls. Each may be nil. A hook runs in the
// goroutine of the call, may block it, and answers it by an error: one of this
// package, any gRPC status, or ErrCloseConnection. They may be called at once
// from many goroutines.
type Hooks struct {
	// Arrived runs before anything is looked at; an append has sent no event yet.
	Arrived func(ctx context.Context, c Call) error
	// BeforeCommit runs when a write is whole and nothing is decided. If it
	// returns nil, the write goes on even if its caller has gone meanwhile, unless
	// the server was stopped.
	BeforeCommit func(ctx context.Context, c Call) error
	// AfterCommit runs when a write is in the log, or was found there, and not
	// yet answered.
	AfterCommit func(ctx context.Context, c Call) error
	// Deliver runs before each event that a subscription sends.
	Deliver func(ctx context.Context, c Call, stream string, revision int64) error
	// Shown tells how many of an append's events readers see at first; the rest is
	// hidden from them until ShowAll.
	Shown func(c Call) int
	// Scavenge runs before a scavenge takes effect; its error fails the scavenge.
	Scavenge func() error
}

// ErrCloseConnection as the answer of a hook closes the connection of the call,
// as if the server had died: the caller cannot tell what became of it.
var ErrCloseConnection = errors.New("close the connection")

// Hang waits until the caller gives up or the connection ends, as a hook.
func Hang(ctx context.Context, _ Call) error {
	<-ctx.Done()
	return ctx.Err()
}

// Answer is a hook that answers every call with err.
func Answer(err error) func(context.Context, Call) error {
	return func(context.Context, Call) error { return err }
}

// Times lets hook act on the first n calls of one method, and on no other.
func Times(n int, method string, hook func(context.Context, Call) error) func(context.Context, Call) error {
	var mu sync.Mutex
	return func(ctx context.Context, c Call) error {
		mu.Lock()
		act := c.Method == method && n > 0
		if act {
			n--
		}
		mu.Unlock()
		if !act {
			return nil
		}
		return hook(ctx, c)
	}
}

// A gate is open or shut; who comes to a shut one waits.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil while open, closed when it opens
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case shut && g.shut == nil:
		g.shut = make(chan struct{})
	case !shut && g.shut != nil:
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return nil
	}
	select {
	case <-shut:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut != nil
}
