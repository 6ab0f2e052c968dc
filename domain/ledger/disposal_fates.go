package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Bounds of one sweep: its records and its document stay small, and what is more
// goes with the next one.
const (
	maxSweptDestructions = 1_000
	maxSweptBuckets      = 1_000
)

// A fate is a destruction, or the death of one bucket's key, with the record of
// its disposal.
type fate struct {
	note     domain.DestructionNote
	bucket   domain.RetentionKey // of retention, whose notes name many
	revision domain.Revision     // of the note
	hour     domain.Hour
	// recorded is where its last record stands; domain.Start where there is none.
	recorded domain.Position
	pending  bool // of this sweep
}

// A begunNote says that a destruction began, at a revision.
type begunNote struct {
	domain.DestructionNote
	revision domain.Revision
}

// fates are the destructions of which a sweep knows, by what they took.
type fates struct {
	byRef   map[domain.SubjectRef][]*fate
	byBlock map[domain.BlockID]*fate
	buckets map[domain.RetentionKey]*fate
	begun   map[domain.CommandID]begunNote // in progress

	all            []*fate // persons and blocks, as the log has them
	pending        []*fate // persons and blocks to be recorded
	pendingBuckets []*fate
	more           bool // not all of what is outstanding is in this sweep
}

// gather reads the destructions up to one revision and their records up to
// another.
func (d *Disposal) gather(ctx context.Context, destruction, retention domain.Revision) (*fates, error) {
	f := &fates{
		byRef: map[domain.SubjectRef][]*fate{}, byBlock: map[domain.BlockID]*fate{},
		buckets: map[domain.RetentionKey]*fate{}, begun: map[domain.CommandID]begunNote{},
	}
	byCommand := map[domain.CommandID]*fate{}
	for e, err := range d.notes(ctx, d.streams.Destruction(), destruction) {
		if err != nil {
			return nil, fmt.Errorf("reading destructions: %w", err)
		}
		if err := f.takeNote(e, byCommand); err != nil {
			return nil, fmt.Errorf("destruction at revision %d: %w", e.Revision, err)
		}
	}
	for e, err := range d.notes(ctx, d.streams.Retention(), retention) {
		if err != nil {
			return nil, fmt.Errorf("reading records of disposal: %w", err)
		}
		if err := f.takeRecord(e, byCommand); err != nil {
			return nil, fmt.Errorf("record at revision %d: %w", e.Revision, err)
		}
	}
	f.choose()
	return f, nil
}

// A noted event is one of the ledger's own, verified, with its envelope.
type noted struct {
	domain.Recorded
	envelope domain.Envelope
}

