package embedded

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A group is what is synced at once: the jobs of many callers in one batch. It
// belongs to the sequencer until it is handed to the committer.
type group struct {
	batch *pebble.Batch
	jobs  []*job
	// recent is what the batch adds to the index, which cannot be read yet.
	recent    []placed
	last      uint64 // the last position given, in this group or before
	storeTime int64
	appends   int
}

// placed is an event of the group.
type placed struct {
	stream   streamNumber
	revision domain.Revision
	position uint64
	id       domain.EventID
}

// A group takes no further job beyond these; with one more job it stays well
// below a memtable, which Pebble writes another way.
const (
	maxGroupBytes   = 2 << 20
	maxGroupAppends = 2048
)

func (g *group) full() bool { return g.batch.Len() >= maxGroupBytes || g.appends >= maxGroupAppends }

func (s *Store) newGroup() *group {
	return &group{batch: s.db.NewBatchWithSize(256 << 10), last: s.seq.last, storeTime: s.opt.Clock().UnixMicro()}
}

// place decides everything in j and lays it into the batch.
func (s *Store) place(g *group, j *job) {
	g.jobs = append(g.jobs, j)
	if j.disposal != nil {
		j.disposal.err = s.placeDisposal(g, j.disposal)
		return
	}
	if j.removal != nil {
		j.removal.err = g.batch.Apply(j.removal.batch, nil)
		return
	}
	g.appends += len(j.appends)
	for i, a := range j.appends {
		j.results[i].Appended, j.results[i].Err = s.placeAppend(g, a)
	}
}

// placeAppend decides one append as eventstore.Appender says.
func (s *Store) placeAppend(g *group, a eventstore.Append) (eventstore.Appended, error) {
	h, err := s.head(a.Stream)
	if err != nil {
		return eventstore.Appended{}, err
	}
	repeats, err := h.check(a)
	if err != nil {
		return eventstore.Appended{}, err
	}
	if repeats {
		return s.repetition(g, h, a)
	}
	if err := s.numberStream(g, &h, a.Stream); err != nil {
		return eventstore.Appended{}, err
	}
	for _, e := range a.Events {
		h.last++
		if err := s.placeEvent(g, h, e); err != nil {
			s.guard.freeze(err) // half an append is in the batch: it must not be applied
			return eventstore.Appended{}, err
		}
	}
	s.seq.heads.Add(a.Stream, h)
	return eventstore.Appended{Revision: h.last, Position: at(g.last)}, nil
}

// placeEvent lays one event behind the last position.
func (s *Store) placeEvent(g *group, h head, e domain.Sealed) error {
	g.last++
	op := g.batch.SetDeferred(logKeySize, recordSize(h.number, h.last, e))
	appendLogKey(op.Key[:0], g.last)
	putRecord(op.Value, h.number, h.last, g.storeTime, e)
	if err := op.Finish(); err != nil {
		return s.engineError(err)
	}
	op = g.batch.SetDeferred(indexKeySize, uvarintLen(g.last))
	appendIndexKey(op.Key[:0], h.number, h.last)
	appendEntry(op.Value[:0], g.last)
	if err := op.Finish(); err != nil {
		return s.engineError(err)
	}
	g.recent = append(g.recent, placed{stream: h.number, revision: h.last, position: g.last, id: e.ID()})
	return nil
}

// repetition answers an append whose place is taken: as the first one, if the
// same ids stand there.
func (s *Store) repetition(g *group, h head, a eventstore.Append) (eventstore.Appended, error) {
	var position uint64
	for i, e := range a.Events {
		id, p, err := s.idIn(g, h.number, a.Expected+1+domain.Revision(i))
		if err != nil {
			return eventstore.Appended{}, err
		}
		if id != e.ID() {
			return eventstore.Appended{}, h.wrong(a)
		}
		position = p
	}
	last := a.Expected + domain.Revision(len(a.Events))
	if last < h.truncated {
		position = 0
	}
	return eventstore.Appended{Revision: last, Position: at(position)}, nil
}

// idIn is idAt, with the group's own events.
func (s *Store) idIn(g *group, n streamNumber, rev domain.Revision) (domain.EventID, uint64, error) {
	for i := len(g.recent) - 1; i >= 0; i-- {
		if p := g.recent[i]; p.stream == n && p.revision == rev {
			return p.id, p.position, nil
		}
	}
	snap := s.db.NewSnapshot()
	id, position, err := s.idAt(snap, n, rev)
	return id, position, firstOf(err, snap.Close())
}

// numberStream gives a stream its number when it has none.
func (s *Store) numberStream(g *group, h *head, name domain.Stream) error {
	if h.number != 0 {
		return nil
	}
	h.number = s.seq.nextNumber
	s.seq.nextNumber++
	s.names.Add(h.number, name)
	err := firstOf(
		g.batch.Set(numberKey(name), binary.AppendUvarint(nil, uint64(h.number)), nil),
		g.batch.Set(nameKey(h.number), []byte(name), nil),
	)
	if err != nil {
		return s.engineError(err)
	}
	return nil
}

// placeDisposal decides a truncation or a deletion. The events themselves are
// removed afterwards (remove); the mark under the pending key stands until then.
func (s *Store) placeDisposal(g *group, d *disposal) error {
	h, err := s.head(d.stream)
	if err != nil {
		return err
	}
	d.number = h.number
	if d.delete {
		return s.placeDeletion(g, h, d)
	}
	if h.deleted != 0 {
		return fmt.Errorf("stream %s: %w", d.stream, eventstore.ErrDeleted)
	}
	before := min(d.before, h.last)
	if before <= h.truncated {
		return nil
	}
	from := h.truncated
	h.truncated = before
	return s.placeState(g, h, d.stream, state{truncated: before}, from)
}

func (s *Store) placeDeletion(g *group, h head, d *disposal) error {
	if h.deleted != 0 {
		return nil
	}
	if err := s.numberStream(g, &h, d.stream); err != nil {
		return err
	}
	d.number = h.number
	g.last++
	tombstone := domain.NewSealed(domain.EventID(uuid.New()), d.stream, eventstore.DeletedType, nil, nil)
	value := make([]byte, recordSize(h.number, eventstore.LastRevision, tombstone))
	putRecord(value, h.number, eventstore.LastRevision, g.storeTime, tombstone)
	if err := g.batch.Set(logKey(g.last), value, nil); err != nil {
		return s.engineError(err)
	}
	h = head{number: h.number, last: domain.NoStream, deleted: g.last}
	return s.placeState(g, h, d.stream, state{deleted: g.last}, 0)
}

// placeState lays down what is hidden now, and that events from revision from on
// wait for their removal.
func (s *Store) placeState(g *group, h head, name domain.Stream, st state, from domain.Revision) error {
	err := firstOf(
		g.batch.Set(stateKey(h.number), st.encode(), nil),
		g.batch.Set(pendingKey(h.number), encodePending(from), nil),
	)
	if err != nil {
		return s.engineError(err)
	}
	s.seq.heads.Add(name, h)
	return nil
}
