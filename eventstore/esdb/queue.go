package esdb

import (
	"context"
	"errors"
	"sync"

	"github.com/lethe-ledger/lethe/eventstore"
)

// A queue stands between a subscription's pump, which alone puts, and its reader,
// which alone takes. It is small: who falls behind reads from the log again.
type queue struct {
	mu    sync.Mutex
	items []eventstore.Delivery
	bytes int
	err   error // why nothing comes any more, once items are taken

	ready chan struct{} // holds a token when there may be something to take
	room  chan struct{} // holds a token when something was taken
}

const (
	queueEvents = 256
	queueBytes  = 4 << 20
)

// errBehind: the reader did not take what is there while more came.
var errBehind = errors.New("the reader fell behind")

func newQueue() *queue {
	return &queue{ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// put adds a delivery. When there is no room it waits for some, or, if it may not
// wait, answers errBehind.
func (q *queue) put(ctx context.Context, d eventstore.Delivery, wait bool) error {
	for !q.tryPut(d) {
		if !wait {
			return errBehind
		}
		if err := q.waitRoom(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (q *queue) tryPut(d eventstore.Delivery) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !d.CaughtUp && (len(q.items) >= queueEvents || q.bytes >= queueBytes) {
		return false
	}
	q.items = append(q.items, d)
	q.bytes += d.Event.Size()
	signal(q.ready)
	return true
}

func (q *queue) waitRoom(ctx context.Context) error {
	select {
	case <-q.room:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// drained waits until everything was taken.
func (q *queue) drained(ctx context.Context) error {
	for {
		q.mu.Lock()
		empty := len(q.items) == 0
		q.mu.Unlock()
		if empty {
			return nil
		}
		if err := q.waitRoom(ctx); err != nil {
			return err
		}
	}
}

// end says why nothing comes behind what is there.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	signal(q.ready)
}

// take returns the next delivery, if there is one, or why there will be none.
func (q *queue) take() (d eventstore.Delivery, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return d, false, q.err
	}
	d = q.items[0]
	q.items[0] = eventstore.Delivery{}
	q.items = q.items[1:]
	q.bytes -= d.Event.Size()
	signal(q.room)
	return d, true, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