// notes reads one of the ledger's own streams up to a revision.
func (d *Disposal) notes(ctx context.Context, s domain.Stream, through domain.Revision) func(func(noted, error) bool) {
	return func(yield func(noted, error) bool) {
		for r, err := range d.Log.ReadStream(ctx, s, 0, eventstore.Forward, 0) {
			if err == nil && r.Revision > through {
				return
			}
			e := noted{Recorded: r}
			if err == nil {
				e.envelope, err = d.envelopeOf(r)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (f *fates) takeNote(e noted, byCommand map[domain.CommandID]*fate) error {
	if typ := e.Type(); typ != domain.DestructionBegun && typ != domain.DestructionDone && typ != domain.DestructionCarried {
		return nil // holds
	}
	note, err := domain.ParseDestruction(e.Type(), e.envelope.Facts)
	if err != nil {
		return err
	}
	if !note.Done {
		f.begun[note.Command] = begunNote{note, e.Revision}
		return nil
	}
	delete(f.begun, note.Command)
	if note.Kind == domain.DestroyRetention {
		for _, k := range note.Buckets {
			if f.buckets[k] == nil {
				f.buckets[k] = &fate{note: note, bucket: k, revision: e.Revision, hour: e.envelope.Hour}
			}
		}
		return nil
	}
	if known := byCommand[note.Command]; known != nil {
		known.revision = e.Revision // carried
		return nil
	}
	one := &fate{note: note, revision: e.Revision, hour: e.envelope.Hour}
	byCommand[note.Command] = one
	f.all = append(f.all, one)
	if note.Kind == domain.DestroyBlock {
		f.byBlock[note.Block] = one
	} else {
		f.byRef[note.Ref] = append(f.byRef[note.Ref], one)
	}
	return nil
}

var errHolds = errors.New("a record of disposal names holds, which this release does not know")

func (f *fates) takeRecord(e noted, byCommand map[domain.CommandID]*fate) error {
	facts := e.envelope.Facts
	if len(facts.List("holds")) > 0 {
		return errHolds
	}
	switch e.Type() {
	case domain.BucketDisposed:
		k := domain.RetentionKey{Class: domain.Class(facts.Text("class")), Tier: domain.Tier(facts.Text("tier")), Bucket: domain.Bucket(facts.Text("bucket"))}
		if f.buckets[k] == nil { // its note is cut
			f.buckets[k] = &fate{note: domain.DestructionNote{Kind: domain.DestroyRetention}, bucket: k}
		}
		f.buckets[k].recorded = e.Position
	case domain.SubjectDisposed:
		for _, text := range facts.List("commands") {
			command, err := domain.Parse[domain.CommandID](text)
			if err != nil {
				return err
			}
			if one := byCommand[command]; one != nil {
				one.recorded = e.Position
			}
		}
	}
	return nil
}

// choose takes what is outstanding into the sweep, in the order of the log. The
// rest is left as if its keys lived, until the next one.
func (f *fates) choose() {
	var buckets []*fate
	for _, b := range f.buckets {
		if b.recorded == domain.Start {
			buckets = append(buckets, b)
		}
	}
	slices.SortFunc(buckets, func(a, b *fate) int { return a.bucket.Compare(b.bucket) })
	for _, one := range f.all {
		if one.recorded == domain.Start {
			f.pending = append(f.pending, one)
		}
	}
	f.pending, f.more = first(f.pending, maxSweptDestructions, f.more)
	f.pendingBuckets, f.more = first(buckets, maxSweptBuckets, f.more)
	for _, one := range append(slices.Clone(f.pending), f.pendingBuckets...) {
		one.pending = true
	}
}

func first(list []*fate, n int, more bool) ([]*fate, bool) {
	if len(list) <= n {
		return list, more
	}
	return list[:n], true
}

// empty reports whether the sweep has nothing to do.
func (f *fates) empty() bool { return len(f.pending) == 0 && len(f.pendingBuckets) == 0 }

func (f *fates) outstanding() Outstanding {
	o := Outstanding{Destructions: len(f.pending), Buckets: len(f.pendingBuckets)}
	for _, one := range append(slices.Clone(f.pending), f.pendingBuckets...) {
		if at := one.hour.Start(); o.Oldest.IsZero() || at.Before(o.Oldest) {
			o.Oldest = at
		}
	}
	return o
}

// takers calls each for the fates that took the keys of an event, those of its
// person first.
func (f *fates) takers(e domain.Envelope, block domain.BlockID, each func(*fate) bool) {
	for _, one := range f.byRef[e.Ref] {
		if one.swept() && one.note.Covers(e, block) && !each(one) {
			return
		}
	}
	if one := f.byBlock[block]; one != nil && one.swept() && !each(one) {
		return
	}
	k := domain.RetentionKey{Class: e.Class, Tier: e.Tier, Bucket: e.Bucket}
	if one := f.buckets[k]; one != nil && one.swept() {
		each(one)
	}
}

// swept reports whether this sweep or one before it records the fate.
func (o *fate) swept() bool { return o.pending || o.recorded != domain.Start }

// uncounted returns the fate that an event at a position is to be counted under:
// nil if its keys live, or if a record behind it counts it already.
func (f *fates) uncounted(e domain.Envelope, block domain.BlockID, at domain.Position) (under *fate) {
	f.takers(e, block, func(one *fate) bool {
		if at.Before(one.recorded) {
			under = nil
			return false
		}
		if under == nil {
			under = one
		}
		return true
	})
	return under
}

// taken reports whether the keys of an event are gone and a record stands for it
// that is not before it; counted is how far this sweep's records count.
func (f *fates) taken(e domain.Envelope, block domain.BlockID, at, counted domain.Position) (gone bool) {
	if counted.Before(at) {
		return false
	}
	f.takers(e, block, func(*fate) bool {
		gone = true
		return false
	})
	return gone
}

// older reports whether something is further back than a period.
func older(hour domain.Hour, p domain.Period, now time.Time) bool {
	return !p.After(hour.Start()).After(now)
}
