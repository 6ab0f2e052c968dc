package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// Execute destroys what a plan says. The journal line that names the plan's
// tags, number journalSeq, is durable when it is called: from there on the
// destruction completes, if not in this call then in the next one. It is
// idempotent, also behind Unfence: keys issued since are not touched.
func (r *Ring) Execute(ctx context.Context, d Destruction, p Plan, journalSeq uint64) error {
	err := d.Validate()
	if err == nil {
		r.Dead.Add(p.Tags...)
		r.purgeDestroyed(d, p)
		err = r.execute(ctx, d, p, journalSeq)
	}
	if err != nil {
		return fmt.Errorf("executing %s: %w", d.Command, err)
	}
	if d.Kind == DestroySubject || d.Kind == DestroyBlock {
		r.stopped.release(d.Command) // the dead tags stop them from here on
	}
	return nil
}

func (r *Ring) purgeDestroyed(d Destruction, p Plan) {
	switch d.Kind {
	case DestroySubject, DestroyClass, DestroyRange:
		r.purgePerson(d, p.Links)
	case DestroyRetention:
		r.purgeRetention(p.Buckets)
	case DestroyBlock:
		r.purgeBlock(d.Block)
	}
}

func (r *Ring) execute(ctx context.Context, d Destruction, p Plan, journalSeq uint64) error {
	switch d.Kind {
	case DestroySubject:
		for _, l := range p.Links {
			if err := r.removeLinked(ctx, l); err != nil {
				return err
			}
		}
		return r.Custodian.Remove(ctx, d.Ref)
	case DestroyClass, DestroyRange:
		return unlessAbsent(r.Custodian.Change(ctx, d.Ref, func(s *Subject, b *seal.Bundle) error {
			return p.apply(r.Ledger, d, s, b)
		}))
	case DestroyRetention:
		return r.Custodian.DestroyRetention(ctx, p.Buckets, journalSeq)
	case DestroyBlock:
		return r.Custodian.RemoveBlock(ctx, d.Block)
	}
	return errDestruction
}

// removeLinked destroys the S of one anonymous ref by re-sealing its block.
func (r *Ring) removeLinked(ctx context.Context, l seal.Link) error {
	err := r.Custodian.ChangeBlock(ctx, l.Block, func(b *seal.Block) error {
		b.Remove(l.Ref)
		return nil
	})
	return unlessAbsent(err)
}

var errUnfenced = errors.New("keys are to be destroyed that no fence protects")

// apply edits a bundle as planned. What is gone already was done before.
func (p Plan) apply(l domain.LedgerID, d Destruction, s *Subject, b *seal.Bundle) error {
	for _, g := range p.Gens {
		key, ok := b.Subject(g.Class, g.Gen)
		if !ok {
			continue
		}
		if s.Fence.Command != d.Command {
			return errUnfenced
		}
		for _, kept := range p.Kept {
			if kept.Class == g.Class && kept.Gen == g.Gen {
				keep(b, key, kept.where(l, s.Scope, s.Ref))
			}
		}
		key.Zero()
		dropSubject(b, g.Class, g.Gen)
	}
	for _, place := range p.Dropped {
		dropKept(b, place)
	}
	return nil
}

// keep puts the B of one bucket into the bundle, beside the S that dies.
func keep(b *seal.Bundle, s seal.Secret, w domain.Where) {
	if _, ok := b.KeptAt(w); ok {
		return
	}
	b.Kept = append(b.Kept, seal.KeptKey{Class: w.Class, Tier: w.Tier, Bucket: w.Bucket, Gen: w.Gen, Key: seal.BucketKey(s, w)})
}

func dropSubject(b *seal.Bundle, c domain.Class, g domain.Gen) {
	b.Subjects = slices.DeleteFunc(b.Subjects, func(s seal.SubjectKey) bool { return s.Class == c && s.Gen == g })
}

func dropKept(b *seal.Bundle, p Place) {
	b.Kept = slices.DeleteFunc(b.Kept, func(k seal.KeptKey) bool { return placeOf(k) == p })
}
