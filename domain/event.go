package domain

import (
	"fmt"
	"math"
	"time"
)

// Limits of one event. They keep an append below what every supported store
// takes (1 MiB, EventStoreDB 23.10) and a Merkle entry below its own bound.
const (
	// MaxAppendBytes bounds data, envelope and type of all events of one append.
	MaxAppendBytes = 900_000
	// MaxEventBytes bounds data, envelope and type of one event.
	MaxEventBytes = 512 << 10
)

// A Position is a place in the whole log. It rises from event to event; what
// lies between two positions is not counted. Beyond one machine both halves are
// the server's own; on one machine they are equal.
type Position struct {
	Commit  uint64 `json:"commit"`
	Prepare uint64 `json:"prepare"`
}

// Start is before the first event; End is behind the last one.
var (
	Start = Position{}
	End   = Position{Commit: math.MaxUint64, Prepare: math.MaxUint64}
)

// Before reports whether p lies before q.
func (p Position) Before(q Position) bool {
	if p.Commit != q.Commit {
		return p.Commit < q.Commit
	}
	return p.Prepare < q.Prepare
}

// String prints the commit position, which is what people compare.
func (p Position) String() string { return fmt.Sprintf("%d", p.Commit) }

// A Revision is the place of an event in its stream, from 0. An expected
// revision is exact: either the last one's, or NoStream. "Any" is not offered,
// because with it a retry can be written twice (EventStoreDB, observed R7).
type Revision int64

// NoStream is the expected revision of a stream that has never had an event.
const NoStream Revision = -1

// A Stream is the full name of a stream: lethe.<ledger>.<rest> (FORMAT §2).
type Stream string

// An EventType is a hand-written constant noun.verb.vN.
type EventType string

// Sealed is an event as it is stored: its body is encrypted, or it is a note or
// a document that holds no personal data. It is the only thing a store accepts,
// so an unsealed event cannot be stored. It comes from sealing, from noting or
// from reading back; docs/architecture_test.go lists who may call NewSealed.
// The byte slices are never changed after construction.
type Sealed struct {
	id       EventID
	stream   Stream
	typ      EventType
	envelope []byte
	data     []byte
}

// NewSealed wraps bytes that are already sealed. It takes ownership of envelope
// and data.
func NewSealed(id EventID, stream Stream, typ EventType, envelope, data []byte) Sealed {
	return Sealed{id: id, stream: stream, typ: typ, envelope: envelope, data: data}
}

// ID returns the event's id.
func (s Sealed) ID() EventID { return s.id }

// Stream returns the stream the event is sealed for; it opens in no other.
func (s Sealed) Stream() Stream { return s.stream }

// Type returns the event's type.
func (s Sealed) Type() EventType { return s.typ }

// Envelope returns the clear part as stored. The caller must not change it.
func (s Sealed) Envelope() []byte { return s.envelope }

// Data returns the body as stored. The caller must not change it.
func (s Sealed) Data() []byte { return s.data }

// Size returns what the event counts for towards the limits of an append.
func (s Sealed) Size() int { return len(s.typ) + len(s.envelope) + len(s.data) }

// Recorded is an event as a store gives it back.
type Recorded struct {
	Sealed
	// Revision is the event's place in its stream.
	Revision Revision
	// Position is the event's place in the log.
	Position Position
	// StoreTime is the store's own clock when it took the event; it is finer
	// than the envelope's hour and therefore never copied into a view.
	StoreTime time.Time
}
