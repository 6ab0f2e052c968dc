package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// Opened is an event that was opened: one of Record and Traffic is set where it
// had anything sealed in it.
type Opened struct {
	Type     domain.EventType // of the newest version
	Envelope domain.Envelope
	Record   map[string]any
	Traffic  *domain.Traffic
}

// Open opens an event about a person. The error is exactly one outcome of FORMAT
// §4: domain.ErrUnavailable, ErrTampered, ErrHeld, ErrErased, ErrExpired,
// ErrDenied or ErrUnknownKey; nil is present. It is unavailable, and ErrForked, while
// a journal file has lines that the log does not have. A late event, and one with nothing
// to seal, is present without a record.
func (l *Ledger) Open(ctx context.Context, r domain.Recorded) (Opened, error) {
	if err := l.Verify(r); err != nil {
		return Opened{}, err
	}
	spec, e, block, err := l.place(r)
	if err != nil {
		return Opened{}, err
	}
	opened := Opened{Type: spec.Type, Envelope: e}
	if !seal.HasPart(r.Sealed) {
		return opened, nil
	}
	if err := errors.Join(l.lease(ctx), l.Journal.Allowed()); err != nil {
		return Opened{}, fmt.Errorf("event %s: %w", r.ID(), err)
	}
	payload, err := l.unseal(ctx, r, e.Where(l.ID), block)
	if err != nil {
		return Opened{}, err
	}
	if err := errors.Join(l.leased(), l.Journal.Allowed()); err != nil {
		clear(payload)
		return Opened{}, fmt.Errorf("event %s: %w", r.ID(), err)
	}
	return opened, opened.decode(spec, payload)
}

// place reads where an event belongs and refuses one that stands elsewhere.
func (l *Ledger) place(r domain.Recorded) (domain.EventSpec, domain.Envelope, domain.BlockID, error) {
	spec, err := domain.Events.Spec(r.Type())
	if err != nil {
		return spec, domain.Envelope{}, domain.BlockID{}, err
	}
	e, err := domain.DecodeEnvelope(spec, r.Envelope())
	if err != nil {
		return spec, e, domain.BlockID{}, fmt.Errorf("event %s: %w: %w", r.ID(), domain.ErrTampered, err)
	}
	name, err := l.streams.Parse(r.Stream())
	if err != nil {
		return spec, e, domain.BlockID{}, fmt.Errorf("event %s: %w: %w", r.ID(), domain.ErrTampered, err)
	}
	if !belongs(name, e) {
		return spec, e, domain.BlockID{}, fmt.Errorf("event %s is sealed for another stream: %w", r.ID(), domain.ErrTampered)
	}
	return spec, e, name.Block, nil
}

func belongs(n domain.StreamName, e domain.Envelope) bool {
	if n.Class != e.Class || n.Tier != e.Tier || n.Gen != e.Gen {
		return false
	}
	if n.Kind == domain.StreamAnonymous {
		return n.Bucket == e.Bucket
	}
	return n.Kind == domain.StreamSubject && n.Ref == e.Ref
}

// unseal decrypts, and asks once more for the key before the payload leaves: an
// erasure that was fenced meanwhile wins. A fence zeroes the handles that are in
// somebody's hands; asking again says why.
func (l *Ledger) unseal(ctx context.Context, r domain.Recorded, w domain.Where, block domain.BlockID) ([]byte, error) {
	key, err := l.Ring.Opening(ctx, w, block)
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", r.ID(), err)
	}
	payload, failed := key.Open(r.Sealed)
	if failed != nil && !errors.Is(failed, domain.ErrUnavailable) {
		return nil, failed
	}
	if _, err := l.Ring.Opening(ctx, w, block); err != nil {
		clear(payload)
		return nil, fmt.Errorf("event %s: %w", r.ID(), err)
	}
	return payload, failed
}

func (o *Opened) decode(spec domain.EventSpec, payload []byte) error {
	if spec.Body == domain.BodyTraffic {
		t, err := domain.DecodeTraffic(payload)
		if err != nil {
			return fmt.Errorf("%s: %w", spec.Type, err)
		}
		o.Traffic = &t
		return nil
	}
	if err := json.Unmarshal(payload, &o.Record); err != nil {
		return fmt.Errorf("%s: record: %w", spec.Type, err)
	}
	var err error
	o.Type, o.Record, err = domain.Events.Current(spec.Type, o.Record)
	return err
}

// StreamsOf returns every stream that a person's events can stand in: all
// classes of the scope that the policy has, their tiers, and every gen that was
// ever issued. Streams that hold nothing are among them.
func (l *Ledger) StreamsOf(ctx context.Context, ref domain.SubjectRef, scope domain.Scope) ([]domain.Stream, error) {
	_, bundle, err := l.Custody.Bundle(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("keys of the person: %w", err)
	}
	defer bundle.Zero()
	var streams []domain.Stream
	policy := l.Policy.Policy()
	for _, last := range bundle.Last {
		rule, _ := policy.Class(last.Class)
		for _, tier := range append([]domain.Tier{domain.OwnTier}, tiersOf(rule)...) {
			for gen := domain.Gen(1); gen <= last.Gen; gen++ {
				streams = append(streams, l.streams.Of(domain.Where{Scope: scope, Ref: ref, Class: last.Class, Tier: tier, Gen: gen}))
			}
		}
	}
	return streams, nil
}
