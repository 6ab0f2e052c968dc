package recorder

import (
	"context"
	"sync"
	"time"
)

// sweepEvery is how often chunks are looked at for their age; a flush interval
// is kept to within it.
const sweepEvery = 50 * time.Millisecond

// A dirtyList holds the recordings that have a chunk. One is in it at most once;
// the mutex protects the list and each recording's dirty flag is under its own.
type dirtyList struct {
	mu   sync.Mutex
	list []*recording
}

// add lists a recording; the caller holds the recording's lock.
func (d *dirtyList) add(r *recording) {
	if r.dirty {
		return
	}
	r.dirty = true
	d.put(r)
}

func (d *dirtyList) put(r *recording) {
	d.mu.Lock()
	d.list = append(d.list, r)
	d.mu.Unlock()
}

func (d *dirtyList) take(spare []*recording) []*recording {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.list
	d.list = spare[:0]
	return taken
}

// sweep hands over the chunks that have waited for their flush interval.
func (r *Recorder) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var spare []*recording
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		taken := r.dirty.take(spare)
		now := r.opt.Clock()
		for _, rec := range taken {
			rec.sweep(now)
		}
		clear(taken)
		spare = taken
	}
}

// sweep hands over an old chunk and lists a younger one again. A connection that
// is busy, or waits for room in its queue, must not hold up the others.
func (r *recording) sweep(now time.Time) {
	if !r.mu.TryLock() {
		r.recorder.dirty.put(r)
		return
	}
	defer r.mu.Unlock()
	r.dirty = false
	if r.chunk == nil {
		return
	}
	age := now.Sub(r.chunk.began)
	if age < r.capture.interval && r.chunk.holds(now.UnixMicro()) {
		r.recorder.dirty.add(r)
		return
	}
	if err := r.handOver(); err != nil {
		r.recorder.opt.Failed(err)
	}
}
