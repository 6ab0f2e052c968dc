package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// remove deletes the streams of dead refs, gens and blocks, and cuts the others
// where the first event stands whose keys live.
func (d *Disposal) remove(ctx context.Context, w *sweep, f *fates, done *Disposed) error {
	if !w.Recorded || w.Removed {
		return nil
	}
	end, err := d.end(ctx)
	if err != nil {
		return err
	}
	if err := d.Witnessed(ctx, end); err != nil {
		return fmt.Errorf("waiting for the leaves of the Merkle log: %w", err)
	}
	places, err := d.places(ctx)
	if err != nil {
		return err
	}
	if err := d.deleteStreams(ctx, w, f, places, done); err != nil {
		return err
	}
	if err := d.truncate(ctx, f, w.Counted[len(w.Counted)-1], done); err != nil {
		return err
	}
	w.Removed = true
	return d.saveSweep(ctx, w)
}

// A placing is what streams of persons may be named by: every class and tier of
// every policy revision.
type placing struct {
	class domain.Class
	tiers []domain.Tier
	width []domain.Width // of the anonymous tier, where a revision has it
}

func (d *Disposal) places(ctx context.Context) ([]placing, error) {
	var list []placing
	at := map[domain.Class]int{}
	revisions, err := d.Policy.Revisions(ctx)
	if err != nil {
		return nil, err
	}
	for _, policy := range revisions {
		for _, rule := range policy.Classes {
			i, known := at[rule.ID]
			if !known {
				i = len(list)
				at[rule.ID] = i
				list = append(list, placing{class: rule.ID, tiers: []domain.Tier{domain.OwnTier}})
			}
			list[i].widen(rule)
		}
	}
	return list, nil
}

func (p *placing) widen(rule domain.ClassRule) {
	for _, t := range tiersOf(rule) {
		p.tiers = appendNew(p.tiers, t)
	}
	p.width = appendNew(p.width, rule.Bucket)
}

