package lethe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/projections/tlog"
)

// Bounds of a transfer.
const (
	transferEvents = 256     // of one append
	transferSeen   = 1 << 16 // streams of which it is known that they were seen
	tellTransfer   = 512     // events between two words about progress
)

// A transfer copies one log into another, in the order of the log. An append is
// sent when the one before it is acknowledged: that makes the order. It belongs to
// one goroutine.
type transfer struct {
	from    eventstore.Reader
	to      eventstore.Store
	streams domain.Streams
	leaves  *tlog.Log
	tell    api.Progress
	end     int64 // of the log to copy

	seen *lru.Cache[domain.Stream, struct{}]
	// pending are events of one stream, to stand behind revision expected. With cut
	// they are its first, and everything below cut was truncated.
	pending  []domain.Sealed
	bytes    int
	expected domain.Revision
	cut      domain.Revision

	// place is where the last event that has a leaf entry stands in the new log; nil
	// if the entries are there already, or there are none.
	place *domain.Recorded
	done  Migration
}

func newTransfer(from eventstore.Reader, to eventstore.Store, id domain.LedgerID, leaves *tlog.Log, p api.Progress) (*transfer, error) {
	seen, err := lru.New[domain.Stream, struct{}](transferSeen)
	if err != nil {
		return nil, fmt.Errorf("making the cache of streams: %w", err)
	}
	if p == nil {
		p = func(int64, int64) {}
	}
	return &transfer{from: from, to: to, streams: domain.StreamsOf(id), leaves: leaves, tell: p, seen: seen}, nil
}

func (t *transfer) run(ctx context.Context) error {
	for r, err := range t.from.ReadAll(ctx, domain.End, eventstore.Backward, 1) {
		if err != nil {
			return fmt.Errorf("reading the end of the log: %w", err)
		}
		t.end = int64(r.Position.Commit) //nolint:gosec // a count of events
	}
	if err := t.copy(ctx); err != nil {
		return err
	}
	return t.verify(ctx)
}

