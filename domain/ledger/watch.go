package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A WatchConfig is what a watch stands on. All fields but Heard
// and Revised are required.
type WatchConfig struct {
	// Whole is the same log as the ledger's.
	Whole WatchLog
	Lease *Lease
	Node  *Node
	Pause func(ctx context.Context, d time.Duration) error
	// Notice is told why the watch begins again, and nil once it is at the end.
	Notice func(error)
	// Heard is told every destruction; it may be nil.
	Heard *Heard
	// Revised is told when another process made a policy the one in force; it may be
	// nil.
	Revised func()
}

// A WatchLog is what a watch needs of the log beyond Log.
type WatchLog interface {
	WholeReader
	SubscribeAll(ctx context.Context, after domain.Position) (eventstore.Subscription, error)
}

// A Watch applies what other processes note: fences to the handles of this one,
// lines to its journal. Its own renewals coming back are what a lease stands on.
type Watch struct {
	WatchConfig
	*Ledger
}

// NewWatch returns a watch of a ledger. Run it.
func NewWatch(l *Ledger, c WatchConfig) *Watch { return &Watch{WatchConfig: c, Ledger: l} }

// Waits between two tries.
const (
	watchFirst = 50 * time.Millisecond
	watchLast  = 5 * time.Second
)

// Run watches until ctx ends. Where a subscription drops it goes on behind the last
// event that was applied; where that is not possible every opening handle is
// dropped and everything is read anew. Sealing goes on meanwhile; opening ends with
// the lease.
func (w *Watch) Run(ctx context.Context) error {
	wait := watchFirst
	var at domain.Position
	known := false
	for ctx.Err() == nil {
		var err error
		if !known {
			at, err = w.begin(ctx)
			known = err == nil
		}
		if err == nil {
			var applied bool
			if applied, err = w.follow(ctx, &at); applied {
				wait = watchFirst
			}
		}
		if errors.Is(err, eventstore.ErrPosition) || errors.Is(err, errWentBack) {
			known = false
			w.Lease.Lost()
		}
		if ctx.Err() != nil {
			break
		}
		w.Notice(err)
		if w.Pause(ctx, wait) != nil {
			break
		}
		wait = min(2*wait, watchLast)
	}
	return ctx.Err()
}

// begin reads the streams destruction and journal whole, and returns a position
// before both reads: what comes twice is applied twice.
func (w *Watch) begin(ctx context.Context) (at domain.Position, err error) {
	w.Lease.Lost()
	for r, err := range w.Whole.ReadAll(ctx, domain.End, eventstore.Backward, 1) {
		if err != nil {
			return at, fmt.Errorf("reading the end of the log: %w", err)
		}
		at = r.Position
	}
	for r, err := range w.Log.ReadStream(ctx, w.streams.Destruction(), 0, eventstore.Forward, 0) {
		if err == nil {
			err = w.apply(ctx, r)
		}
		if err != nil {
			return at, fmt.Errorf("reading destructions: %w", err)
		}
	}
	if w.WatchConfig.Heard != nil {
		w.WatchConfig.Heard.caughtUp()
	}
	return at, w.followJournal(ctx)
}

// follow applies what a subscription delivers, and moves at behind each event.
func (w *Watch) follow(ctx context.Context, at *domain.Position) (applied bool, err error) {
	sub, err := w.Whole.SubscribeAll(ctx, *at)
	if err != nil {
		return false, fmt.Errorf("subscribing: %w", err)
	}
	defer func() { err = errors.Join(err, sub.Close()) }()
	if err := w.Journal.Follow(ctx); err != nil { // a log that was put back may have the position again
		return false, err
	}
	for {
		d, err := sub.Next(ctx)
		if err != nil {
			return applied, fmt.Errorf("watching the log: %w", err)
		}
		if d.CaughtUp {
			w.Notice(nil)
			continue
		}
		if err := w.apply(ctx, d.Event); err != nil {
			return applied, err
		}
		*at, applied = d.Event.Position, true
	}
}

// apply applies one event; most concern nobody here.
func (w *Watch) apply(ctx context.Context, r domain.Recorded) error {
	switch r.Type() {
	case domain.NodeRenewed:
		w.Lease.Delivered(r.ID())
	case domain.DestructionBegun, domain.DestructionDone, domain.DestructionCarried:
		return w.heard(r)
	case domain.JournalRecorded:
		return w.mirror(ctx, r)
	case domain.JournalMirrored:
		return w.mirrored(r)
	case domain.PolicyRevised:
		return w.revised(r)
	}
	return nil
}

func (w *Watch) revised(r domain.Recorded) error {
	before, _ := w.Policy.Current()
	if err := w.Policy.Follow(r); err != nil {
		return err
	}
	if now, _ := w.Policy.Current(); now != before && w.Revised != nil {
		w.Revised()
	}
	return nil
}

func (w *Watch) heard(r domain.Recorded) error {
	if r.Stream() != w.streams.Destruction() {
		return nil
	}
	e, err := w.envelopeOf(r)
	if err != nil {
		return err
	}
	note, err := domain.ParseDestruction(r.Type(), e.Facts)
	if err != nil {
		return fmt.Errorf("destruction at revision %d: %w", r.Revision, err)
	}
	w.Ring.Heard(note)
	if note.Kind == domain.DestroySubject && !note.Done {
		w.Sever(note.Ref)
	}
	if w.WatchConfig.Heard != nil {
		w.WatchConfig.Heard.take(note)
	}
	return nil
}

// mirror brings a line to this node's own file and says so, unless it is this
// node's own.
func (w *Watch) mirror(ctx context.Context, r domain.Recorded) error {
	if r.Stream() != w.streams.Journal() {
		return nil
	}
	if err := w.Journal.Follow(ctx); err != nil {
		return err
	}
	if w.Journal.Wrote(r.ID()) || w.Journal.Apart() {
		return nil
	}
	if w.Journal.Lines() <= uint64(r.Revision) { //nolint:gosec // from 0
		// A deposed leader reads what it knows; the subscription knew more.
		return fmt.Errorf("the log delivers journal line %d and does not show it: %w", r.Revision, domain.ErrUnavailable)
	}
	return w.Node.Note(ctx, domain.JournalMirrored, domain.UUID("writer", w.Node.writer), domain.Int("lines", int64(w.Journal.Lines()))) //nolint:gosec // a count
}

func (w *Watch) mirrored(r domain.Recorded) error {
	e, err := w.envelopeOf(r)
	if err != nil {
		return err
	}
	if e.Facts.Text("writer") != w.Node.writer.String() {
		w.Journal.Mirrored(uint64(e.Facts.Int("lines"))) //nolint:gosec // from 0
	}
	return nil
}
