package ledger

import (
	"context"
	"fmt"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// cut cuts the ledger's own streams that have a period in the policy.
func (d *Disposal) cut(ctx context.Context, w *sweep, _ *fates, _ *Disposed) error {
	if err := d.cutNodes(ctx, w); err != nil {
		return err
	}
	return d.cutDestruction(ctx, w)
}

// cutNodes cuts the streams of processes that are past their period, down to
// their last event.
func (d *Disposal) cutNodes(ctx context.Context, w *sweep) error {
	period := d.Policy.Policy().Records.Node
	now := d.Clock()
	var before domain.Stream
	for r, err := range d.Whole.ReadAll(ctx, domain.Start, eventstore.Forward, 0) {
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		if r.Stream() == before || !r.Type().Ours() {
			continue
		}
		before = r.Stream()
		name, err := d.streams.Parse(r.Stream())
		if err != nil {
			return err
		}
		if name.Kind != domain.StreamNode {
			continue
		}
		if period.After(name.Bucket.End()).After(now) {
			return nil // the log is in the order of time: what follows is younger
		}
		last, err := d.Log.Last(ctx, r.Stream())
		if err != nil {
			return fmt.Errorf("head of stream %s: %w", r.Stream(), err)
		}
		if r.Revision < last {
			if err := d.cutOwn(ctx, w, r.Stream(), last); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutOwn records that a stream of the ledger is cut before a revision, waits
// until every live view has read that, and cuts.
func (d *Disposal) cutOwn(ctx context.Context, w *sweep, s domain.Stream, before domain.Revision) error {
	id := domain.Event(domain.Step(domain.RequestID(w.Command), "cut "+string(s)), 0)
	noted, err := d.note(ctx, d.streams.Retention(), w.Retention, id, domain.StreamDisposed,
		domain.NewFacts(domain.Name("stream", s), domain.Int("revision", int64(before))))
	if err != nil {
		return err
	}
	if err := d.Passed(ctx, noted.Position); err != nil {
		return fmt.Errorf("waiting for the views: %w", err)
	}
	if err := d.Witnessed(ctx, noted.Position); err != nil {
		return fmt.Errorf("waiting for the leaves of the Merkle log: %w", err)
	}
	if err := d.Whole.Truncate(ctx, s, before); err != nil {
		return fmt.Errorf("cutting stream %s: %w", s, err)
	}
	return nil
}

// cutDestruction cuts what is past its period. Destructions in progress stay where
// they are; those that a view still needs are carried forward first.
func (d *Disposal) cutDestruction(ctx context.Context, w *sweep) error {
	f, err := d.gather(ctx, eventstore.LastRevision, eventstore.LastRevision)
	if err != nil {
		return err
	}
	from, before, err := d.pastPeriod(ctx, f)
	if err != nil || before <= from {
		return err
	}
	for i, one := range f.needed(before) {
		note := one.note
		id := domain.Event(domain.Step(domain.RequestID(w.Command), "carried"), uint32(i)) //nolint:gosec // bounded by the stream
		if _, err := d.note(ctx, d.streams.Destruction(), w.Destruction, id, domain.DestructionCarried, note.Facts()); err != nil {
			return err
		}
	}
	return d.cutOwn(ctx, w, d.streams.Destruction(), before)
}

// pastPeriod returns the first revision that the stream destruction has, and the
// first one that is within its period or in progress.
func (d *Disposal) pastPeriod(ctx context.Context, f *fates) (from, before domain.Revision, err error) {
	period, now := d.Policy.Policy().Records.Destruction, d.Clock()
	from = domain.NoStream
	for e, err := range d.notes(ctx, d.streams.Destruction(), eventstore.LastRevision) {
		if err != nil {
			return 0, 0, fmt.Errorf("reading destructions: %w", err)
		}
		if from == domain.NoStream {
			from = e.Revision
		}
		if !older(e.envelope.Hour, period, now) || f.inProgress(e.Revision) {
			return from, e.Revision, nil
		}
		before = e.Revision // the last one stays: a store keeps it
	}
	return from, before, nil
}

func (f *fates) inProgress(r domain.Revision) bool {
	for _, begun := range f.begun {
		if begun.revision == r {
			return true
		}
	}
	return false
}

// needed are the destructions before a revision that are not disposed of, or of
// which the log may still show what they took: a range, whose streams live on,
// until its buckets are disposed of.
func (f *fates) needed(before domain.Revision) []*fate {
	var list []*fate
	for _, one := range f.all {
		if one.revision < before && (one.recorded == domain.Start || one.note.Kind == domain.DestroyRange && !f.allRecorded(one.note.Buckets)) {
			list = append(list, one)
		}
	}
	pending := map[domain.CommandID]*fate{}
	for _, b := range f.buckets {
		if b.revision < before && b.recorded == domain.Start && !b.note.Command.IsZero() {
			pending[b.note.Command] = b
		}
	}
	for _, b := range pending {
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b *fate) int { return int(a.revision - b.revision) })
	return list
}

func (f *fates) allRecorded(buckets []domain.RetentionKey) bool {
	for _, k := range buckets {
		if one := f.buckets[k]; one == nil || one.recorded == domain.Start {
			return false
		}
	}
	return true
}