// kept leaves out what holds nothing: fillers, and the store's own events but for
// the tombstones of streams.
func kept(all iter.Seq2[domain.Recorded, error]) iter.Seq2[domain.Recorded, error] {
	return func(yield func(domain.Recorded, error) bool) {
		for r, err := range all {
			if err == nil && !r.Type().Ours() && r.Type() != eventstore.DeletedType {
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// copy goes over both logs side by side while the new one holds something, and
// appends from there on.
func (t *transfer) copy(ctx context.Context) error {
	next, stop := iter.Pull2(kept(t.to.ReadAll(ctx, domain.Start, eventstore.Forward, 0)))
	defer stop()
	for e, err := range kept(t.from.ReadAll(ctx, domain.Start, eventstore.Forward, 0)) {
		if err != nil {
			return fmt.Errorf("reading the log to copy: %w", err)
		}
		there, err, more := next()
		if more && err != nil {
			return fmt.Errorf("reading the log to copy to: %w", err)
		}
		if more && !alike(e, there) {
			return t.other(there.Stream())
		}
		if err := t.take(ctx, e, more); err != nil {
			return err
		}
	}
	there, err, more := next()
	switch {
	case err != nil:
		return fmt.Errorf("reading the log to copy to: %w", err)
	case more:
		return t.other(there.Stream())
	}
	return t.flush(ctx)
}

// alike reports whether two logs say the same at one place. The id of a tombstone
// is the store's own.
func alike(a, b domain.Recorded) bool {
	if a.Type() == eventstore.DeletedType || b.Type() == eventstore.DeletedType {
		return a.Type() == b.Type() && a.Stream() == b.Stream()
	}
	return a.Revision == b.Revision && tlog.LeafOf(a.Sealed) == tlog.LeafOf(b.Sealed)
}

func (t *transfer) other(s domain.Stream) error {
	return api.Refused(fmt.Sprintf("the log to copy to holds something else than this one, in stream %s: name an empty one, or one that this command has begun to fill", s))
}

// take counts one event, and copies it unless it stands there.
func (t *transfer) take(ctx context.Context, e domain.Recorded, stands bool) error {
	if name, err := t.streams.Parse(e.Stream()); err != nil || name.Kind == domain.StreamForeign {
		return fmt.Errorf("stream %s is not one of this ledger: %w", e.Stream(), errors.Join(ErrOtherLedger, err))
	}
	if e.Type() == eventstore.DeletedType {
		t.done.Deleted++
		return t.delete(ctx, e.Stream(), stands)
	}
	first, err := t.first(ctx, e)
	if err != nil {
		return err
	}
	if t.done.Events++; first {
		t.done.Streams++
		t.done.Filled += int64(e.Revision)
	}
	if t.done.Events%tellTransfer == 0 {
		t.tell(int64(e.Position.Commit), 2*t.end) //nolint:gosec // a count of events
	}
	if !stands {
		return t.put(ctx, e, first)
	}
	if first && e.Revision > 0 { // perhaps not done when the last run ended
		return t.truncate(ctx, e.Stream(), e.Revision)
	}
	return nil
}

// first reports whether an event is the first that its stream has left.
func (t *transfer) first(ctx context.Context, e domain.Recorded) (bool, error) {
	known := t.seen.Contains(e.Stream())
	t.seen.Add(e.Stream(), struct{}{})
	if e.Revision == 0 || known {
		return e.Revision == 0, nil
	}
	for r, err := range t.from.ReadStream(ctx, e.Stream(), 0, eventstore.Forward, 1) {
		if err != nil {
			return false, fmt.Errorf("reading stream %s: %w", e.Stream(), err)
		}
		return r.Revision == e.Revision, nil
	}
	return false, fmt.Errorf("stream %s has no event: %w", e.Stream(), eventstore.ErrDamaged)
}

func (t *transfer) delete(ctx context.Context, s domain.Stream, stands bool) error {
	if err := t.flush(ctx); err != nil || stands {
		return err
	}
	if err := t.to.Delete(ctx, s); err != nil {
		return fmt.Errorf("copying the deletion: %w", err)
	}
	return nil
}

// put lays an event to those that wait for one append.
func (t *transfer) put(ctx context.Context, e domain.Recorded, first bool) error {
	if n := len(t.pending); n > 0 && (n == transferEvents || t.bytes+e.Size() > domain.MaxAppendBytes ||
		t.pending[0].Stream() != e.Stream() || e.Revision != t.expected+domain.Revision(n)+1) {
		if err := t.flush(ctx); err != nil {
			return err
		}
	}
	if len(t.pending) == 0 {
		t.expected = e.Revision - 1
		if first && e.Revision > 0 {
			if err := t.fill(ctx, e.Stream(), e.Revision); err != nil {
				return err
			}
			t.cut = e.Revision
		}
	}
	t.pending, t.bytes = append(t.pending, e.Sealed), t.bytes+e.Size()
	return nil
}

// flush appends what waits. A store keeps the last event of a stream, so that
// fillers can be truncated only behind it.
func (t *transfer) flush(ctx context.Context) error {
	if len(t.pending) == 0 {
		return nil
	}
	s := t.pending[0].Stream()
	if err := t.append(ctx, s, t.expected, t.pending); err != nil {
		return err
	}
	t.done.Copied += int64(len(t.pending))
	cut := t.cut
	t.pending, t.bytes, t.cut = t.pending[:0], 0, 0
	if cut > 0 {
		return t.truncate(ctx, s, cut)
	}
	return nil
}

func (t *transfer) append(ctx context.Context, s domain.Stream, expected domain.Revision, events []domain.Sealed) error {
	_, err := t.to.Append(ctx, s, expected, events)
	var wrong *eventstore.WrongRevision
	switch {
	case errors.As(err, &wrong), errors.Is(err, eventstore.ErrDeleted):
		return t.other(s)
	case err != nil:
		return fmt.Errorf("copying; the same command goes on: %w", err)
	}
	return nil
}

func (t *transfer) truncate(ctx context.Context, s domain.Stream, before domain.Revision) error {
	if err := t.to.Truncate(ctx, s, before); err != nil {
		return fmt.Errorf("copying the truncation; the same command goes on: %w", err)
	}
	return nil
}

// errUnlike: what was copied is not what was there. It is not the store's promise
// kept, or somebody else writes one of the two logs.
var errUnlike = errors.New("the logs differ behind the copy; nothing goes on with the new one")

// verify reads both logs whole and compares the leaf entries of all events.
func (t *transfer) verify(ctx context.Context) error {
	next, stop := iter.Pull2(kept(t.to.ReadAll(ctx, domain.Start, eventstore.Forward, 0)))
	defer stop()
	sum, moved, n := sha256.New(), false, 0
	for e, err := range kept(t.from.ReadAll(ctx, domain.Start, eventstore.Forward, 0)) {
		if err != nil {
			return fmt.Errorf("verifying the log to copy: %w", err)
		}
		there, err, more := next()
		switch {
		case more && err != nil:
			return fmt.Errorf("verifying the copy: %w", err)
		case !more || !alike(e, there):
			return fmt.Errorf("event %s of stream %s: %w", e.ID(), e.Stream(), errUnlike)
		}
		if e.Type().Ours() {
			leaf := tlog.LeafOf(there.Sealed)
			_, _ = sum.Write(leaf[:]) // never fails (hash.Hash)
		}
		moved = t.pass(e, there) || moved
		if n++; n%tellTransfer == 0 {
			t.tell(t.end+int64(e.Position.Commit), 2*t.end) //nolint:gosec // a count of events
		}
	}
	if there, err, more := next(); err != nil || more {
		return fmt.Errorf("stream %s: %w", there.Stream(), errors.Join(errUnlike, err))
	}
	if moved {
		t.place = nil
	}
	t.done.Verified, t.done.Leaves = true, hex.EncodeToString(sum.Sum(nil))
	t.tell(2*t.end, 2*t.end)
	return nil
}

// pass notes the last event in the new log that the leaf entries cover, and reports
// whether they stand there already. The event that they ended at may be disposed
// of; then it is the one before.
func (t *transfer) pass(e, there domain.Recorded) (moved bool) {
	at, id, _, _ := t.leaves.Last()
	if at == domain.Start {
		return false
	}
	if !at.Before(e.Position) {
		t.place = &there
	}
	return there.Position == at && there.ID() == id
}
