// Package eventstore is the contract of a store: an append-only log of sealed
// events in streams. Two engines keep it, one for a single machine (embedded)
// and EventStoreDB beyond; storetest is the suite that both pass.
//
// Promises of every store:
//
//   - Acknowledged means durable: an Append that returned without error
//     survives SIGKILL and loss of power.
//   - All or none: the events of one append are in the log together or not at
//     all. A reader at the head may see a prefix of an append for a moment, so
//     decisions are made at exact expected revisions only.
//   - Idempotent by event id at the expected revision, exactly as EventStoreDB
//     answers (see Appender).
//   - One order: positions rise over all streams, and every reader and
//     subscriber sees the same order.
package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/lethe-ledger/lethe/domain"
)

// A Store is everything one engine offers. Callers ask for the part they use.
type Store interface {
	Appender
	Reader
	Subscriber
	Disposer
	io.Closer
}

// An Appender stores sealed events.
type Appender interface {
	// Append stores events of one stream, all or none, durably before it
	// returns, if the stream's last revision is expected (domain.NoStream for a
	// stream that never had an event).
	//
	// A repeated append MUST be recognised by the event ids that stand directly
	// behind expected: if they are there, whole or as a prefix of what stands
	// there, it answers as the first one did and writes nothing (truncated
	// events count as being there, a tombstoned stream answers ErrDeleted).
	// Other ids there, or an expected revision that is not the last one,
	// answer *WrongRevision. An append of no event, of events of another stream
	// or of more than domain.MaxAppendBytes is refused before anything is sent.
	//
	// An error that is none of *WrongRevision, ErrDeleted, ErrTooLarge,
	// ErrInvalid, ErrFull leaves the outcome unknown: the caller settles it by
	// the same append with the same ids at the same expected revision.
	Append(ctx context.Context, stream domain.Stream, expected domain.Revision, events []domain.Sealed) (Appended, error)

	// AppendMany does many appends, each as Append would, in any order and
	// independently of one another; it returns one result for each, in order.
	// An append to a stream that stands twice in the list sees the one before.
	AppendMany(ctx context.Context, appends []Append) []Result
}

// An Append is one entry of AppendMany.
type Append struct {
	Stream   domain.Stream
	Expected domain.Revision
	Events   []domain.Sealed
}

// A Result is the answer to one entry of AppendMany.
type Result struct {
	Appended Appended
	Err      error
}

// Appended tells where the last event of an append stands.
type Appended struct {
	Revision domain.Revision
	// Position is domain.Start where the store no longer knows it: an
	// idempotent repetition of events that were truncated since.
	Position domain.Position
}

// A Direction is the order of a read.
type Direction int

// The two directions.
const (
	Forward Direction = iota
	Backward
)

// A Reader reads what is in the log at the time of the call. A read ends at the
// end of the stream or log, after limit events, or with one error; limit 0 is
// no limit. Events whose type begins with $ are delivered as well: a
// $streamDeleted (type DeletedType) stands in the log where a stream was
// deleted for ever; others are skipped by the caller.
type Reader interface {
	// ReadStream reads a stream from revision from, which is included; a backward
	// read from LastRevision begins at the end. A stream that never was, or
	// whose events are all truncated, yields nothing; a deleted one yields
	// ErrDeleted.
	ReadStream(ctx context.Context, stream domain.Stream, from domain.Revision, dir Direction, limit int) iter.Seq2[domain.Recorded, error]
	// ReadAll reads the whole log strictly behind (Forward) or strictly before
	// (Backward) position from. domain.Start and domain.End are its two ends;
	// any other position must be one that an event had.
	ReadAll(ctx context.Context, from domain.Position, dir Direction, limit int) iter.Seq2[domain.Recorded, error]
	// Last answers the revision of the last event of a stream, truncated or not;
	// domain.NoStream if there never was one, ErrDeleted if it was deleted.
	Last(ctx context.Context, stream domain.Stream) (domain.Revision, error)
}

// LastRevision begins a backward read at the end of the stream.
const LastRevision domain.Revision = 1<<63 - 1

// DeletedType is the type of the event that a deletion leaves in the log. Its
// stream is the deleted one and its revision is LastRevision.
const DeletedType domain.EventType = "$streamDeleted"

