package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// A probe is an event that was sealed before the fence and never stored. It must
// read erased before a receipt is issued.
type probe struct {
	ID       domain.EventID   `json:"id"`
	Stream   domain.Stream    `json:"stream"`
	Type     domain.EventType `json:"type"`
	Envelope []byte           `json:"envelope"`
	Data     []byte           `json:"data"`
}

// ErrStillOpens says that something opens which a destruction named. The request
// stays open.
var ErrStillOpens = errors.New("what was to be destroyed is still there")

// sealProbe seals the probe in a class that is to die. A range may leave today's
// bucket alone; then there is nothing that could be probed.
func (l *Ledger) sealProbe(ctx context.Context, w *erasure) error {
	at := l.Clock()
	if d := w.Destruction; d.Kind == keys.DestroyRange && (!d.Before.IsZero() || at.Before(d.From)) {
		return l.save(ctx, w)
	}
	event, err := l.sealDraft(ctx, domain.Draft{
		ID: domain.Event(w.Destruction.Command, 99), Type: domain.AccessOpened, At: at,
		Scope: domain.Erasable, Ref: w.Destruction.Ref, Class: w.Erase[0], Tier: domain.OwnTier, N: 1,
		Payload: []byte(`{}`),
	})
	if errors.Is(err, domain.ErrFenced) {
		return nil // an earlier attempt fenced; its probe is kept
	}
	if err != nil {
		return fmt.Errorf("sealing the probe: %w", err)
	}
	w.Probe = &probe{ID: event.ID(), Stream: event.Stream(), Type: event.Type(), Envelope: event.Envelope(), Data: event.Data()}
	return l.save(ctx, w)
}

// probe looks that the custodian has none of the keys left, opens the probe, and
// asks for the key of every bucket that a range took.
func (l *Ledger) probe(ctx context.Context, w *erasure) error {
	if w.nothing() || len(w.Signed) > 0 {
		return nil
	}
	if err := l.gone(ctx, w); err != nil {
		return err
	}
	if w.Probe == nil {
		return l.probeBuckets(ctx, w)
	}
	event := domain.NewSealed(w.Probe.ID, w.Probe.Stream, w.Probe.Type, w.Probe.Envelope, w.Probe.Data)
	_, err := l.Open(ctx, domain.Recorded{Sealed: event})
	if errors.Is(err, domain.ErrErased) {
		return nil
	}
	return fmt.Errorf("%w: it reads %w", ErrStillOpens, orPresent(err))
}

// gone reads the person's keys back: what the journal names reads erased whether
// or not it was destroyed, so the custodian's word is not taken for it.
func (l *Ledger) gone(ctx context.Context, w *erasure) error {
	_, b, err := l.Custody.Bundle(ctx, w.Destruction.Ref)
	if errors.Is(err, domain.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading back what is left of the keys: %w", err)
	}
	defer b.Zero()
	if w.Destruction.Kind == keys.DestroySubject {
		return fmt.Errorf("%w: the custodian still has the person", ErrStillOpens)
	}
	for _, g := range w.Plan.Gens {
		if _, there := b.Subject(g.Class, g.Gen); there {
			return fmt.Errorf("%w: the custodian still has the key of %s", ErrStillOpens, g)
		}
	}
	for _, p := range w.Plan.Dropped {
		if _, there := b.KeptAt(domain.Where{Class: p.Class, Tier: p.Tier, Bucket: p.Bucket, Gen: p.Gen}); there {
			return fmt.Errorf("%w: the custodian still has the key of %s", ErrStillOpens, p.RetentionKey)
		}
	}
	return nil
}

func (l *Ledger) probeBuckets(ctx context.Context, w *erasure) error {
	for _, g := range w.Plan.Gens {
		for _, b := range w.Plan.Buckets {
			if b.Class != g.Class {
				continue
			}
			_, err := l.Ring.Opening(ctx, domain.Where{
				Ledger: l.ID, Scope: domain.Erasable, Ref: w.Destruction.Ref, Class: b.Class, Tier: b.Tier, Bucket: b.Bucket, Gen: g.Gen,
			}, domain.BlockID{})
			if !errors.Is(err, domain.ErrErased) {
				return fmt.Errorf("%w: %s reads %w", ErrStillOpens, b, orPresent(err))
			}
		}
	}
	return nil
}

var errPresent = errors.New("present")

func orPresent(err error) error {
	if err == nil {
		return errPresent
	}
	return err
}
