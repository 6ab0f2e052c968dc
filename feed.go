package lethe

import (
	"context"
	"errors"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// Bounds of a feed: what it begins with, what it watches, how often.
const (
	feedBegin = 40
	feedKept  = 200
	feedEvery = 500 * time.Millisecond
)

// Feed implements api.Service. An event that stops opening is delivered again
// with what it reads now.
func (l *Lethe) Feed(ctx context.Context, _ api.Caller, each func(api.FeedEvent) error) error {
	after, err := l.feedStart(ctx)
	if err != nil {
		return err
	}
	sub, err := l.store.SubscribeAll(ctx, after)
	if err != nil {
		return err
	}
	f := feed{lethe: l, sub: sub, each: each}
	return errors.Join(f.run(ctx), sub.Close())
}

func (l *Lethe) feedStart(ctx context.Context) (domain.Position, error) {
	after := domain.Start
	n := 0
	for r, err := range l.store.ReadAll(ctx, domain.End, eventstore.Backward, feedBegin+1) {
		if err != nil {
			return after, err
		}
		if n++; n > feedBegin {
			after = r.Position
		}
	}
	return after, nil
}

// A feed belongs to one caller of Feed.
type feed struct {
	lethe *Lethe
	sub   eventstore.Subscription
	each  func(api.FeedEvent) error
	kept  []fed
}

type fed struct {
	event domain.Recorded
	said  api.FeedEvent
}

func (f *feed) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, ended := make(chan domain.Recorded), make(chan error, 1)
	go func() { ended <- f.pump(ctx, events) }()
	tick := time.NewTicker(feedEvery)
	defer tick.Stop()
	for {
		var err error
		select {
		case r := <-events:
			err = f.add(ctx, r)
		case <-tick.C:
			err = f.look(ctx)
		case err = <-ended:
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err != nil {
			cancel()
			return errors.Join(err, ignoreCanceled(<-ended))
		}
	}
}

// ignoreCanceled leaves out what ending the pump answers with.
func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// pump reads the subscription; it ends with ctx.
func (f *feed) pump(ctx context.Context, events chan<- domain.Recorded) error {
	for {
		d, err := f.sub.Next(ctx)
		if err != nil {
			return err
		}
		if d.CaughtUp {
			continue
		}
		select {
		case events <- d.Event:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *feed) add(ctx context.Context, r domain.Recorded) error {
	said, ok := f.lethe.describe(ctx, r)
	if !ok {
		return nil
	}
	f.kept = append(f.kept, fed{event: r, said: said})
	if len(f.kept) > feedKept {
		f.kept = f.kept[1:]
	}
	return f.each(said)
}

// look says again what has changed.
func (f *feed) look(ctx context.Context) error {
	for i := range f.kept {
		k := &f.kept[i]
		now, ok := f.lethe.describe(ctx, k.event)
		if ok && now.Readable != k.said.Readable {
			k.said = now
			if err := f.each(now); err != nil {
				return err
			}
		}
	}
	return nil
}

// describe says what an event is, in facts only.
func (l *Lethe) describe(ctx context.Context, r domain.Recorded) (api.FeedEvent, bool) {
	if !r.Type().Ours() {
		return api.FeedEvent{}, false
	}
	spec, err := domain.Events.Spec(r.Type())
	if err != nil {
		return api.FeedEvent{}, false
	}
	e, err := domain.DecodeEnvelope(spec, r.Envelope())
	name, nameErr := domain.StreamsOf(l.cfg.Ledger).Parse(r.Stream())
	if err != nil || nameErr != nil || name.Kind == domain.StreamForeign {
		return api.FeedEvent{}, false
	}
	said := api.FeedEvent{
		Position: r.Position.Commit, Type: string(r.Type()), Class: string(e.Class), Bucket: string(e.Bucket),
		Records: int(e.N), Bytes: len(r.Data()), Hour: string(e.Hour), Readable: "note",
	}
	if e.Scope != 0 {
		said.Ref = e.Ref.String()
		said.Readable = l.readable(ctx, r, e, name.Block)
	}
	return said, true
}

// readable names the outcome that opening would have.
func (l *Lethe) readable(ctx context.Context, r domain.Recorded, e domain.Envelope, block domain.BlockID) string {
	if err := l.ledger.Verify(r); err != nil {
		return outcomeOf(err)
	}
	if !seal.HasPart(r.Sealed) {
		return "present"
	}
	_, err := l.ring.Opening(ctx, e.Where(l.cfg.Ledger), block)
	return outcomeOf(err)
}

func outcomeOf(err error) string {
	if err == nil {
		return "present"
	}
	for _, outcome := range []error{
		domain.ErrErased, domain.ErrExpired, domain.ErrHeld, domain.ErrDenied, domain.ErrTampered, domain.ErrUnknownKey,
	} {
		if errors.Is(err, outcome) {
			return outcome.Error()
		}
	}
	return domain.ErrUnavailable.Error()
}
