package embedded

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// A record is the value under a log key:
//
//	uvarint stream ‖ uvarint revision ‖ u64 store time, Unix µs ‖ id, 16 bytes
//	‖ uvarint length ‖ type ‖ uvarint length ‖ envelope ‖ data
//
// Every number has its shortest form, so a record has one encoding.
type record struct {
	stream    streamNumber
	revision  domain.Revision
	storeTime int64
	id        domain.EventID
	typ       []byte
	envelope  []byte
	data      []byte
}

var errRecord = errors.New("malformed record")

// recordSize is the exact length of the record that putRecord writes.
func recordSize(n streamNumber, r domain.Revision, e domain.Sealed) int {
	typ, env := len(e.Type()), len(e.Envelope())
	return uvarintLen(uint64(n)) + uvarintLen(uint64(r)) + 8 + len(domain.EventID{}) + //nolint:gosec // not negative
		uvarintLen(uint64(typ)) + typ + uvarintLen(uint64(env)) + env + len(e.Data())
}

// putRecord fills b, which is recordSize long.
func putRecord(b []byte, n streamNumber, r domain.Revision, storeTime int64, e domain.Sealed) {
	id := e.ID()
	b = b[:0]
	b = binary.AppendUvarint(b, uint64(n))
	b = binary.AppendUvarint(b, uint64(r))                  //nolint:gosec // not negative
	b = binary.BigEndian.AppendUint64(b, uint64(storeTime)) //nolint:gosec // two's complement there and back
	b = append(b, id[:]...)
	b = binary.AppendUvarint(b, uint64(len(e.Type())))
	b = append(b, e.Type()...)
	b = binary.AppendUvarint(b, uint64(len(e.Envelope())))
	b = append(b, e.Envelope()...)
	_ = append(b, e.Data()...)
}

// parseRecord reads a record; its slices are parts of b.
func parseRecord(b []byte) (record, error) {
	var r record
	d := decoder{rest: b}
	r.stream = streamNumber(d.uvarint())
	revision := d.uvarint()
	r.revision = domain.Revision(revision)                   //nolint:gosec // checked below
	r.storeTime = int64(binary.BigEndian.Uint64(d.fixed(8))) //nolint:gosec // as putRecord
	copy(r.id[:], d.fixed(len(r.id)))
	r.typ = d.bytes()
	r.envelope = d.bytes()
	r.data = d.rest
	if d.bad || r.stream == 0 || r.revision < 0 {
		return record{}, errRecord
	}
	return r, nil
}

// knownTypes spare readers a copy of the type of each event.
var knownTypes = func() map[string]domain.EventType {
	m := map[string]domain.EventType{}
	for _, t := range domain.Events.Types() {
		m[string(t)] = t
	}
	return m
}()

func (r record) eventType() domain.EventType {
	if t, ok := knownTypes[string(r.typ)]; ok {
		return t
	}
	return domain.EventType(r.typ)
}

// recorded turns a record into what readers get; it keeps the record's bytes.
func (r record) recorded(stream domain.Stream, position uint64) domain.Recorded {
	return domain.Recorded{
		Sealed:    domain.NewSealed(r.id, stream, r.eventType(), r.envelope, r.data),
		Revision:  r.revision,
		Position:  at(position),
		StoreTime: time.UnixMicro(r.storeTime).UTC(),
	}
}

func at(position uint64) domain.Position {
	return domain.Position{Commit: position, Prepare: position}
}

// An entry is the value under an index key: a uvarint position, or the 16 bytes
// of the id of an event that was removed. A uvarint is never that long.
type entry struct {
	position uint64
	removed  bool
	id       domain.EventID
}

var errEntry = errors.New("malformed index entry")

func appendEntry(b []byte, position uint64) []byte { return binary.AppendUvarint(b, position) }

func parseEntry(b []byte) (entry, error) {
	if len(b) == len(domain.EventID{}) {
		return entry{removed: true, id: domain.EventID(b)}, nil
	}
	d := decoder{rest: b}
	e := entry{position: d.uvarint()}
	if d.bad || len(d.rest) > 0 || e.position == 0 {
		return entry{}, errEntry
	}
	return e, nil
}

// A state is the value under a state key: 't' and the revision below which the
// stream is truncated, or 'd' and the position of its deletion.
type state struct {
	truncated domain.Revision
	deleted   uint64
}

var errState = errors.New("malformed stream state")

func (s state) encode() []byte {
	if s.deleted != 0 {
		return binary.AppendUvarint([]byte{'d'}, s.deleted)
	}
	return binary.AppendUvarint([]byte{'t'}, uint64(s.truncated)) //nolint:gosec // not negative
}

func parseState(b []byte) (state, error) {
	if len(b) == 0 {
		return state{}, errState
	}
	d := decoder{rest: b[1:]}
	v := d.uvarint()
	switch {
	case d.bad || len(d.rest) > 0 || v == 0 || v > 1<<62:
		return state{}, errState
	case b[0] == 'd':
		return state{deleted: v}, nil
	case b[0] == 't':
		return state{truncated: domain.Revision(v)}, nil
	}
	return state{}, errState
}

// The value under a pending key is the revision from which events wait for their
// removal.
func encodePending(from domain.Revision) []byte {
	return binary.AppendUvarint(nil, uint64(from)) //nolint:gosec // not negative
}

func parsePending(b []byte) (domain.Revision, error) {
	d := decoder{rest: b}
	v := d.uvarint()
	if d.bad || len(d.rest) > 0 || v > 1<<62 {
		return 0, errState
	}
	return domain.Revision(v), nil
}

// A decoder takes parts from the front of rest; after the first part that is not
// there it is bad and gives zeros.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || n != uvarintLen(v) {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) fixed(n int) []byte {
	if len(d.rest) < n {
		d.bad, d.rest = true, nil
		return make([]byte, n)
	}
	part := d.rest[:n:n]
	d.rest = d.rest[n:]
	return part
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.bad, d.rest = true, nil
		return nil
	}
	return d.fixed(int(n)) //nolint:gosec // bounded by rest
}

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
