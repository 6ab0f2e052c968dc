package embedded

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Truncate implements eventstore.Disposer. When it returned without an error the
// events are removed from the log, too; their ids stay in the index, so that a
// repeated append is still known. Their bytes leave the disk when the engine
// compacts, at the latest by Scavenge. A deleted stream answers ErrDeleted.
func (s *Store) Truncate(ctx context.Context, stream domain.Stream, before domain.Revision) error {
	if err := s.dispose(ctx, &disposal{stream: stream, before: before}); err != nil {
		return fmt.Errorf("truncate %s: %w", stream, err)
	}
	return nil
}

// Delete implements eventstore.Disposer, with the same promise about bytes as
// Truncate. The stream's name and its tombstone stay.
func (s *Store) Delete(ctx context.Context, stream domain.Stream) error {
	if err := s.dispose(ctx, &disposal{stream: stream, delete: true}); err != nil {
		return fmt.Errorf("delete %s: %w", stream, err)
	}
	return nil
}

// dispose hides first and removes then. Called again, or at the next Open, it
// finishes a removal that was interrupted.
func (s *Store) dispose(ctx context.Context, d *disposal) error {
	if d.stream == "" {
		return fmt.Errorf("no stream: %w", eventstore.ErrInvalid)
	}
	s.disposing.Lock()
	defer s.disposing.Unlock()
	var n streamNumber
	err := s.read(func(r pebble.Reader) (err error) {
		n, err = s.numberOf(r, d.stream)
		return err
	})
	if err != nil {
		return err
	}
	// The mark of an earlier removal must be gone before there is a new one.
	if err := s.remove(ctx, n); err != nil {
		return err
	}
	if err := s.do(ctx, &job{disposal: d, done: make(chan struct{})}); err != nil {
		return err
	}
	if d.err != nil {
		return d.err
	}
	// COMMIT POINT: hidden for ever. What follows is finished by whoever comes next.
	return s.remove(ctx, d.number)
}

// resumeRemovals finishes what a process before this one began.
func (s *Store) resumeRemovals() error {
	pending, err := s.pending()
	for _, n := range pending {
		err = firstOf(err, s.remove(context.Background(), n))
	}
	return err
}

func (s *Store) pending() (ns []streamNumber, err error) {
	err = s.read(func(r pebble.Reader) (err error) {
		it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{kindPending}, UpperBound: []byte{kindPending + 1}})
		if err != nil {
			return s.engineError(err)
		}
		defer func() { err = firstOf(err, it.Close()) }()
		for ok := it.First(); ok; ok = it.Next() {
			n, ok := keyNumber(it.Key())
			if !ok {
				return damaged(s.dir, fmt.Sprintf("key %x", it.Key()))
			}
			ns = append(ns, n)
		}
		return it.Error()
	})
	return ns, err
}

// A removal is a chunk of events to be taken away, as a batch that the sequencer
// puts into a group of its own.
type removal struct {
	batch *pebble.Batch
	last  bool
	err   error
}

// removalChunk is how many events one removal takes away.
const removalChunk = 1024

// remove takes away what is hidden of a stream, chunk by chunk, each with the
// mark of how far it came.
func (s *Store) remove(ctx context.Context, n streamNumber) error {
	for n != 0 {
		var m *removal
		err := s.read(func(r pebble.Reader) (err error) {
			m, err = s.nextRemoval(r, n)
			return err
		})
		if err != nil || m == nil {
			return err
		}
		err = s.do(ctx, &job{removal: m, done: make(chan struct{})})
		if err := firstOf(err, m.err); err != nil {
			return err // the batch is left to the collector: the sequencer may still hold it
		}
		if err := m.batch.Close(); err != nil {
			return unavailable(err)
		}
		if m.last {
			return nil
		}
	}
	return nil
}

