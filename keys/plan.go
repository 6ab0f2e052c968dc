package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// Plan computes what a fenced destruction takes. Errors: domain.ErrNotFound if
// the person is not there (any more), domain.ErrUnavailable.
func (r *Ring) Plan(ctx context.Context, d Destruction) (Plan, error) {
	err := d.Validate()
	if err != nil {
		return Plan{}, fmt.Errorf("planning %s: %w", d.Command, err)
	}
	var p Plan
	switch d.Kind {
	case DestroySubject, DestroyClass, DestroyRange:
		p, err = r.planPerson(ctx, d)
	case DestroyRetention:
		p, err = r.planRetention(ctx, d)
	case DestroyBlock:
		p, err = r.planBlock(ctx, d)
	}
	if err != nil {
		return Plan{}, fmt.Errorf("planning %s: %w", d.Command, err)
	}
	p.settle()
	return p, nil
}

func (r *Ring) planPerson(ctx context.Context, d Destruction) (Plan, error) {
	s, b, err := r.Custodian.Bundle(ctx, d.Ref)
	if err != nil {
		return Plan{}, err
	}
	defer b.Zero()
	if s.Fence.Command != d.Command {
		return Plan{}, errors.New("the person is not fenced for it")
	}
	issued, err := r.issued(ctx)
	if err != nil {
		return Plan{}, err
	}
	switch d.Kind {
	case DestroySubject:
		return r.planSubject(ctx, d, b, issued)
	case DestroyRange:
		return r.planRange(d, b, issued), nil
	default:
		return r.planClasses(d, b, issued), nil
	}
}

// issued lists the retention keys that live, also those ahead, without the
// anonymous tier.
func (r *Ring) issued(ctx context.Context) (live []domain.RetentionKey, err error) {
	err = r.Custodian.EachRetention(ctx, func(rec RetentionRecord) bool {
		if !rec.Destroyed && rec.Tier != domain.AnonTier {
			live = append(live, rec.RetentionKey)
		}
		return true
	})
	return live, err
}

// planSubject takes everything: one tag over the ref, one over each linked ref.
func (r *Ring) planSubject(ctx context.Context, d Destruction, b *seal.Bundle, issued []domain.RetentionKey) (Plan, error) {
	p := Plan{Tags: []domain.Tag{r.refTag(d.Ref)}, Keys: len(b.Subjects) + len(b.Kept), Links: slices.Clone(b.Links)}
	for _, s := range b.Subjects {
		p.Gens = append(p.Gens, ClassGen{Class: s.Class, Gen: s.Gen})
	}
	for _, last := range b.Last {
		p.Last = append(p.Last, ClassGen{Class: last.Class, Gen: last.Gen})
	}
	p.take(issued, func(k domain.RetentionKey) bool { return b.LastOf(k.Class) > 0 })
	for _, l := range b.Links {
		p.Tags = append(p.Tags, r.refTag(l.Ref))
		n, err := r.keysOfLink(ctx, l)
		if err != nil {
			return Plan{}, err
		}
		p.Keys += n
		p.LinkKeys = append(p.LinkKeys, n)
	}
	return p, nil
}

func (r *Ring) keysOfLink(ctx context.Context, l seal.Link) (int, error) {
	b, err := r.Custodian.Block(ctx, l.Block)
	if err != nil {
		return 0, unlessAbsent(err)
	}
	defer b.Zero()
	for _, ref := range b.Refs {
		if ref.Ref == l.Ref {
			return len(ref.Keys), nil
		}
	}
	return 0, nil
}

// planClasses takes every S and every kept B of the classes.
func (r *Ring) planClasses(d Destruction, b *seal.Bundle, issued []domain.RetentionKey) Plan {
	p := r.planGens(d, b)
	for _, k := range b.Kept {
		if slices.Contains(d.Classes, k.Class) {
			p.Dropped = append(p.Dropped, placeOf(k))
		}
	}
	p.take(issued, func(k domain.RetentionKey) bool { return slices.Contains(d.Classes, k.Class) })
	return r.nameDropped(d, p)
}

