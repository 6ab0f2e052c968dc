package projections

import (
	"context"
	"sync"
)

// A queue hands batches of events from the reading goroutine to the writing one.
// It holds at most one batch, by events or by bytes, so memory stays bounded
// however far behind the writer is. The mutex protects every field; change wakes
// whoever waits.
type queue struct {
	mu        sync.Mutex
	change    sync.Cond
	events    []Event
	spare     []Event
	bytes     int
	maxEvents int
	maxBytes  int
	closed    bool
	err       error
}

func newQueue(events, bytes int) *queue {
	q := &queue{maxEvents: events, maxBytes: bytes}
	q.change.L = &q.mu
	return q
}

func (q *queue) full() bool { return len(q.events) >= q.maxEvents || q.bytes >= q.maxBytes }

// put waits for room. It returns the context's error, or nil.
func (q *queue) put(ctx context.Context, e Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.full() {
		defer q.watch(ctx)()
		for q.full() && ctx.Err() == nil {
			q.change.Wait()
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	q.events = append(q.events, e)
	q.bytes += e.Size()
	if q.full() {
		q.change.Broadcast()
	}
	return nil
}

// close ends the queue: what is in it is taken first, then err.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.err = true, err
	q.change.Broadcast()
}

// take waits for a whole batch, or for the end of the queue, and returns what
// there is. The slice is the caller's until the next take. Without events it
// returns false with the error that ended the queue.
func (q *queue) take(ctx context.Context) ([]Event, bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.watch(ctx)()
	for ctx.Err() == nil && !q.closed && !q.full() {
		q.change.Wait()
	}
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	if len(q.events) == 0 {
		return nil, false, q.err
	}
	taken := q.events
	clear(q.spare)
	q.events, q.spare, q.bytes = q.spare[:0], taken, 0
	q.change.Broadcast()
	return taken, true, nil
}

// watch wakes waiters when ctx ends; the returned function stops that.
func (q *queue) watch(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.change.Broadcast()
	})
}