// nextRemoval prepares the next chunk; nil if nothing of the stream waits.
func (s *Store) nextRemoval(r pebble.Reader, n streamNumber) (*removal, error) {
	v, err := get(r, pendingKey(n))
	if err != nil {
		return nil, s.engineError(err)
	}
	if v == nil {
		return nil, nil
	}
	from, err := parsePending(v)
	if err != nil {
		return nil, damaged(s.dir, fmt.Sprintf("the removal mark of stream %d", n))
	}
	st, err := s.stateOf(r, n)
	if err != nil {
		return nil, err
	}
	c := chunk{store: s, r: r, n: n, from: from, to: st.truncated, deleted: st.deleted != 0, batch: s.db.NewBatch()}
	if c.deleted {
		c.to = eventstore.LastRevision
	}
	if err := c.fill(); err != nil {
		return nil, firstOf(err, c.batch.Close())
	}
	return &removal{batch: c.batch, last: c.done}, nil
}

// A chunk is a removal in the making: events from revision from, below to.
type chunk struct {
	store    *Store
	r        pebble.Reader
	n        streamNumber
	from, to domain.Revision
	deleted  bool
	batch    *pebble.Batch
	next     domain.Revision // where the following chunk begins
	done     bool
}

func (c *chunk) fill() (err error) {
	it, err := c.r.NewIter(&pebble.IterOptions{LowerBound: indexKey(c.n, c.from), UpperBound: indexKey(c.n, c.to)})
	if err != nil {
		return c.store.engineError(err)
	}
	defer func() { err = firstOf(err, it.Close()) }()
	count := 0
	c.next, c.done = c.from, true
	for ok := it.First(); ok; ok = it.Next() {
		if count == removalChunk {
			c.done = false
			break
		}
		if err := c.take(it); err != nil {
			return err
		}
		count++
	}
	if err := it.Error(); err != nil {
		return c.store.engineError(err)
	}
	return c.finish()
}

// take removes one event: its record, and of a truncated one all but the id.
func (c *chunk) take(it *pebble.Iterator) error {
	rev, e, err := c.store.indexed(it)
	if err != nil {
		return err
	}
	c.next = rev + 1
	if e.removed {
		return nil
	}
	if !c.deleted {
		rec, err := c.store.recordAt(c.r, c.n, rev, e.position)
		if err != nil {
			return err
		}
		if err := c.batch.Set(indexKey(c.n, rev), rec.id[:], nil); err != nil {
			return err
		}
	}
	return c.batch.Delete(logKey(e.position), nil)
}

// finish drops the index of a deleted stream and moves the mark, or removes it.
func (c *chunk) finish() error {
	if c.deleted {
		if err := c.batch.DeleteRange(indexKey(c.n, c.from), indexKey(c.n, c.next), nil); err != nil {
			return err
		}
	}
	if c.done {
		return c.batch.Delete(pendingKey(c.n), nil)
	}
	return c.batch.Set(pendingKey(c.n), encodePending(c.next), nil)
}

// Scavenge rewrites the files that hold removed events, so that their bytes leave
// the disk but for recycled files of the write-ahead log. It reads and writes the
// whole store, while appends go on.
func (s *Store) Scavenge(ctx context.Context) error {
	return s.maintain("scavenge", func(db *pebble.DB) error {
		if err := db.Flush(); err != nil {
			return err
		}
		return db.Compact(ctx, []byte{0}, []byte{0xff}, false)
	})
}

// Backup copies the store as of now into dir, which must not exist and should be
// on the same file system, where files are linked and not copied. The copy opens
// as a store.
func (s *Store) Backup(dir string) error {
	return s.maintain("backup", func(db *pebble.DB) error {
		return db.Checkpoint(dir, pebble.WithFlushedWAL())
	})
}

// maintain runs f, which may rotate the write-ahead log beside the sequencer.
func (s *Store) maintain(verb string, f func(db *pebble.DB) error) error {
	s.reading.RLock()
	defer s.reading.RUnlock()
	if s.db == nil {
		return fmt.Errorf("%s: %w", verb, errClosed)
	}
	s.guard.shared.Add(1)
	defer s.guard.shared.Add(-1)
	if err := firstOf(s.guard.failure(), f(s.db)); err != nil {
		return fmt.Errorf("%s: %w", verb, s.engineError(err))
	}
	return nil
}
