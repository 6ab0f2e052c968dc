package esdbtest

import (
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// liveBuffer is how many events a live subscription may lie behind while its
// reader takes nothing; one more ends it.
const liveBuffer = 32

// blockedAfter is how long one event may take to be sent before its reader
// counts as slow.
const blockedAfter = 100 * time.Millisecond

// confirm begins every subscription.
func (r *reading) confirm() error { return r.out.Send(confirmation(uuid.New())) }

// idle waits until there may be more to send.
func (r *reading) idle(changed <-chan struct{}) error {
	select {
	case <-changed:
		return r.s.live.wait(r.out.Context())
	case <-r.out.Context().Done():
		return r.out.Context().Err()
	}
}

// deliver sends one event of a subscription. When the reader blocks it for long
// and more than liveBuffer events came meanwhile, a live subscription ends.
func (r *reading) deliver(l *ledger, rec *record, live bool) error {
	if err := r.s.beforeDeliver(r.out.Context(), r.call, rec); err != nil {
		return err
	}
	var blocked atomic.Bool
	if live {
		timer := time.AfterFunc(blockedAfter, func() { blocked.Store(true) })
		defer timer.Stop()
	}
	if err := r.event(l, rec); err != nil {
		return err
	}
	if blocked.Load() && l.end() > rec.seq+1+liveBuffer {
		return TooSlow()
	}
	return nil
}

// subscribeStream delivers what comes strictly after a revision.
func (r *reading) subscribeStream(l *ledger) error {
	if r.call.Stream == "" {
		return handlerFailure()
	}
	after, live, err := r.startAfter(l)
	if err != nil {
		return err
	}
	if l.readStream(r.call.Stream, r.s.bound(l), 0, false, 1).standing == ended {
		return streamDeleted(r.call.Stream)
	}
	if err := r.confirm(); err != nil {
		return err
	}
	if live {
		if err := r.out.Send(caughtUp()); err != nil {
			return err
		}
	}
	for {
		changed := l.waitCh()
		var caught bool
		if after, caught, err = r.drainStream(l, after, live); err != nil {
			return err
		}
		if caught && !live {
			live = true
			if err := r.out.Send(caughtUp()); err != nil {
				return err
			}
			continue
		}
		if err := r.idle(changed); err != nil {
			return err
		}
	}
}

// startAfter is the revision behind which a stream subscription begins; from the
// end it is live at once.
func (r *reading) startAfter(l *ledger) (int64, bool, error) {
	if r.options.GetStream().GetStart() != nil {
		return -1, false, nil
	}
	from, err := r.startRevision()
	if from == fromEnd {
		bound := r.s.bound(l)
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.last(r.call.Stream, bound), true, err
	}
	return from, false, err
}

// drainStream delivers what there is. It has caught up only with a stream that
// exists and is not deleted.
func (r *reading) drainStream(l *ledger, after int64, live bool) (int64, bool, error) {
	for {
		page := l.following(r.call.Stream, r.s.bound(l), after, live)
		for _, rec := range page.records {
			if err := r.deliver(l, rec, live); err != nil {
				return after, false, err
			}
			after = rec.revision
		}
		if after == tombstoned || page.standing == ended {
			return after, false, streamDeleted(r.call.Stream)
		}
		if page.done {
			return after, page.standing == present, nil
		}
	}
}

// following is the next page of a subscription. While it catches up truncation
// hides events from it; what comes while it is live it gets in any case.
func (l *ledger) following(stream string, bound uint64, after int64, live bool) streamPage {
	l.mu.Lock()
	defer l.mu.Unlock()
	page := streamPage{standing: l.standing(stream, bound), done: true}
	events := l.events(stream, bound)
	meta := l.metaOf(stream, bound)
	first := after + 1
	if after == tombstoned {
		return page
	}
	if !live {
		if page.standing == absent {
			return page
		}
		first = max(first, firstKept(stream, meta, l.last(stream, bound)))
	}
	i, _ := startIn(events, first, 0, false)
	for _, rec := range events[i:] {
		if len(page.records) == pageSize {
			page.done = false
			break
		}
		if live || !l.expired(rec, meta) {
			page.records = append(page.records, rec)
		}
	}
	return page
}

// subscribeAll delivers what comes strictly after a position of the whole log.
func (r *reading) subscribeAll(l *ledger) error {
	from, err := r.startPosition()
	if err != nil {
		return err
	}
	w, interval, err := r.window()
	if err != nil {
		return err
	}
	if w.match != nil && interval == 0 || !l.readableFrom(from, r.s.bound(l), true) {
		return handlerFailure()
	}
	cursor := &allCursor{reading: r, ledger: l, window: w, interval: interval, next: from + 1}
	if from == fromLogEnd {
		cursor.next, cursor.live = l.behind(r.s.bound(l)), true
	}
	if err := r.confirm(); err != nil {
		return err
	}
	return cursor.run()
}

// behind is the position behind all that a reader with the bound can see.
func (l *ledger) behind(bound uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	records := l.seen(bound)
	if len(records) == 0 {
		return 0
	}
	return records[len(records)-1].position + 1
}

// An allCursor is the place of a subscription in the whole log. It belongs to
// the goroutine of its call.
type allCursor struct {
	*reading
	ledger   *ledger
	window   window
	interval int // considered events between two checkpoints; 0 without a filter
	counted  int
	next     uint64
	live     bool
}

func (c *allCursor) run() error {
	if c.live {
		if err := c.out.Send(caughtUp()); err != nil {
			return err
		}
	}
	for {
		changed := c.ledger.waitCh()
		if err := c.drain(); err != nil {
			return err
		}
		if !c.live {
			c.live = true
			if err := c.out.Send(caughtUp()); err != nil {
				return err
			}
			continue
		}
		if err := c.idle(changed); err != nil {
			return err
		}
	}
}

// drain delivers what there is, with the checkpoints that are due. Live every
// single event is considered, before that a page at a time.
func (c *allCursor) drain() error {
	for {
		w := c.window
		w.limit = pageSize
		if c.live && c.interval > 0 {
			w.considered = 1
		}
		page := c.ledger.readAll(c.s.bound(c.ledger), c.next, false, w)
		for _, rec := range page.records {
			if err := c.deliver(c.ledger, rec, c.live); err != nil {
				return err
			}
		}
		c.next = page.next
		if err := c.checkpoint(page); err != nil {
			return err
		}
		if page.done {
			return nil
		}
	}
}

// checkpoint counts the page and reports the place of its last match, or of its
// first event if none matched.
func (c *allCursor) checkpoint(page allPage) error {
	if c.interval == 0 || page.considered == 0 {
		return nil
	}
	c.counted += page.considered
	if c.counted < c.interval {
		return nil
	}
	c.counted %= c.interval
	at := page.first
	if n := len(page.records); n > 0 {
		at = page.records[n-1]
	}
	return c.out.Send(checkpoint(at))
}
