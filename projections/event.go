package projections

import (
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// An Event is what consumers apply: an event of this ledger, verified, with its
// clear part read. The parts behind Name are set by event type.
type Event struct {
	domain.Recorded
	Name domain.StreamName
	// Envelope is zero for a deleted stream (eventstore.DeletedType).
	Envelope domain.Envelope
	// Destruction is set for destruction.begun, done and carried.
	Destruction *Destruction
	// Disposal is set for bucket.disposed, subject.disposed and stream.disposed.
	Disposal *Disposal
	// Policy is set for policy.revised.
	Policy *domain.Policy
	// owner and ref are texts of the place, empty for events about nobody. The
	// owner is the person's ref, or the block of an anonymous ref, which is then in
	// ref; ref is empty otherwise, because it would say the same twice.
	owner, ref string
}

// Errors that stop the loop for good. Each needs an operator.
var (
	// ErrMisplaced: the envelope names another place than the stream.
	ErrMisplaced = errors.New("event stands in the stream of another place")
	// ErrHolds: a disposal spared held data, which this release cannot apply.
	ErrHolds = errors.New("disposal record names holds; upgrade this reader first")
)

// A parser makes Events of what the store delivers. It keeps nothing between
// them, and is safe for concurrent use.
type parser struct {
	streams domain.Streams
	table   domain.Table
	verify  func(domain.Recorded) error
	raw     bool
}

// sighted is an event that is for consumers: one of this ledger, verified, of
// which only the place is read.
type sighted struct {
	domain.Recorded
	name domain.StreamName
}

// parse is sight and then event.
func (p *parser) parse(r domain.Recorded) (Event, bool, error) {
	s, ok, err := p.sight(r)
	if !ok || err != nil {
		return Event{}, false, err
	}
	e, err := p.event(s)
	return e, err == nil, err
}

// sight returns false for what no consumer sees: streams of others and the
// store's own events, except the deletion of one of our streams.
func (p *parser) sight(r domain.Recorded) (s sighted, ours bool, err error) {
	deleted := r.Type() == eventstore.DeletedType
	if !r.Type().Ours() && !deleted {
		return s, false, nil
	}
	name, err := p.streams.Parse(r.Stream())
	if err != nil || name.Kind == domain.StreamForeign {
		return s, false, err
	}
	if !deleted {
		err = p.verify(r)
	}
	if err != nil {
		return s, false, fmt.Errorf("verifying event %s at %s: %w", r.ID(), r.Position, err)
	}
	return sighted{Recorded: r, name: name}, true, nil
}

// event reads the clear part of an event.
func (p *parser) event(s sighted) (Event, error) {
	e := Event{Recorded: s.Recorded, Name: s.name}
	if p.raw || s.Type() == eventstore.DeletedType {
		return e, nil
	}
	if err := p.decode(&e); err != nil {
		return Event{}, fmt.Errorf("event %s at %s: %w", s.ID(), s.Position, err)
	}
	return e, nil
}

func (p *parser) decode(e *Event) error {
	spec, err := p.table.Spec(e.Type())
	if err != nil {
		return err
	}
	if e.Envelope, err = domain.DecodeEnvelope(spec, e.Recorded.Envelope()); err != nil {
		return err
	}
	if !inPlace(e) {
		return ErrMisplaced
	}
	if e.Envelope.Scope != 0 {
		e.owner = ownerOf(e)
	}
	if e.Name.Kind == domain.StreamAnonymous {
		e.ref = e.Envelope.Ref.String()
	}
	return p.decodeNote(e)
}

// inPlace reports whether the envelope of a person's event names its stream.
func inPlace(e *Event) bool {
	env, n := &e.Envelope, &e.Name
	switch {
	case env.Scope == 0:
		return true
	case n.Kind == domain.StreamSubject:
		return env.Class == n.Class && env.Tier == n.Tier && env.Gen == n.Gen && env.Ref == n.Ref
	case n.Kind == domain.StreamAnonymous:
		return env.Class == n.Class && env.Tier == n.Tier && env.Bucket == n.Bucket
	}
	return false
}

// decodeNote reads the facts and documents that more than one view needs, so
// that applying them cannot fail.
func (p *parser) decodeNote(e *Event) (err error) {
	switch e.Type() {
	case domain.DestructionBegun, domain.DestructionDone, domain.DestructionCarried:
		e.Destruction, err = parseDestruction(e)
	case domain.BucketDisposed, domain.SubjectDisposed, domain.StreamDisposed:
		e.Disposal, err = parseDisposal(e)
		if err == nil && e.Type() == domain.StreamDisposed {
			err = p.cuttable(e.Disposal)
		}
	case domain.PolicyRevised:
		e.Policy, err = parsePolicy(e)
	}
	return err
}

// ownerOf is the id that a stream belongs to: a person's ref, or the block of
// anonymous connections. Empty for streams that are about nobody. The id ends the
// stream's name in the form that it has as a text.
func ownerOf(e *Event) string {
	const uuidLen = 36
	switch e.Name.Kind {
	case domain.StreamSubject, domain.StreamAnonymous:
		return string(e.Stream()[len(e.Stream())-uuidLen:])
	default:
		return ""
	}
}

// at is the event's position as views keep it. The commit half alone orders
// events of different appends; equal halves belong to one append.
func (e *Event) at() int64 { return int64(e.Position.Commit) } //nolint:gosec // below 2^63 in every store

// cuttable refuses a record of a cut in a stream whose rows are not kept by
// revision: only node streams and the stream destruction are cut this way.
func (p *parser) cuttable(d *Disposal) error {
	n, err := p.streams.Parse(d.Stream)
	if err != nil {
		return err
	}
	if n.Kind != domain.StreamNode && n.Kind != domain.StreamDestruction {
		return fmt.Errorf("stream.disposed of %s: %w", d.Stream, ErrFacts)
	}
	return nil
}
