package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// once appends an event to a stream unless its id stands there behind revision
// after already, and returns it as stored: whoever reads before deciding and
// finds its own command answers with what stands there (FORMAT §1). after is a
// revision that the stream had before the command began.
func (l *Ledger) once(ctx context.Context, after domain.Revision, e domain.Sealed) (domain.Recorded, error) {
	for range appendTries {
		found, last, err := l.find(ctx, e.Stream(), after, e.ID())
		if err != nil || found != nil {
			return value(found), err
		}
		_, err = l.Log.Append(ctx, e.Stream(), last, []domain.Sealed{e})
		var wrong *eventstore.WrongRevision
		if err != nil && !errors.As(err, &wrong) {
			return domain.Recorded{}, fmt.Errorf("appending %s: %w", e.Type(), err)
		}
		l.heads.Remove(e.Stream())
	}
	return domain.Recorded{}, fmt.Errorf("stream %s keeps moving: %w", e.Stream(), domain.ErrConflict)
}

// find looks for an event id behind a revision; it also returns the last
// revision that the stream has.
func (l *Ledger) find(ctx context.Context, s domain.Stream, after domain.Revision, id domain.EventID) (*domain.Recorded, domain.Revision, error) {
	last, err := l.Log.Last(ctx, s)
	if err != nil {
		return nil, 0, fmt.Errorf("head of stream %s: %w", s, err)
	}
	for r, err := range l.Log.ReadStream(ctx, s, after+1, eventstore.Forward, 0) {
		if err != nil {
			return nil, 0, fmt.Errorf("reading stream %s: %w", s, err)
		}
		if r.ID() == id {
			return &r, last, nil
		}
		last = max(last, r.Revision)
	}
	return nil, last, nil
}

func value(r *domain.Recorded) domain.Recorded {
	if r == nil {
		return domain.Recorded{}
	}
	return *r
}

// note appends a note of the ledger's own, once.
func (l *Ledger) note(ctx context.Context, stream domain.Stream, after domain.Revision, id domain.EventID, typ domain.EventType, facts domain.Facts) (domain.Recorded, error) {
	event, err := l.makeNote(stream, id, typ, facts)
	if err != nil {
		return domain.Recorded{}, err
	}
	return l.once(ctx, after, event)
}

func (l *Ledger) makeNote(stream domain.Stream, id domain.EventID, typ domain.EventType, facts domain.Facts) (domain.Sealed, error) {
	spec, err := domain.Events.Spec(typ)
	if err != nil {
		return domain.Sealed{}, err
	}
	revision, _ := l.Policy.Current()
	e := domain.Envelope{Hour: domain.HourOf(l.Clock()), Policy: revision, Salt: newSalt(), Class: spec.Class, Facts: facts}
	event, err := l.integrity().Note(id, stream, spec, e)
	if err != nil {
		return domain.Sealed{}, fmt.Errorf("noting %s: %w", typ, err)
	}
	return event, nil
}
