package embedded

import (
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// sequenced is what only the sequencer touches once the store is open. It runs
// ahead of what is synced by at most two groups; a store whose sync failed takes
// no more appends, so it never has to go back.
type sequenced struct {
	heads      *simplelru.LRU[domain.Stream, head]
	last       uint64
	nextNumber streamNumber
}

// head returns the end of a stream as the sequencer left it.
func (s *Store) head(name domain.Stream) (head, error) {
	if h, ok := s.seq.heads.Get(name); ok {
		return h, nil
	}
	h, err := s.loadHead(s.db, name, math.MaxUint64)
	if err != nil {
		return head{}, fmt.Errorf("head of %s: %w", name, err)
	}
	if h.number != 0 {
		s.seq.heads.Add(name, h)
	}
	return h, nil
}

// sequence is the sequencer: it ends when the queue is closed and empty, and with
// it the committer. It builds a group for as long as the one before is being
// synced, and at least from one job.
func (s *Store) sequence() {
	defer close(s.commits)
	for {
		j, ok := <-s.queue
		if !ok {
			return
		}
		s.run(j)
	}
}

// run builds one group, beginning with first, and hands it to the committer.
func (s *Store) run(first *job) {
	unhealthy := s.health()
	g := s.newGroup()
	s.admit(g, first, unhealthy)
	queue := s.queue
	for {
		select {
		case <-s.idle:
			s.drain(g, unhealthy)
			s.submit(g)
			return
		case j, ok := <-queue:
			if !ok {
				queue = nil
				continue
			}
			s.admit(g, j, unhealthy)
			if g.full() {
				queue = nil
			}
		}
	}
}

// drain takes what stands in the queue now.
func (s *Store) drain(g *group, unhealthy error) {
	for !g.full() {
		select {
		case j, ok := <-s.queue:
			if !ok {
				return
			}
			s.admit(g, j, unhealthy)
		default:
			return
		}
	}
}

// admit places a job in the group. An unhealthy store still disposes, because
// that is what makes room, unless it is frozen.
func (s *Store) admit(g *group, j *job, unhealthy error) {
	j.take(func() {
		if unhealthy != nil && len(j.appends) > 0 {
			j.fail(unhealthy)
			g.jobs = append(g.jobs, j)
			return
		}
		s.place(g, j)
	})
}

// submit applies the group's batch, which makes Pebble begin to write it, and
// leaves the waiting to the committer. The one before it is synced: from here at
// most this group is not.
func (s *Store) submit(g *group) {
	s.seq.last = g.last
	if err := s.guard.failure(); err != nil {
		s.reject(g, s.failed(err))
		s.idle <- struct{}{}
		return
	}
	if !g.batch.Empty() {
		if err := s.db.ApplyNoSyncWait(g.batch, pebble.Sync); err != nil {
			s.guard.freeze(err)
		}
	}
	s.commits <- g
}

// reject answers every job of a group that was not applied.
func (s *Store) reject(g *group, err error) {
	for _, j := range g.jobs {
		j.fail(err)
		close(j.done)
	}
	if err := g.batch.Close(); err != nil {
		s.opt.Logf("store: close a batch: %v", err)
	}
}

// commit is the committer: it waits for each group's sync, publishes its last
// position and answers its callers.
func (s *Store) commit() {
	defer close(s.stopped)
	for g := range s.commits {
		err := s.settle(g)
		if err == nil {
			s.publish(g.last)
		}
		s.idle <- struct{}{}
		if err != nil {
			for _, j := range g.jobs {
				j.fail(err)
			}
		}
		for _, j := range g.jobs {
			close(j.done)
		}
		if s.trouble.flushed.Swap(false) {
			s.noteMark()
		}
	}
}

// settle waits for the group's sync. COMMIT POINT: behind it, without an error,
// the group's events are durable.
func (s *Store) settle(g *group) error {
	if g.batch.Empty() {
		return g.batch.Close()
	}
	err := g.batch.SyncWait()
	failure := s.guard.failure()
	if err == nil && failure == nil {
		return g.batch.Close()
	}
	if failure == nil {
		s.guard.freeze(err)
		failure = err
	}
	return s.lost(failure)
}

// lost is the answer to the group whose sync failed. On a full disk the group is
// taken out of the log again, so that ErrFull is true after the next Open, too;
// where that cannot be done, and at any other error, the outcome is unknown.
func (s *Store) lost(failure error) error {
	if !isFull(failure) || !s.guard.groupUnwritten() {
		return fmt.Errorf("sync of the log: %w", unavailable(failure))
	}
	if err := s.guard.discardTail(); err != nil {
		return fmt.Errorf("sync of the log: %w", unavailable(firstOf(err, failure)))
	}
	return fmt.Errorf("sync of the log: %w: %w", eventstore.ErrFull, failure)
}
