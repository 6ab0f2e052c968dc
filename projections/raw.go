package projections

import (
	"context"
	"fmt"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
)

// A Sink takes the ledger's events as they are stored, verified and in order,
// the deletions of its streams included. It knows nothing of views.
type Sink interface {
	// Last says which event the sink has reached; the zero position before the
	// first.
	Last() (at domain.Position, id domain.EventID, stream domain.Stream, revision domain.Revision)
	// Append MUST take events, all behind Last, durably, or report an error. It
	// MUST NOT keep them.
	Append(ctx context.Context, events []domain.Recorded) error
	// Reload reads back what is stored, after Append failed.
	Reload(ctx context.Context) error
}

// NewSinkLoop makes a loop for one sink. It reads no envelopes, so an event type
// unknown to this release does not stop it.
func NewSinkLoop(src Source, opt Options, name string, sink Sink) *Loop {
	opt.Raw = true
	return NewLoop(src, opt, &rawConsumer{name: name, sink: sink})
}

type rawConsumer struct {
	name   string
	sink   Sink
	events []domain.Recorded
}

func (c *rawConsumer) Name() string { return c.name }

func (c *rawConsumer) Checkpoint() (cp Checkpoint) {
	cp.Position, cp.Event, cp.Stream, cp.Revision = c.sink.Last()
	return cp
}

func (c *rawConsumer) Consume(ctx context.Context, _ Checkpoint, events []Event) error {
	c.events = slices.Grow(c.events[:0], len(events))
	for i := range events {
		c.events = append(c.events, events[i].Recorded)
	}
	defer func() { c.events = emptied(c.events) }()
	if err := c.sink.Append(ctx, c.events); err != nil {
		return fmt.Errorf("appending %d events: %w", len(events), err)
	}
	return nil
}

func (c *rawConsumer) rest() { c.events = nil }

func (c *rawConsumer) Flush(context.Context) error { return nil }

func (c *rawConsumer) Reload(ctx context.Context) error { return c.sink.Reload(ctx) }
