package outbox

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
)

// A lateness is events of one lane that are dropped together.
type lateness struct {
	// unsure: they may have been written before.
	unsure bool
	// hidden is lane.hidden: below, events are unsure, too.
	hidden          uint64
	seqs            []uint64
	dropped, doubts counts
}

// counts are events by class/bucket, the form of late.recorded.
type counts map[string]int64

func (c *counts) add(key string) {
	if *c == nil {
		*c = counts{}
	}
	(*c)[key]++
}

// list is the form that views read: class/bucket:count.
func (c counts) list() []string {
	out := make([]string, 0, len(c))
	for _, key := range slices.Sorted(maps.Keys(c)) {
		out = append(out, fmt.Sprintf("%s:%d", key, c[key]))
	}
	return out
}

func (c counts) total() (n uint64) {
	for _, v := range c {
		n += uint64(v) //nolint:gosec // counted up from 0
	}
	return n
}

func (t *lateness) has(seq uint64) bool {
	_, found := slices.BinarySearch(t.seqs, seq)
	return found
}

// add counts an event, by the class and bucket in its envelope.
func (t *lateness) add(seq uint64, e domain.Sealed) {
	t.seqs = append(t.seqs, seq)
	key := "other/-" // an event whose envelope this release cannot read
	if env, err := envelopeOf(e); err == nil {
		key = fmt.Sprintf("%s/%s", orDash(env.Class), orDash(env.Bucket))
	}
	if t.unsure || seq < t.hidden {
		t.doubts.add(key)
	} else {
		t.dropped.add(key)
	}
}

func orDash[S ~string](s S) S {
	if s == "" {
		return "-"
	}
	return s
}

func envelopeOf(e domain.Sealed) (domain.Envelope, error) {
	spec, err := domain.Events.Spec(e.Type())
	if err != nil {
		return domain.Envelope{}, err
	}
	return domain.DecodeEnvelope(spec, e.Envelope())
}

// sift asks what of the events belongs to something destroyed; nil if nothing.
func (r *Relay) sift(ctx context.Context, l *lane, places []place, events []domain.Sealed) (*lateness, error) {
	var late *lateness
	for i, p := range places {
		env, err := envelopeOf(events[i])
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", events[i].ID(), err)
		}
		if env.Scope == 0 {
			continue // a note: nobody's
		}
		gone, err := r.opt.Fates.Destroyed(ctx, l.stream, env)
		if err != nil {
			return nil, fmt.Errorf("fate of event %s: %w", events[i].ID(), err)
		}
		if gone {
			if late == nil {
				late = &lateness{hidden: l.hidden}
			}
			late.add(p.seq, events[i])
		}
	}
	return late, nil
}

// drop takes events away and puts their count into the outbox, in one commit.
func (r *Relay) drop(ctx context.Context, l *lane, late *lateness) error {
	note, err := r.opt.Notes.Note(ctx, domain.LateRecorded, domain.List("dropped", late.dropped.list()), domain.List("unsure", late.doubts.list()))
	if err != nil {
		return fmt.Errorf("note late events of %s: %w", l.stream, err)
	}
	if note.Stream() == l.stream {
		return fmt.Errorf("notes of the outbox are dropped, too, because their stream %s is gone: %w", l.stream, domain.ErrNotFound)
	}
	runs := runsOf(late.seqs)
	err = r.box.commit(&unit{size: sizeOf([]domain.Sealed{note}), page: 2*naming + 20*len(runs), place: func(c *commit) error {
		c.entry(entry{kind: entryAway, lane: l.number, revision: l.acked, runs: runs})
		c.then = append(c.then, func() {
			r.box.drop(l, runs)
			l.doubt, l.saw = false, sight{}
		})
		c.note(note)
		return nil
	}})
	if err != nil {
		return fmt.Errorf("drop late events of %s: %w", l.stream, err)
	}
	r.counts.Dropped.Add(late.dropped.total())
	r.counts.Unsure.Add(late.doubts.total())
	return nil
}
