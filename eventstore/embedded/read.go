package embedded

import (
	"context"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A read holds at most this much in memory, and nothing of the engine while its
// caller works: it goes on from where it was.
const (
	chunkEvents = 256
	chunkBytes  = 1 << 20
)

// A page is what one look into the store gave.
type page struct {
	events []domain.Recorded
	bytes  int
	limit  int
}

func newPage(limit int) *page {
	if limit <= 0 || limit > chunkEvents {
		limit = chunkEvents
	}
	return &page{limit: limit}
}

func (p *page) full() bool { return len(p.events) >= p.limit || p.bytes >= chunkBytes }

func (p *page) add(e domain.Recorded) {
	if p.events == nil {
		p.events = make([]domain.Recorded, 0, min(p.limit, 64))
	}
	p.events = append(p.events, e)
	p.bytes += e.Size()
}

// pages yields the events of the pages that next returns, until one is not full,
// limit is reached or ctx ends.
func pages(ctx context.Context, limit int, next func(limit int) (*page, error)) iter.Seq2[domain.Recorded, error] {
	return func(yield func(domain.Recorded, error) bool) {
		for left := limit; limit == 0 || left > 0; {
			if ctx.Err() != nil {
				yield(domain.Recorded{}, fmt.Errorf("read: %w", canceled(ctx)))
				return
			}
			p, err := next(left)
			if err != nil {
				yield(domain.Recorded{}, fmt.Errorf("read: %w", err))
				return
			}
			for _, e := range p.events {
				if !yield(e, nil) {
					return
				}
			}
			if !p.full() {
				return
			}
			left -= len(p.events)
		}
	}
}

func fail(err error) iter.Seq2[domain.Recorded, error] {
	return func(yield func(domain.Recorded, error) bool) { yield(domain.Recorded{}, err) }
}

// ReadAll implements eventstore.Reader. Removed events are left out.
func (s *Store) ReadAll(ctx context.Context, from domain.Position, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error] {
	end := s.end()
	place, err := s.placeOf(from, end)
	if err != nil {
		return fail(err)
	}
	low, high := place+1, end // what is still to be read, both included
	if dir == eventstore.Backward {
		low, high = 1, end
		if from != domain.End {
			high = max(place, 1) - 1
		}
	}
	return pages(ctx, limit, func(limit int) (*page, error) {
		p, err := s.logPage(low, high, dir, limit)
		if n := len(p.events); n > 0 && dir == eventstore.Forward {
			low = p.events[n-1].Position.Commit + 1
		} else if n > 0 {
			high = p.events[n-1].Position.Commit - 1
		}
		return p, err
	})
}

// placeOf checks a position that a caller gives. The log has no holes, so every
// one up to the end was an event's.
func (s *Store) placeOf(p domain.Position, end uint64) (uint64, error) {
	switch {
	case p == domain.End:
		return end, nil
	case p.Commit != p.Prepare || p.Commit > end:
		return 0, fmt.Errorf("read from %s, the log ends at %d: %w", p, end, eventstore.ErrPosition)
	}
	return p.Commit, nil
}

// logPage reads one page of the log between two positions, both included.
func (s *Store) logPage(low, high uint64, dir eventstore.Direction, limit int) (*page, error) {
	p := newPage(limit)
	if low > high || high == 0 {
		return p, nil
	}
	return p, s.read(func(r pebble.Reader) (err error) {
		it, err := r.NewIter(&pebble.IterOptions{LowerBound: logKey(low), UpperBound: logKey(high + 1)})
		if err != nil {
			return s.engineError(err)
		}
		defer func() { err = firstOf(err, it.Close()) }()
		for ok := first(it, dir); ok && !p.full(); ok = next(it, dir) {
			e, err := s.logged(r, it)
			if err != nil {
				return err
			}
			p.add(e)
		}
		if err := it.Error(); err != nil {
			return s.engineError(err)
		}
		return nil
	})
}

// logged reads the event under an iterator over the log.
func (s *Store) logged(r pebble.Reader, it *pebble.Iterator) (domain.Recorded, error) {
	position, ok := logKeyPosition(it.Key())
	value := it.Value()
	rec, err := parseRecord(append(make([]byte, 0, len(value)), value...))
	if !ok || err != nil {
		return domain.Recorded{}, damaged(s.dir, fmt.Sprintf("the event under key %x", it.Key()))
	}
	name, err := s.nameOf(r, rec.stream)
	return rec.recorded(name, position), err
}

func first(it *pebble.Iterator, dir eventstore.Direction) bool {
	if dir == eventstore.Backward {
		return it.Last()
	}
	return it.First()
}

func next(it *pebble.Iterator, dir eventstore.Direction) bool {
	if dir == eventstore.Backward {
		return it.Prev()
	}
	return it.Next()
}

// Last implements eventstore.Reader.
func (s *Store) Last(ctx context.Context, stream domain.Stream) (domain.Revision, error) {
	if ctx.Err() != nil {
		return 0, fmt.Errorf("last of %s: %w", stream, canceled(ctx))
	}
	if lacks, err := s.lacks(stream); err != nil {
		return 0, fmt.Errorf("last of %s: %w", stream, err)
	} else if lacks {
		return domain.NoStream, nil
	}
	var h head
	end := s.end()
	err := s.read(func(r pebble.Reader) (err error) {
		h, err = s.loadHead(r, stream, end)
		return err
	})
	if err == nil && h.deleted != 0 {
		err = eventstore.ErrDeleted
	}
	if err != nil {
		return 0, fmt.Errorf("last of %s: %w", stream, err)
	}
	return h.last, nil
}

// lacks reports that a stream has no number. It asks before a snapshot is taken,
// because giving one back makes the engine look for work.
func (s *Store) lacks(stream domain.Stream) (bool, error) {
	s.reading.RLock()
	defer s.reading.RUnlock()
	if s.db == nil {
		return false, errClosed
	}
	n, err := s.numberOf(s.db, stream)
	return n == 0, err
}

// ReadStream implements eventstore.Reader. A negative revision is before the
// first event.
func (s *Store) ReadStream(ctx context.Context, stream domain.Stream, from domain.Revision, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error] {
	c := streamCursor{store: s, stream: stream, low: 0, high: eventstore.LastRevision, dir: dir, end: s.end()}
	if dir == eventstore.Backward {
		c.high = from
	} else {
		c.low = max(from, 0)
	}
	return pages(ctx, limit, c.page)
}

// A streamCursor reads a stream page by page: the revisions from low to high, both
// included, that are not behind position end.
type streamCursor struct {
	store     *Store
	stream    domain.Stream
	low, high domain.Revision
	dir       eventstore.Direction
	end       uint64
}

// page reads the next page and moves behind it.
func (c *streamCursor) page(limit int) (*page, error) {
	p := newPage(limit)
	if c.low > c.high {
		return p, nil
	}
	err := c.store.read(func(r pebble.Reader) error { return c.fill(r, p) })
	if n := len(p.events); n > 0 && c.dir == eventstore.Backward {
		c.high = p.events[n-1].Revision - 1
	} else if n > 0 {
		c.low = p.events[n-1].Revision + 1
	}
	return p, err
}

func (c *streamCursor) fill(r pebble.Reader, p *page) (err error) {
	s := c.store
	n, err := s.numberOf(r, c.stream)
	if err != nil || n == 0 {
		return err
	}
	st, err := s.stateOf(r, n)
	if err != nil {
		return err
	}
	if st.deleted != 0 && st.deleted <= c.end {
		return fmt.Errorf("stream %s: %w", c.stream, eventstore.ErrDeleted)
	}
	low := max(c.low, st.truncated)
	if low > c.high {
		return nil
	}
	return c.walk(r, p, n, low)
}

func (c *streamCursor) walk(r pebble.Reader, p *page, n streamNumber, low domain.Revision) (err error) {
	s := c.store
	bounds := &pebble.IterOptions{LowerBound: indexKey(n, low), UpperBound: indexKey(n+1, 0)}
	if c.high < eventstore.LastRevision {
		bounds.UpperBound = indexKey(n, c.high+1)
	}
	it, err := r.NewIter(bounds)
	if err != nil {
		return s.engineError(err)
	}
	records := &follower{reader: r}
	defer func() { err = firstOf(err, records.close(), it.Close()) }()
	for ok := first(it, c.dir); ok && !p.full(); ok = next(it, c.dir) {
		rev, e, err := s.indexed(it)
		if err != nil {
			return err
		}
		if e.removed || e.position > c.end {
			continue
		}
		v, err := records.value(e.position)
		if err != nil {
			return s.engineError(err)
		}
		rec, err := s.pointed(v, n, rev, e.position)
		if err != nil {
			return err
		}
		p.add(rec.recorded(c.stream, e.position))
	}
	if err := it.Error(); err != nil {
		return s.engineError(err)
	}
	return nil
}

// A follower reads records of the log in the order of a stream. Where a stream has
// the log to itself they follow one another, and a step is cheaper than a look-up.
type follower struct {
	reader pebble.Reader
	it     *pebble.Iterator
	at     uint64 // where the iterator is
	last   uint64 // what was read last
}

// value returns a copy of what lies at a position, nil if there is nothing.
func (f *follower) value(position uint64) ([]byte, error) {
	follows := position == f.last+1
	f.last = position
	if !follows {
		return get(f.reader, logKey(position))
	}
	found, err := f.move(position)
	if err != nil || !found {
		return nil, err
	}
	v, err := f.it.ValueAndErr()
	return append(make([]byte, 0, len(v)), v...), err
}

func (f *follower) move(position uint64) (found bool, err error) {
	if f.it == nil {
		if f.it, err = f.reader.NewIter(&pebble.IterOptions{LowerBound: []byte{kindLog}, UpperBound: []byte{kindLog + 1}}); err != nil {
			return false, err
		}
	}
	if f.at != 0 && f.at+1 == position {
		found = f.it.Next()
	} else {
		found = f.it.SeekGE(logKey(position))
	}
	if !found {
		f.at = 0
		return false, f.it.Error()
	}
	f.at, _ = logKeyPosition(f.it.Key())
	return f.at == position, nil
}

func (f *follower) close() error {
	if f.it == nil {
		return nil
	}
	return f.it.Close()
}
