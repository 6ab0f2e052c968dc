package ledger

import (
	"context"
	"fmt"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
)

// Heard is what a watch has read of destructions, for whoever has sealed events
// that are not in the log yet: they may come too late. It is safe for concurrent
// use.
type Heard struct {
	streams domain.Streams
	lost    func(ctx context.Context, stream domain.StreamName, e domain.Envelope) (bool, error)

	mu      sync.RWMutex // protects what follows
	known   bool         // the stream destruction was read to its end once
	refs    map[domain.SubjectRef][]domain.DestructionNote
	blocks  map[domain.BlockID]bool
	buckets map[domain.RetentionKey]bool
}

// NewHeard returns what has heard of nothing yet. lost is asked about what no note
// covers, as Journal.Lost says: a log that went back lost notes, too.
func NewHeard(l domain.LedgerID, lost func(ctx context.Context, stream domain.StreamName, e domain.Envelope) (bool, error)) *Heard {
	return &Heard{
		streams: domain.StreamsOf(l), lost: lost, refs: map[domain.SubjectRef][]domain.DestructionNote{},
		blocks: map[domain.BlockID]bool{}, buckets: map[domain.RetentionKey]bool{},
	}
}

// Destroyed reports whether the keys of an event are destroyed, or being
// destroyed. domain.ErrUnavailable until the log was read once.
func (h *Heard) Destroyed(ctx context.Context, stream domain.Stream, e domain.Envelope) (bool, error) {
	if e.Scope == 0 {
		return false, nil // a note
	}
	name, err := h.streams.Parse(stream)
	if err != nil {
		return false, err
	}
	if noted, err := h.noted(name, e); noted || err != nil {
		return noted, err
	}
	return h.lost(ctx, name, e)
}

func (h *Heard) noted(name domain.StreamName, e domain.Envelope) (bool, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if !h.known {
		return false, fmt.Errorf("destructions are not read yet: %w", domain.ErrUnavailable)
	}
	for _, note := range h.refs[e.Ref] {
		if note.Covers(e, name.Block) {
			return true, nil
		}
	}
	k := domain.RetentionKey{Class: e.Class, Tier: e.Tier, Bucket: e.Bucket}
	return h.blocks[name.Block] || h.buckets[k], nil
}

// take takes a note in, once or twice.
func (h *Heard) take(note domain.DestructionNote) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch note.Kind {
	case domain.DestroyBlock:
		h.blocks[note.Block] = true
	case domain.DestroyRetention:
		for _, k := range note.Buckets {
			h.buckets[k] = true
		}
	case domain.DestroySubject, domain.DestroyClass, domain.DestroyRange:
		for i, known := range h.refs[note.Ref] {
			if known.Command == note.Command {
				h.refs[note.Ref][i] = note
				return
			}
		}
		h.refs[note.Ref] = append(h.refs[note.Ref], note)
	}
}

func (h *Heard) caughtUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = true
}

// A Scribe makes notes for a stream of this process that somebody else appends: an
// outbox, for what came too late and for gaps.
type Scribe struct {
	ledger *Ledger
	writer domain.WriterID
}

// NewScribe returns a scribe with a stream of its own.
func (l *Ledger) NewScribe() *Scribe {
	return &Scribe{ledger: l, writer: domain.New[domain.WriterID]()}
}

// Note makes a note; nothing is appended.
func (s *Scribe) Note(_ context.Context, typ domain.EventType, facts ...domain.Fact) (domain.Sealed, error) {
	spec, err := domain.Events.Spec(typ)
	if err != nil {
		return domain.Sealed{}, err
	}
	l := s.ledger
	now := l.Clock()
	revision, _ := l.Policy.Current()
	e := domain.Envelope{Hour: domain.HourOf(now), Policy: revision, Salt: newSalt(), Class: spec.Class, Facts: domain.NewFacts(facts...)}
	stream := l.streams.Node(domain.BucketAt(now, domain.Day), s.writer)
	return l.integrity().Note(domain.Event(domain.New[domain.CommandID](), 0), stream, spec, e)
}
