package projections

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A Checkpoint says up to which event a generation is complete. Stream and
// revision of that event tell, should the event be gone, whether it was disposed
// of or the log went back.
type Checkpoint struct {
	Generation int
	Position   domain.Position
	Event      domain.EventID
	Stream     domain.Stream
	Revision   domain.Revision
}

// behind returns the checkpoint that e makes, in the same generation.
func (c Checkpoint) behind(e *Event) Checkpoint {
	return Checkpoint{Generation: c.Generation, Position: e.Position, Event: e.ID(), Stream: e.Stream(), Revision: e.Revision}
}

// Errors of checkpoints. Both stop the loop.
var (
	// ErrActive: another projector moved the checkpoint; nothing was written.
	ErrActive = errors.New("another projector is active on this view")
	// ErrLogWentBack: the log no longer holds what the view was built from.
	ErrLogWentBack = errors.New("the log went back behind the view's checkpoint")
)

// verify reports ErrLogWentBack unless the event at the checkpoint carries the
// id noted there, or was disposed of.
func (c Checkpoint) verify(ctx context.Context, r eventstore.Reader) error {
	if c.Position == domain.Start {
		return nil
	}
	found, ok, err := eventAt(ctx, r, c.Position)
	switch {
	case errors.Is(err, eventstore.ErrPosition):
		return c.wentBack()
	case err != nil:
		return fmt.Errorf("reading the event at checkpoint %s: %w", c.Position, err)
	case ok && found.ID() == c.Event:
		return nil
	case ok:
		return c.wentBack()
	}
	return c.verifyGone(ctx, r)
}

// verifyGone tells an event that was disposed of from one that never was.
func (c Checkpoint) verifyGone(ctx context.Context, r eventstore.Reader) error {
	for e, err := range r.ReadStream(ctx, c.Stream, 0, eventstore.Forward, 1) {
		switch {
		case errors.Is(err, eventstore.ErrDeleted):
			return nil
		case err != nil:
			return fmt.Errorf("reading the stream of checkpoint %s: %w", c.Position, err)
		case e.Revision > c.Revision && c.Position.Before(e.Position):
			return nil
		}
	}
	return c.wentBack()
}

func (c Checkpoint) wentBack() error {
	return fmt.Errorf("no event %s at %s: %w", c.Event, c.Position, ErrLogWentBack)
}

// eventAt reads the event at a position; false if there is none any more. The
// store reads strictly before and behind positions, so it goes one step back.
func eventAt(ctx context.Context, r eventstore.Reader, at domain.Position) (domain.Recorded, bool, error) {
	from := domain.Start
	for e, err := range r.ReadAll(ctx, at, eventstore.Backward, 1) {
		if err != nil {
			return domain.Recorded{}, false, err
		}
		from = e.Position
	}
	for e, err := range r.ReadAll(ctx, from, eventstore.Forward, 1) {
		if err != nil {
			return domain.Recorded{}, false, err
		}
		return e, e.Position == at, nil
	}
	return domain.Recorded{}, false, nil
}