func appendNew[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// saveEvery is how many destructions are removed between two notes of progress.
const saveEvery = 64

// deleteStreams puts tombstones, also where there never was a stream, so that no
// late write brings anything back.
func (d *Disposal) deleteStreams(ctx context.Context, w *sweep, f *fates, places []placing, done *Disposed) error {
	for i, one := range f.pending {
		if i < w.Deleted {
			continue
		}
		streams, err := d.streamsOfFate(ctx, one, places)
		if err != nil {
			return err
		}
		for _, s := range streams {
			if err := d.Whole.Delete(ctx, s); err != nil {
				return fmt.Errorf("deleting stream %s: %w", s, err)
			}
			d.heads.Remove(s)
			done.Deleted++
		}
		if w.Deleted = i + 1; w.Deleted%saveEvery == 0 {
			if err := d.saveSweep(ctx, w); err != nil {
				return err
			}
		}
	}
	return nil
}

// streamsOfFate are the streams that hold nothing but what a destruction took.
func (d *Disposal) streamsOfFate(ctx context.Context, one *fate, places []placing) (streams []domain.Stream, err error) {
	switch one.note.Kind {
	case domain.DestroySubject:
		for _, p := range places {
			for gen := domain.Gen(1); gen <= one.lastGen(p.class); gen++ {
				streams = d.appendPlaces(streams, one.note.Ref, p, gen)
			}
		}
	case domain.DestroyClass:
		for _, c := range one.note.Classes {
			for _, p := range places {
				if p.class == c.Class {
					streams = d.appendPlaces(streams, one.note.Ref, p, c.Gen)
				}
			}
		}
	case domain.DestroyBlock:
		return d.streamsOfBlock(ctx, one, places)
	case domain.DestroyRange, domain.DestroyRetention:
		// Their streams live on and are cut.
	}
	return streams, nil
}

func (d *Disposal) appendPlaces(streams []domain.Stream, ref domain.SubjectRef, p placing, gen domain.Gen) []domain.Stream {
	for _, tier := range p.tiers {
		streams = append(streams, d.streams.Of(domain.Where{Ref: ref, Class: p.class, Tier: tier, Gen: gen}))
	}
	return streams
}

// lastGen is the last gen of a class that a whole person had; 1 where they had
// none of it.
func (o *fate) lastGen(class domain.Class) domain.Gen {
	for _, c := range o.note.Classes {
		if c.Class == class {
			return c.Gen
		}
	}
	return 1
}

// streamsOfBlock are those of every bucket in which the block could be used. A
// block is retired once its last bucket was disposed of, so they end with that
// of its destruction.
func (d *Disposal) streamsOfBlock(ctx context.Context, one *fate, places []placing) (streams []domain.Stream, err error) {
	within := d.Policy.Policy().Disposal.Within
	until := one.hour.Start()
	for _, p := range places {
		for _, width := range p.width {
			b := domain.BucketAt(until.Add(-2*within.After(until).Sub(until)-retireAfter), width)
			for ; !b.Start().After(until); b = b.Next() {
				s := d.streams.Anonymous(p.class, b, one.note.Block)
				if width == domain.Minute { // of trials: so many that only those there are go
					if last, err := d.Log.Last(ctx, s); err != nil && !errors.Is(err, eventstore.ErrDeleted) {
						return nil, fmt.Errorf("head of stream %s: %w", s, err)
					} else if last == domain.NoStream {
						continue
					}
				}
				streams = append(streams, s)
			}
		}
	}
	return streams, nil
}

// cutsKept bounds the streams of which a sweep remembers that they are cut; of a
// forgotten one the first event is looked at again.
const cutsKept = 1 << 16

// truncate goes over the log and cuts each stream that begins with events whose
// keys are gone.
func (d *Disposal) truncate(ctx context.Context, f *fates, counted domain.Position, done *Disposed) error {
	cuts, err := lru.New[domain.Stream, domain.Revision](cutsKept)
	if err != nil {
		return fmt.Errorf("making the list of cut streams: %w", err)
	}
	for e, err := range d.personal(ctx, domain.Start, counted) {
		if err != nil {
			return err
		}
		if cut, ok := cuts.Get(e.Stream()); ok && e.Revision < cut || !f.taken(e.envelope, e.name.Block, e.Position, counted) {
			continue
		}
		cut, err := d.cutStream(ctx, f, e.Stream(), counted)
		if err != nil {
			return err
		}
		if cut > 0 {
			done.Truncated++
		}
		cuts.Add(e.Stream(), max(cut, e.Revision+1))
	}
	return nil
}

// cutStream cuts one stream before its first event whose keys live, and returns
// where; 0 where nothing was to be cut. Where nothing alive follows it appends
// stream.rested first, because a store keeps a stream's last event.
func (d *Disposal) cutStream(ctx context.Context, f *fates, s domain.Stream, counted domain.Position) (domain.Revision, error) {
	cut, last, rested, err := d.firstAlive(ctx, f, s, counted)
	if errors.Is(err, eventstore.ErrDeleted) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if cut > last {
		if rested {
			cut = last
		} else if cut, err = d.rest(ctx, s, last); err != nil || cut == 0 {
			return 0, err
		}
	}
	if err := d.Whole.Truncate(ctx, s, cut); err != nil && !errors.Is(err, eventstore.ErrDeleted) {
		return 0, fmt.Errorf("cutting stream %s: %w", s, err)
	}
	return cut, nil
}

// firstAlive returns the revision of the first event of a stream whose keys live,
// or the one behind the last event; and whether the last is a stream.rested.
func (d *Disposal) firstAlive(ctx context.Context, f *fates, s domain.Stream, counted domain.Position) (cut, last domain.Revision, rested bool, err error) {
	for r, err := range d.Log.ReadStream(ctx, s, 0, eventstore.Forward, 0) {
		if err != nil {
			return 0, 0, false, fmt.Errorf("reading stream %s: %w", s, err)
		}
		last, rested = r.Revision, r.Type() == domain.StreamRested
		if rested {
			continue
		}
		e, ok, err := d.parse(r)
		if err != nil {
			return 0, 0, false, err
		}
		if !ok || !f.taken(e.envelope, e.name.Block, e.Position, counted) {
			return r.Revision, last, rested, nil
		}
	}
	return last + 1, last, rested, nil
}

// rest appends stream.rested behind revision last and returns its revision; 0
// where somebody else wrote, so that the stream is not at rest.
func (d *Disposal) rest(ctx context.Context, s domain.Stream, last domain.Revision) (domain.Revision, error) {
	name, err := d.streams.Parse(s)
	if err != nil {
		return 0, err
	}
	spec, err := domain.Events.Spec(domain.StreamRested)
	if err != nil {
		return 0, err
	}
	revision, _ := d.Policy.Current()
	e := domain.Envelope{Hour: domain.HourOf(d.Clock()), Policy: revision, Salt: newSalt(), Class: name.Class}
	event, err := d.integrity().Note(domain.Event(domain.New[domain.CommandID](), 0), s, spec, e)
	if err != nil {
		return 0, fmt.Errorf("noting %s: %w", domain.StreamRested, err)
	}
	d.heads.Remove(s)
	at, err := d.Log.Append(ctx, s, last, []domain.Sealed{event})
	var wrong *eventstore.WrongRevision
	if errors.As(err, &wrong) || errors.Is(err, eventstore.ErrDeleted) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("resting stream %s: %w", s, err)
	}
	return at.Revision, nil
}