// planGens takes the S of the classes.
func (r *Ring) planGens(d Destruction, b *seal.Bundle) (p Plan) {
	for _, s := range b.Subjects {
		if slices.Contains(d.Classes, s.Class) {
			p.Gens = append(p.Gens, ClassGen{Class: s.Class, Gen: s.Gen})
			w := Place{RetentionKey: domain.RetentionKey{Class: s.Class}, Gen: s.Gen}.where(r.Ledger, d.Scope, d.Ref)
			p.Tags = append(p.Tags, r.tagger.Tag(domain.KindS, w.Subject()))
		}
	}
	p.Keys = len(p.Gens)
	return p
}

// planRange takes the S of the classes, keeps the B of every other bucket whose
// R was issued, and takes the earlier kept B that lie in the range.
func (r *Ring) planRange(d Destruction, b *seal.Bundle, issued []domain.RetentionKey) Plan {
	p := r.planGens(d, b)
	p.take(issued, func(k domain.RetentionKey) bool { return slices.Contains(d.Classes, k.Class) && d.takes(k.Bucket) })
	for _, k := range issued {
		if !slices.Contains(d.Classes, k.Class) {
			continue
		}
		for _, g := range p.Gens {
			place := Place{RetentionKey: k, Gen: g.Gen}
			switch {
			case g.Class != k.Class:
			case d.takes(k.Bucket):
				p.Tags = append(p.Tags, r.placeTag(d, place))
			default:
				p.Kept = append(p.Kept, place)
			}
		}
	}
	for _, k := range b.Kept {
		if slices.Contains(d.Classes, k.Class) && d.takes(k.Bucket) {
			p.Dropped = append(p.Dropped, placeOf(k))
		}
	}
	return r.nameDropped(d, p)
}

func (r *Ring) nameDropped(d Destruction, p Plan) Plan {
	for _, place := range p.Dropped {
		p.Tags = append(p.Tags, r.placeTag(d, place))
	}
	p.Keys += len(p.Dropped)
	return p
}

func (r *Ring) placeTag(d Destruction, p Place) domain.Tag {
	return r.tagger.Tag(domain.KindB, p.where(r.Ledger, d.Scope, d.Ref).Bytes())
}

func placeOf(k seal.KeptKey) Place {
	return Place{RetentionKey: domain.RetentionKey{Class: k.Class, Tier: k.Tier, Bucket: k.Bucket}, Gen: k.Gen}
}

// planRetention names every key of the list, also those never issued.
func (r *Ring) planRetention(ctx context.Context, d Destruction) (p Plan, err error) {
	p.Buckets = slices.Clone(d.Retention)
	for _, k := range d.Retention {
		p.Tags = append(p.Tags, r.retentionTag(k))
		rec, key, err := r.Custodian.Retention(ctx, k)
		key.Zero()
		if err = unlessAbsent(err); err != nil {
			return Plan{}, err
		}
		if !rec.Destroyed && !rec.Due.IsZero() {
			p.Keys++
		}
	}
	return p, nil
}

func (r *Ring) planBlock(ctx context.Context, d Destruction) (Plan, error) {
	p := Plan{Tags: []domain.Tag{r.tagger.Tag(domain.KindBlock, domain.WhereID(r.Ledger, d.Block))}}
	b, err := r.Custodian.Block(ctx, d.Block)
	if err != nil {
		return p, unlessAbsent(err)
	}
	defer b.Zero()
	p.Keys = len(b.Refs) * len(b.Classes)
	return p, nil
}

// take lists the buckets that open nothing any more.
func (p *Plan) take(ks []domain.RetentionKey, taken func(domain.RetentionKey) bool) {
	for _, k := range ks {
		if taken(k) {
			p.Buckets = append(p.Buckets, k)
		}
	}
}

// settle makes equal plans equal, and lets the order of tags tell nothing.
func (p *Plan) settle() {
	slices.SortFunc(p.Tags, func(a, b domain.Tag) int { return slices.Compare(a[:], b[:]) })
	p.Tags = slices.Compact(p.Tags)
	slices.SortFunc(p.Gens, ClassGen.Compare)
	slices.SortFunc(p.Last, ClassGen.Compare)
	slices.SortFunc(p.Buckets, domain.RetentionKey.Compare)
	slices.SortFunc(p.Kept, comparePlaces)
	slices.SortFunc(p.Dropped, comparePlaces)
}

func comparePlaces(a, b Place) int {
	return cmp.Or(a.RetentionKey.Compare(b.RetentionKey), cmp.Compare(a.Gen, b.Gen))
}
