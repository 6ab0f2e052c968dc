package recorder

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Gaps keeps gaps until they stand in the log.
type Gaps interface {
	// Owe MUST keep a gap, also across a restart as far as anything can be written,
	// in place of what it kept under the same id; with an error it MUST keep it while
	// the process lives. A gap of nothing MUST be forgotten.
	Owe(g Gap) error
	// Pay MUST note in the log, once each and oldest first, the gaps that are owed and
	// not open, those of earlier processes included. It MUST answer nil only when
	// there are none any more.
	Pay(ctx context.Context) error
}

// debts are what the recorder owes to Gaps.
type debts struct {
	due    atomic.Bool   // there may be something to pay
	begun  chan struct{} // holds a token when a gap began
	stuck  atomic.Int32  // workers whose last try failed
	paying sync.Mutex    // orders the calls to Gaps
}

// startDebts reports whether any pool lets traffic pass. What an earlier process
// owes is due before anything is recorded.
func (r *Recorder) startDebts() bool {
	r.debts.begun = make(chan struct{}, 1)
	r.debts.due.Store(r.opt.Gaps != nil)
	return r.opt.Gaps != nil // a pool that lets traffic pass may come with another policy
}

// Missing returns what each pool let pass, in no order.
func (r *Recorder) Missing() (all []Missing) {
	for pool, g := range r.captured.Load().gaps {
		g.mu.Lock()
		m := g.total
		g.mu.Unlock()
		m.Pool = pool
		all = append(all, m)
	}
	return all
}

// pass queues a job if there is room, and counts it as missing otherwise; it never
// blocks. Of a connection that was interrupted nothing more passes unrecorded.
func (r *recording) pass(j job) error {
	g := r.capture.gap
	if j.chunk != nil && !r.recordsTraffic() {
		r.recorder.release(j.chunk)
		return nil
	}
	g.wait(&j)
	select {
	case r.worker.jobs <- j:
		return nil
	default:
	}
	g.arrive(&j)
	r.recorder.lose(&j)
	if j.chunk != nil {
		r.recorder.release(j.chunk)
	}
	r.stopMu.Lock()
	defer r.stopMu.Unlock()
	if r.stopped {
		return errInterrupted
	}
	return nil
}

// recordsTraffic reports whether any class has a column of this connection's
// messages.
func (r *recording) recordsTraffic() bool {
	for _, c := range r.capture.classes {
		if c.columns != 0 && r.captures(c) {
			return true
		}
	}
	return false
}

// lose counts a job as missing.
func (r *Recorder) lose(j *job) {
	r.debts.due.Store(true)
	if j.recording.capture.gap.lose(j, r.opt.Clock()) {
		select {
		case r.debts.begun <- struct{}{}:
		default:
		}
	}
}

// oweEvery is how much of a gap that goes on a crash can leave uncounted.
const oweEvery = time.Second

// oweOpen owes the gaps that are open as they change, so that they outlive the
// process: at once when one begins, then at each tick.
func (r *Recorder) oweOpen(ctx context.Context) {
	tick := time.NewTicker(oweEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.debts.begun:
		case <-tick.C:
		}
		stuck := r.debts.stuck.Load() > 0
		err := r.owe(func(g *gap, now time.Time) (Gap, bool) {
			said, owed := g.look(now, stuck)
			if said.Open {
				r.debts.due.Store(true) // what is feared ends before anything later is recorded, too
			}
			return said, owed
		})
		if err != nil {
			r.opt.Failed(err)
		}
	}
}

// owe gives Gaps what each pool's gap yields.
func (r *Recorder) owe(yield func(*gap, time.Time) (Gap, bool)) error {
	r.debts.paying.Lock()
	defer r.debts.paying.Unlock()
	return r.oweLocked(yield)
}

func (r *Recorder) oweLocked(yield func(*gap, time.Time) (Gap, bool)) error {
	var errs []error
	for _, g := range r.captured.Load().gaps {
		if said, owed := yield(g, r.opt.Clock()); owed {
			errs = append(errs, r.opt.Gaps.Owe(said))
		}
	}
	return errors.Join(errs...)
}

// settle returns once every gap that began before is in the log, so that what is
// recorded next stands behind it; with an error only when ctx ends.
func (r *Recorder) settle(ctx context.Context) error {
	var stuck stuck
	defer stuck.end(r)
	for wait := firstRetry; r.debts.due.Load(); wait = min(2*wait, lastRetry) {
		err := r.pay(ctx)
		if err == nil {
			break
		}
		stuck.begin(r)
		r.opt.Failed(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	return nil
}

// stuck is a worker that tries again.
type stuck bool

func (s *stuck) begin(r *Recorder) {
	if !*s {
		*s = true
		r.debts.stuck.Add(1)
	}
}

func (s *stuck) end(r *Recorder) {
	if *s {
		r.debts.stuck.Add(-1)
	}
}

// pay pays what is owed first, and ends the gaps that are open only then: while
// nothing can be paid they go on as one.
func (r *Recorder) pay(ctx context.Context) (err error) {
	r.debts.paying.Lock()
	defer r.debts.paying.Unlock()
	r.debts.due.Store(false)
	defer func() {
		if err != nil {
			r.debts.due.Store(true)
		}
	}()
	if err := r.opt.Gaps.Pay(ctx); err != nil {
		return err
	}
	if err := r.oweLocked(ended); err != nil {
		r.opt.Failed(err) // it is kept while the process lives, and paid now
	}
	return r.opt.Gaps.Pay(ctx)
}

func ended(g *gap, _ time.Time) (Gap, bool) { return g.end() }

// oweLast leaves behind, of a recorder whose workers have ended, what they could
// not record and what could not be paid.
func (r *Recorder) oweLast() error { return r.owe(ended) }

// arrived ends the waiting of a batch.
func arrived(batch []job) {
	for i := range batch {
		if g := batch[i].recording.capture.gap; g != nil {
			g.arrive(&batch[i])
		}
	}
}

// skip gives up those of a batch whose pools let traffic pass.
func (w *worker) skip(batch []job) {
	for i := range batch {
		w.miss(&batch[i])
	}
}

// giveUp counts the jobs that were not recorded, of pools that let traffic pass. A
// part of one may stand in the log, if the last answer was lost.
func (w *worker) giveUp(owners []*job) {
	for _, j := range owners {
		w.miss(j)
	}
}

func (w *worker) miss(j *job) {
	if j.recording.capture.gap == nil || j.missed {
		return
	}
	j.missed = true
	w.recorder.lose(j)
}