// A Subscriber delivers what is in the log and then what comes, in order,
// without a gap and without doubles.
type Subscriber interface {
	// SubscribeAll delivers the events strictly behind after, of the whole log.
	SubscribeAll(ctx context.Context, after domain.Position) (Subscription, error)
	// SubscribeStream delivers the events of one stream with a revision above
	// after (domain.NoStream: from the first). The stream need not exist yet.
	SubscribeStream(ctx context.Context, stream domain.Stream, after domain.Revision) (Subscription, error)
}

// A Subscription belongs to the one goroutine that calls Next. A slow reader
// slows nobody else down and costs bounded memory: the subscription reads from
// the log again instead of queueing.
type Subscription interface {
	// Next blocks for the next event. A Delivery without event says that the
	// subscriber has caught up: it has been given everything that was in the log
	// a moment ago. It is said once after the subscription begins and again after
	// each time the subscriber fell behind. Any error ends the subscription.
	Next(ctx context.Context) (Delivery, error)
	// Close ends the subscription; a blocked Next returns. It may be called twice.
	Close() error
}

// A Delivery is an event, or the news of having caught up.
type Delivery struct {
	Event    domain.Recorded
	CaughtUp bool
}

// A Disposer removes ciphertext. Keys are destroyed elsewhere, before.
type Disposer interface {
	// Truncate hides every event of stream with a revision below before, and lets
	// the engine reclaim the space. It is idempotent and never brings anything
	// back: a lower value than an earlier one changes nothing. The store keeps
	// the last event of a stream whatever before says.
	Truncate(ctx context.Context, stream domain.Stream, before domain.Revision) error
	// Delete removes a stream for ever, whether it ever had events or not: every
	// later append to it answers ErrDeleted. A DeletedType event enters the log.
	// It is idempotent.
	Delete(ctx context.Context, stream domain.Stream) error
}

// Sentinels of every store. What is none of these is an unavailability and
// matches domain.ErrUnavailable.
var (
	// ErrDeleted: the stream was deleted for ever.
	ErrDeleted = errors.New("stream is deleted")
	// ErrTooLarge: more than one append or one event may hold.
	ErrTooLarge = errors.New("append is too large")
	// ErrInvalid: an append that no store takes, such as one without events.
	ErrInvalid = errors.New("append is invalid")
	// ErrFull: the store has no room and wrote nothing.
	ErrFull = errors.New("store is full")
	// ErrLocked: another process has the store open.
	ErrLocked = errors.New("store is in use by another process")
	// ErrDamaged: stored bytes are not what was written. Nothing is repaired
	// silently.
	ErrDamaged = errors.New("store is damaged")
	// ErrPosition: no event has or had that position.
	ErrPosition = errors.New("not the position of an event")
)

// WrongRevision says that a stream does not end where the caller expected.
type WrongRevision struct {
	Stream   domain.Stream
	Expected domain.Revision
	// Actual is the last revision of the stream; domain.NoStream if it never was.
	Actual domain.Revision
}

func (e *WrongRevision) Error() string {
	return fmt.Sprintf("stream %s ends at revision %d, expected %d", e.Stream, e.Actual, e.Expected)
}

// Check reports ErrInvalid or ErrTooLarge for an append that no store may take.
// Every engine calls it first, so that limits are alike everywhere.
func Check(stream domain.Stream, expected domain.Revision, events []domain.Sealed) error {
	if stream == "" || expected < domain.NoStream || len(events) == 0 {
		return fmt.Errorf("append of %d events at revision %d: %w", len(events), expected, ErrInvalid)
	}
	total := 0
	for _, e := range events {
		if e.Stream() != stream || e.ID().IsZero() || e.Type() == "" {
			return fmt.Errorf("event %s is not one of stream %s: %w", e.ID(), stream, ErrInvalid)
		}
		if e.Size() > domain.MaxEventBytes {
			return fmt.Errorf("event %s of %d bytes: %w", e.ID(), e.Size(), ErrTooLarge)
		}
		total += e.Size()
	}
	if total > domain.MaxAppendBytes {
		return fmt.Errorf("append of %d bytes: %w", total, ErrTooLarge)
	}
	return nil
}
