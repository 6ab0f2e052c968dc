package embedded

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A head is where a stream ends and what of it is left.
type head struct {
	number    streamNumber // 0: the stream has no number yet
	last      domain.Revision
	truncated domain.Revision // events below are hidden
	deleted   uint64          // the position of the deletion, or 0
}

// get returns a copy of the value under key; nil if there is none.
func get(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return append(make([]byte, 0, len(v)), v...), closer.Close()
}

// numberOf returns the number of a stream, 0 if it has none. For most absent
// streams the bloom filters answer.
func (s *Store) numberOf(r pebble.Reader, name domain.Stream) (streamNumber, error) {
	v, err := get(r, numberKey(name))
	if err != nil {
		return 0, s.engineError(err)
	}
	if v == nil {
		return 0, nil
	}
	d := decoder{rest: v}
	n := streamNumber(d.uvarint())
	if d.bad || n == 0 {
		return 0, damaged(s.dir, "the number of stream "+string(name))
	}
	return n, nil
}

// nameOf returns the name of a stream that an event names.
func (s *Store) nameOf(r pebble.Reader, n streamNumber) (domain.Stream, error) {
	if name, ok := s.names.Get(n); ok {
		return name, nil
	}
	v, err := get(r, nameKey(n))
	if err != nil {
		return "", s.engineError(err)
	}
	if v == nil {
		return "", damaged(s.dir, fmt.Sprintf("the name of stream %d", n))
	}
	s.names.Add(n, domain.Stream(v))
	return domain.Stream(v), nil
}

// stateOf returns what was truncated or deleted of a stream.
func (s *Store) stateOf(r pebble.Reader, n streamNumber) (state, error) {
	v, err := get(r, stateKey(n))
	if err != nil {
		return state{}, s.engineError(err)
	}
	if v == nil {
		return state{}, nil
	}
	st, err := parseState(v)
	if err != nil {
		return state{}, damaged(s.dir, fmt.Sprintf("the state of stream %d", n))
	}
	return st, nil
}

// loadHead reads the head of a stream from r, as of position until.
func (s *Store) loadHead(r pebble.Reader, name domain.Stream, until uint64) (head, error) {
	absent := head{last: domain.NoStream}
	n, err := s.numberOf(r, name)
	if err != nil || n == 0 {
		return absent, err
	}
	st, err := s.stateOf(r, n)
	if err != nil {
		return absent, err
	}
	h := head{number: n, last: domain.NoStream, truncated: st.truncated}
	if st.deleted != 0 && st.deleted <= until {
		h.deleted = st.deleted
		return h, nil
	}
	h.last, err = s.lastRevision(r, n, until)
	return h, err
}

// lastRevision returns the revision of the last event of a stream that is not
// behind position until. Only the batch that is being synced lies behind it.
func (s *Store) lastRevision(r pebble.Reader, n streamNumber, until uint64) (last domain.Revision, err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: indexKey(n, 0), UpperBound: indexKey(n+1, 0)})
	if err != nil {
		return 0, s.engineError(err)
	}
	defer func() { err = firstOf(err, it.Close()) }()
	for ok := it.Last(); ok; ok = it.Prev() {
		rev, e, err := s.indexed(it)
		if err != nil {
			return 0, err
		}
		if e.removed || e.position <= until {
			return rev, nil
		}
	}
	if err := it.Error(); err != nil {
		return 0, s.engineError(err)
	}
	return domain.NoStream, nil
}

// indexed reads the index entry under an iterator.
func (s *Store) indexed(it *pebble.Iterator) (domain.Revision, entry, error) {
	rev, ok := indexKeyRevision(it.Key())
	e, err := parseEntry(it.Value())
	if !ok || err != nil {
		return 0, entry{}, damaged(s.dir, fmt.Sprintf("index entry %x", it.Key()))
	}
	return rev, e, nil
}

// idAt returns the id that stands, or stood before it was truncated, at a
// revision of a stream, and its position, 0 where the event is gone. A stream has
// no holes, so a missing entry is damage.
func (s *Store) idAt(r pebble.Reader, n streamNumber, rev domain.Revision) (domain.EventID, uint64, error) {
	v, err := get(r, indexKey(n, rev))
	if err != nil {
		return domain.EventID{}, 0, s.engineError(err)
	}
	e, err := parseEntry(v)
	if err != nil {
		return domain.EventID{}, 0, damaged(s.dir, fmt.Sprintf("the index of stream %d at %d", n, rev))
	}
	if e.removed {
		return e.id, 0, nil
	}
	rec, err := s.recordAt(r, n, rev, e.position)
	return rec.id, e.position, err
}

// recordAt returns a copy of the record to which an index entry points.
func (s *Store) recordAt(r pebble.Reader, n streamNumber, rev domain.Revision, position uint64) (record, error) {
	v, err := get(r, logKey(position))
	if err != nil {
		return record{}, s.engineError(err)
	}
	return s.pointed(v, n, rev, position)
}

// pointed reads the record to which an index entry points.
func (s *Store) pointed(v []byte, n streamNumber, rev domain.Revision, position uint64) (record, error) {
	rec, err := parseRecord(v)
	if err != nil || rec.stream != n || rec.revision != rev {
		return record{}, damaged(s.dir, fmt.Sprintf("the event at position %d", position))
	}
	return rec, nil
}

// check reports why an append cannot follow h; nil and false if it can, true if
// it ends inside the stream and so may be a repetition.
func (h head) check(a eventstore.Append) (repeats bool, err error) {
	if h.deleted != 0 {
		return false, fmt.Errorf("stream %s: %w", a.Stream, eventstore.ErrDeleted)
	}
	if a.Expected > h.last || (a.Expected < h.last && a.Expected+domain.Revision(len(a.Events)) > h.last) {
		return false, h.wrong(a)
	}
	return a.Expected < h.last, nil
}

func (h head) wrong(a eventstore.Append) error {
	return &eventstore.WrongRevision{Stream: a.Stream, Expected: a.Expected, Actual: h.last}
}
