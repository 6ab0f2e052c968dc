package projections

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// disposed is what the log says was disposed of, read before the log: events
// for which a record stands are skipped, also where the store still shows them.
// A view that is ahead comes to the same rows by applying the record when it
// meets it. Streams deleted without a record are dealt with on the way: their
// rows go when the deletion is met.
type disposed struct {
	buckets map[domain.RetentionKey]domain.Position
	owners  map[string][]gone
	cuts    map[domain.Stream]domain.Revision
	records []record
	// scopes are the parts of the destructions that the stream destruction still
	// shows, by command.
	scopes map[string][]part
}

// gone is a part of a person or block for which a record stands.
type gone struct {
	part
	before domain.Position
}

// A record is one that was read, for the count of what was disposed of later.
type record struct {
	at        domain.Position
	kind      domain.EventType
	events, n int64
}

// readDisposed reads the records of the ledger and the destructions they name.
func readDisposed(ctx context.Context, r eventstore.Reader, p *parser) (*disposed, error) {
	d := &disposed{
		buckets: map[domain.RetentionKey]domain.Position{}, owners: map[string][]gone{}, cuts: map[domain.Stream]domain.Revision{},
		scopes: map[string][]part{},
	}
	for e, err := range p.stream(ctx, r, p.streams.Destruction()) {
		if err != nil {
			return nil, fmt.Errorf("reading destructions: %w", err)
		}
		if e.Destruction != nil && e.Destruction.Done {
			d.scopes[e.Destruction.Command.String()] = e.Destruction.parts()
		}
	}
	for e, err := range p.stream(ctx, r, p.streams.Retention()) {
		if err != nil {
			return nil, fmt.Errorf("reading what was disposed of: %w", err)
		}
		d.add(&e)
	}
	return d, nil
}

// stream reads one of the ledger's own streams whole.
func (p *parser) stream(ctx context.Context, r eventstore.Reader, s domain.Stream) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for rec, err := range r.ReadStream(ctx, s, 0, eventstore.Forward, 0) {
			if errors.Is(err, eventstore.ErrDeleted) {
				return
			}
			e, ok := Event{}, true
			if err == nil {
				e, ok, err = p.parse(rec)
			}
			if ok || err != nil {
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}

func (d *disposed) add(e *Event) {
	if e.Disposal == nil {
		return
	}
	rec := record{at: e.Position, kind: e.Type()}
	for _, t := range e.Disposal.Totals {
		rec.events += t.Events
		rec.n += t.Records
	}
	d.records = append(d.records, rec)
	switch e.Type() {
	case domain.BucketDisposed:
		d.buckets[e.Disposal.Key] = e.Position
	case domain.SubjectDisposed:
		for _, command := range e.Disposal.Commands {
			for _, s := range d.scopes[command] {
				d.owners[s.owner] = append(d.owners[s.owner], gone{part: s, before: e.Position})
			}
		}
	case domain.StreamDisposed:
		d.cuts[e.Disposal.Stream] = max(d.cuts[e.Disposal.Stream], domain.Revision(e.Disposal.Revision))
	}
}

// last is the position of the last record.
func (d *disposed) last() domain.Position {
	if d == nil || len(d.records) == 0 {
		return domain.Start
	}
	return d.records[len(d.records)-1].at
}

// complete tells a record of disposal what its destructions took. A view may have
// rows from before a destruction whose note it skips, because the stream
// destruction was cut behind it.
func (d *disposed) complete(e *Event) {
	if d == nil || e.Type() != domain.SubjectDisposed {
		return
	}
	e.Disposal.parts = map[string][]part{}
	for _, command := range e.Disposal.Commands {
		e.Disposal.parts[command] = d.scopes[command]
	}
}

// covers reports whether a record stands for e.
func (d *disposed) covers(e *Event) bool {
	if d == nil || !e.Type().Ours() {
		return false
	}
	if cut, ok := d.cuts[e.Stream()]; ok && e.Revision < cut {
		return true
	}
	if e.owner == "" {
		return false
	}
	k := domain.RetentionKey{Class: e.Envelope.Class, Tier: e.Envelope.Tier, Bucket: e.Envelope.Bucket}
	if at, ok := d.buckets[k]; ok && e.Position.Before(at) {
		return true
	}
	return d.ownerGone(e.owner, e) || e.ref != "" && d.ownerGone(e.ref, e)
}

func (d *disposed) ownerGone(owner string, e *Event) bool {
	for _, g := range d.owners[owner] {
		if e.Position.Before(g.before) && g.covers(e) {
			return true
		}
	}
	return false
}

func (p part) covers(e *Event) bool {
	env := &e.Envelope
	return (p.class == "" || p.class == env.Class) && (p.gen == 0 || p.gen == int64(env.Gen)) &&
		(p.bucket == "" || p.bucket == env.Bucket && p.tier == env.Tier)
}

// Later counts what was disposed of behind a position.
type Later struct {
	Buckets, Subjects, Streams, Events, Records int64
}

func (d *disposed) after(at domain.Position) (l Later) {
	for _, r := range d.records {
		if !at.Before(r.at) {
			continue
		}
		switch r.kind {
		case domain.BucketDisposed:
			l.Buckets++
		case domain.SubjectDisposed:
			l.Subjects++
		case domain.StreamDisposed:
			l.Streams++
		}
		l.Events += r.events
		l.Records += r.n
	}
	return l
}
