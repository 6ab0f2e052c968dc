package outbox

import (
	"encoding/binary"
	"errors"

	"github.com/lethe-ledger/lethe/domain"
)

// pageType is the type of an event that is a page of the book. It never leaves
// the local store. Its data is entries, one behind the other; numbers are
// uvarints, revisions one more than they are:
//
//	'S' stream number, next event number, acknowledged revision, length, name
//	'I' stream number, last event number, expected revision
//	'A' stream number, acknowledged revision, n, n × (first event number, how many)
//	'O' debt, 16 bytes, from, to, connections, bytes, length, pool
//	'P' debt, 16 bytes
//	'F'
//
// S states a stream. I fixes the append of everything pending of a stream up to an
// event before it is first sent. A takes events away, because they stand in the
// log or were dropped, and ends the append that was fixed. O owes a gap, P pays it.
// F forgets every acknowledged and every expected revision before it.
const pageType domain.EventType = "outbox.page.v1"

// The kinds of entries.
const (
	entryState  = 'S'
	entryIntent = 'I'
	entryAway   = 'A'
	entryOwed   = 'O'
	entryPaid   = 'P'
	entryForgot = 'F'
)

var errPage = errors.New("malformed page of the outbox")

// An entry is any of the entries; only the fields of its kind are set.
type entry struct {
	kind     byte
	lane     uint64
	name     domain.Stream
	next     uint64 // or the last event number
	revision domain.Revision
	runs     []run
	debt     Debt
}

// A run is events of one stream whose numbers follow one another.
type run struct{ first, count uint64 }

func appendRevision(b []byte, r domain.Revision) []byte {
	return binary.AppendUvarint(b, uint64(r+1)) //nolint:gosec // revisions begin at -1
}

func (e entry) append(b []byte) []byte {
	b = append(b, e.kind)
	switch e.kind {
	case entryState:
		b = appendRevision(appendNumbers(b, e.lane, e.next), e.revision)
		b = append(binary.AppendUvarint(b, uint64(len(e.name))), e.name...)
	case entryIntent:
		b = appendRevision(appendNumbers(b, e.lane, e.next), e.revision)
	case entryAway:
		b = appendRevision(binary.AppendUvarint(b, e.lane), e.revision)
		b = binary.AppendUvarint(b, uint64(len(e.runs)))
		for _, r := range e.runs {
			b = appendNumbers(b, r.first, r.count)
		}
	case entryOwed:
		b = e.debt.append(b)
	case entryPaid:
		b = append(b, e.debt.ID[:]...)
	}
	return b
}

func appendNumbers(b []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// readPage yields the entries of a page.
func readPage(page []byte, each func(entry)) error {
	d := decoder{rest: page}
	for len(d.rest) > 0 {
		e := d.entry()
		if d.bad {
			return errPage
		}
		each(e)
	}
	return nil
}

// A decoder takes parts from the front of rest; after the first part that is not
// there it is bad and gives zeros.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) entry() entry {
	e := entry{kind: d.fixed(1)[0]}
	switch e.kind {
	case entryState:
		e.lane, e.next, e.revision = d.number(), d.number(), d.revision()
		e.name = domain.Stream(d.bytes())
	case entryIntent:
		e.lane, e.next, e.revision = d.number(), d.number(), d.revision()
	case entryAway:
		e.lane, e.revision = d.number(), d.revision()
		for n := d.number(); n > 0 && !d.bad; n-- {
			e.runs = append(e.runs, run{first: d.number(), count: d.number()})
		}
	case entryOwed:
		e.debt = d.debt()
	case entryPaid:
		copy(e.debt.ID[:], d.fixed(16))
	case entryForgot:
	default:
		d.fail()
	}
	return e
}

func (d *decoder) fail() { d.bad, d.rest = true, nil }

func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// revision reads a revision; what is beyond every store's is malformed.
func (d *decoder) revision() domain.Revision {
	v := d.number()
	if v > 1<<62 {
		d.fail()
	}
	return domain.Revision(v) - 1 //nolint:gosec // bounded above
}

func (d *decoder) fixed(n int) []byte {
	if len(d.rest) < n {
		d.fail()
		return make([]byte, n)
	}
	part := d.rest[:n:n]
	d.rest = d.rest[n:]
	return part
}

func (d *decoder) bytes() []byte {
	n := d.number()
	if n > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	return d.fixed(int(n)) //nolint:gosec // bounded by rest
}

// wrap makes an event of a segment from one of a stream: the same but for two
// numbers in front of its data.
func wrap(segment domain.Stream, lane, seq uint64, e domain.Sealed) domain.Sealed {
	data := make([]byte, 0, len(e.Data())+2*binary.MaxVarintLen64)
	data = append(appendNumbers(data, lane, seq), e.Data()...)
	return domain.NewSealed(e.ID(), segment, e.Type(), e.Envelope(), data)
}

// unwrap reads the numbers that wrap wrote; size is that of the event inside.
func unwrap(e domain.Sealed) (lane, seq uint64, data []byte, err error) {
	d := decoder{rest: e.Data()}
	lane, seq = d.number(), d.number()
	if d.bad {
		return 0, 0, nil, errPage
	}
	return lane, seq, d.rest, nil
}
