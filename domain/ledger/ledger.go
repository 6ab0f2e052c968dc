package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/keys"
)

// A Log stores sealed events and reads them back. Its methods keep the promises
// of the same methods of eventstore.Store.
type Log interface {
	Append(ctx context.Context, stream domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error)
	AppendMany(ctx context.Context, appends []eventstore.Append) []eventstore.Result
	ReadStream(ctx context.Context, stream domain.Stream, from domain.Revision, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error]
	Last(ctx context.Context, stream domain.Stream) (domain.Revision, error)
}

// Custody is the part of the custodian that the ledger uses beside the ring: a
// person's gens, the due dates, and documents for what is in progress.
type Custody interface {
	keys.Documents
	EachRetention(ctx context.Context, each func(keys.RetentionRecord) bool) error
	Bundle(ctx context.Context, ref domain.SubjectRef) (keys.Subject, *seal.Bundle, error)
	Subjects(ctx context.Context, each func(keys.Subject) bool) error
	EachBlock(ctx context.Context, each func(id domain.BlockID, issued time.Time) bool) error
	Block(ctx context.Context, id domain.BlockID) (*seal.Block, error)
}

// A Config is what a ledger stands on. All fields are required, but for Sever and
// Many.
type Config struct {
	ID      domain.LedgerID
	Log     Log
	Ring    *keys.Ring
	Custody Custody
	Policy  *PolicyLog
	Journal *Journal
	// Clock tells the time; the ledger reads no other.
	Clock func() time.Time
	// Sever closes the live connections of a person; it does not wait for them.
	Sever func(domain.SubjectRef)
	// Many is set where other processes open what stands in the log, too.
	Many *Many
}

// Many is what several processes on one log owe each other.
type Many struct {
	// Lease is what this process opens under; nil in one that never opens.
	Lease *Lease
	Pause func(ctx context.Context, d time.Duration) error
	// StoreTime compares the clock with the log's; nil in one that neither notes
	// the time nor destroys by it.
	StoreTime *StoreTime
}

// A Ledger carries out the use cases. It is safe for concurrent use.
type Ledger struct {
	Config
	streams domain.Streams
	heads   *lru.Cache[domain.Stream, domain.Revision]
	slots   [1024]sync.Mutex // one append at a time for each stream
	doubts  doubts
	moment  atomic.Pointer[moment]
	counts  Counts
	self    domain.WriterID // of this process, for turns

	destroying sync.Mutex // one destruction at a time in this process
}

// Counts are what a ledger did since it was opened.
type Counts struct {
	Events    atomic.Uint64 // appended
	Records   atomic.Uint64 // in them
	Late      atomic.Uint64 // records whose bucket was past due, kept without a body
	Discarded atomic.Uint64 // records of fenced persons
}

// headsKept bounds the cache of stream heads; a miss asks the log.
const headsKept = 1 << 16

// New returns a ledger over its parts.
func New(c Config) (*Ledger, error) {
	heads, err := lru.New[domain.Stream, domain.Revision](headsKept)
	if err != nil {
		return nil, errors.Join(errors.New("making the cache of stream heads"), err)
	}
	if c.Sever == nil {
		c.Sever = func(domain.SubjectRef) {}
	}
	return &Ledger{Config: c, streams: domain.StreamsOf(c.ID), heads: heads, doubts: doubts{at: map[domain.Stream]domain.Revision{}}, self: domain.New[domain.WriterID]()}, nil
}

// Counts returns the ledger's counters; they are live.
func (l *Ledger) Counts() *Counts { return &l.counts }

// Streams returns the names of the ledger's streams.
func (l *Ledger) Streams() domain.Streams { return l.streams }

// Verify reports whether an event's bytes are those that were written here.
func (l *Ledger) Verify(r domain.Recorded) error { return l.Ring.Integrity().Verify(r.Sealed) }

// envelopeOf verifies an event and reads its envelope.
func (l *Ledger) envelopeOf(r domain.Recorded) (domain.Envelope, error) {
	spec, err := domain.Events.Spec(r.Type())
	if err != nil {
		return domain.Envelope{}, fmt.Errorf("event %s: %w", r.ID(), err)
	}
	if err := l.Verify(r); err != nil {
		return domain.Envelope{}, fmt.Errorf("event %s: %w", r.ID(), err)
	}
	return domain.DecodeEnvelope(spec, r.Envelope())
}

// integrity is the handle that seals and tags.
func (l *Ledger) integrity() seal.Integrity { return l.Ring.Integrity() }
