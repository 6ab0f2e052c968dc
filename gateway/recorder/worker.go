package recorder

import (
	"context"
	"errors"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// A job is what a connection hands over: a chunk of message metadata, or the
// drafts of its life.
type job struct {
	recording *recording
	chunk     *chunk
	index     uint32 // of the chunk's first event
	drafts    []domain.Draft

	at              time.Time // of the first thing in it
	messages, bytes int64     // of the chunk
	missed          bool      // counted as missing by the worker that gave it up
}

// A worker seals and appends the jobs of its queue in order. All jobs of a
// person come to the same worker, so their streams keep their order.
type worker struct {
	recorder *Recorder
	jobs     chan job

	// The drafts under way, and whose they are; kept for the next batch.
	drafts []domain.Draft
	owners []*job
}

// maxBatch bounds the jobs that are appended together.
const maxBatch = 512

// Waits between tries while the ledger does not take a batch.
const (
	firstRetry = 20 * time.Millisecond
	lastRetry  = time.Second
)

func (w *worker) run(ctx context.Context) {
	batch := make([]job, 0, maxBatch)
	for first := range w.jobs {
		batch = w.fill(append(batch[:0], first))
		if w.recorder.settle(ctx) != nil {
			w.skip(batch) // nothing of a pool is recorded before its gaps
		}
		w.record(ctx, batch)
		clear(batch)
	}
}

// fill takes what waits without waiting for more.
func (w *worker) fill(batch []job) []job {
	for len(batch) < maxBatch {
		select {
		case j, open := <-w.jobs:
			if !open {
				return batch
			}
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// record appends a batch; it returns only when each event is durable, or was
// discarded with its person, or the recorder was told to give up.
func (w *worker) record(ctx context.Context, batch []job) {
	defer arrived(batch)
	drafts, owners := w.drafts[:0], w.owners[:0]
	for i := range batch {
		j := &batch[i]
		if !j.missed {
			drafts = j.appendTo(drafts)
		}
		for len(owners) < len(drafts) {
			owners = append(owners, j)
		}
		if j.chunk != nil {
			w.recorder.release(j.chunk)
		}
	}
	w.drafts, w.owners = drafts, owners
	defer clear(w.drafts) // what is in clear does not wait for the next batch
	defer clear(w.owners)
	var stuck stuck
	defer stuck.end(w.recorder)
	for wait := firstRetry; len(drafts) > 0; wait = min(2*wait, lastRetry) {
		drafts, owners = w.try(ctx, drafts, owners)
		if len(drafts) == 0 {
			return
		}
		stuck.begin(w.recorder)
		w.recorder.counts.Retries.Add(1)
		select {
		case <-ctx.Done():
			w.giveUp(owners)
			return
		case <-time.After(wait):
		}
	}
}

// try returns what has to be tried again.
func (w *worker) try(ctx context.Context, drafts []domain.Draft, owners []*job) (again []domain.Draft, of []*job) {
	counts := &w.recorder.counts
	for i, err := range w.recorder.opt.Ledger.Record(ctx, drafts) {
		n := uint64(messages(drafts[i]))
		switch {
		case err == nil:
			counts.Recorded.Add(n)
		case errors.Is(err, domain.ErrErased):
			counts.Discarded.Add(n)
			owners[i].recording.sever()
		case errors.Is(err, domain.ErrFenced):
			counts.Discarded.Add(n)
		case !w.recorder.records(drafts[i].Class):
			counts.Discarded.Add(n) // a policy left the class out
		default:
			w.recorder.opt.Failed(err)
			again, of = append(again, drafts[i]), append(of, owners[i])
		}
	}
	return again, of
}

func messages(d domain.Draft) uint32 {
	if d.Type != domain.TrafficRecorded {
		return 0
	}
	return d.N
}

// appendTo drafts the events of a job: of a chunk, one for each class that
// declares a column.
func (j *job) appendTo(drafts []domain.Draft) []domain.Draft {
	if j.chunk == nil {
		return append(drafts, j.drafts...)
	}
	r := j.recording
	at := time.UnixMicro(j.chunk.columns.Base()).UTC()
	for i, c := range r.capture.classes {
		if c.columns == 0 || !r.captures(c) {
			continue
		}
		d := r.draftAt(j.index+uint32(i), domain.TrafficRecorded, at, c) //nolint:gosec // a handful of classes
		d.N = uint32(j.chunk.columns.Len())                              //nolint:gosec // bounded by the flush rule
		d.Payload = j.chunk.columns.Encode(make([]byte, 0, j.chunk.columns.EncodedSize()), c.columns)
		drafts = append(drafts, d)
	}
	return drafts
}
