package recorder

import (
	"context"
	"sync"
	"time"
)

// sweepEvery is how often chunks are looked at for their age; a flush interval
// is kept to within it.
const sweepEvery = 50 * time.Millisecond

// A dirtyList holds the chunks of one pool that wait, oldest first. All of a
// pool's chunks wait equally long and end at the same boundaries, so what is
// behind one that is not due is not due either: a sweep costs what is due, not
// what waits. The mutex protects the list.
type dirtyList struct {
	mu   sync.Mutex
	list []dirty
}

// A dirty is one chunk of a recording, by its number. The chunk may be gone by
// the time it is looked at: it was full, or its connection closed.
type dirty struct {
	recording *recording
	chunk     uint32
	due       int64 // Unix µs
}

func (d *dirtyList) add(e dirty) {
	d.mu.Lock()
	d.list = append(d.list, e)
	d.mu.Unlock()
}

// take moves what is due behind taken: also what would be due later than anything
// that begins now, because the clock went back since.
func (d *dirtyList) take(now, interval int64, taken []dirty) []dirty {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for n < len(d.list) && (d.list[n].due <= now || d.list[n].due > now+interval) {
		n++
	}
	if n == 0 {
		return taken
	}
	taken = append(taken, d.list[:n]...)
	rest := copy(d.list, d.list[n:])
	clear(d.list[rest:])
	d.list = d.list[:rest]
	return taken
}

// sweep hands over the chunks that have waited for their flush interval. What a
// busy connection kept from being looked at is looked at with the next tick.
func (r *Recorder) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var due []dirty
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := r.opt.Clock().UnixMicro()
		for _, c := range r.pools() {
			due = c.dirty.take(now, c.interval.Microseconds(), due)
		}
		busy := due[:0]
		for _, e := range due {
			if !e.recording.sweep(e.chunk) {
				busy = append(busy, e)
			}
		}
		clear(due[len(busy):])
		due = busy
	}
}

// sweep hands over a chunk, if it still waits. It reports false if it could not
// look: a connection that is busy, or waits for room in its queue, must not hold
// up the others.
func (r *recording) sweep(chunk uint32) bool {
	if !r.mu.TryLock() {
		return false
	}
	defer r.mu.Unlock()
	if r.chunk == nil || r.chunks != chunk {
		return true
	}
	if err := r.handOver(); err != nil {
		r.recorder.opt.Failed(err)
	}
	return true
}
