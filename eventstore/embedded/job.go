package embedded

import (
	"context"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A job is what a caller hands to the sequencer: appends, one disposal, or one
// removal. The caller waits for done and reads the answers only behind it.
type job struct {
	appends []eventstore.Append
	results []eventstore.Result

	disposal *disposal
	removal  *removal

	done chan struct{}

	// mu keeps a caller whose context ends from leaving while the sequencer reads
	// its events.
	mu        sync.Mutex
	taken     bool
	withdrawn bool
}

// A disposal asks for a truncation below before, or for a deletion.
type disposal struct {
	stream domain.Stream
	before domain.Revision
	delete bool

	// The answer.
	number streamNumber
	err    error
}

func newJob(appends []eventstore.Append) *job {
	return &job{appends: appends, results: make([]eventstore.Result, len(appends)), done: make(chan struct{})}
}

// take runs place unless the caller has left.
func (j *job) take(place func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.withdrawn {
		return
	}
	j.taken = true
	place()
}

// withdraw reports whether the job was taken back before the sequencer saw it.
func (j *job) withdraw() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.withdrawn = !j.taken
	return j.withdrawn
}

// fail answers everything in the job with err.
func (j *job) fail(err error) {
	for i := range j.results {
		j.results[i] = eventstore.Result{Err: err}
	}
	if j.disposal != nil {
		j.disposal.err = err
	}
	if j.removal != nil {
		j.removal.err = err
	}
}

// do hands j to the sequencer and waits for its answer.
func (s *Store) do(ctx context.Context, j *job) error {
	if err := s.enqueue(ctx, j); err != nil {
		return err
	}
	return s.wait(ctx, j)
}

// enqueue hands j to the sequencer, waiting for room.
func (s *Store) enqueue(ctx context.Context, j *job) error {
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	s.accepting.RLock()
	defer s.accepting.RUnlock()
	if s.closed {
		return errClosed
	}
	select {
	case s.queue <- j:
		return nil
	case <-ctx.Done():
		return canceled(ctx)
	}
}

// wait returns when j is answered. If ctx ends first, j is taken back; if it is
// too late for that, the outcome is unknown.
func (s *Store) wait(ctx context.Context, j *job) error {
	select {
	case <-j.done:
		return nil
	case <-ctx.Done():
	}
	j.withdraw()
	select {
	case <-j.done:
		return nil
	default:
		return canceled(ctx)
	}
}
