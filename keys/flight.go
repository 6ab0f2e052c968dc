package keys

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
)

// A flight lets one caller do what several ask for at once. The first does it
// under its own context; the others wait, and begin anew if the first gave up.
type flight[K comparable, V any] struct {
	mu    sync.Mutex // guards calls
	calls map[K]*call[V]
}

// A call's results are set before done is closed.
type call[V any] struct {
	done  chan struct{}
	value V
	err   error
}

var errGone = errors.New("the call ended without an answer")

func newFlight[K comparable, V any]() *flight[K, V] {
	return &flight[K, V]{calls: map[K]*call[V]{}}
}

func (f *flight[K, V]) do(ctx context.Context, k K, fn func() (V, error)) (V, error) {
	for {
		c, first := f.join(k)
		if first {
			f.run(k, c, fn)
			return c.value, c.err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			var none V
			return none, fmt.Errorf("waiting for keys: %w: %w", domain.ErrUnavailable, ctx.Err())
		}
		if !gaveUp(c.err) {
			return c.value, c.err
		}
	}
}

func (f *flight[K, V]) join(k K) (c *call[V], first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.calls[k]; c != nil {
		return c, false
	}
	c = &call[V]{done: make(chan struct{}), err: errGone}
	f.calls[k] = c
	return c, true
}

// run closes the call also where fn panics.
func (f *flight[K, V]) run(k K, c *call[V], fn func() (V, error)) {
	defer func() {
		f.mu.Lock()
		delete(f.calls, k)
		f.mu.Unlock()
		close(c.done)
	}()
	c.value, c.err = fn()
}

// gaveUp reports whether the first caller went away, which says nothing about
// the keys.
func gaveUp(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
