package keys

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// A Line is what a journal line says about keys.
type Line struct {
	Seq  uint64
	Kind DestructionKind
	Dead []domain.Tag
}

// Replayed counts what a replay found and destroyed.
type Replayed struct {
	Subjects, Gens, Kept, Linked, Blocks, Retention int
	// Rescued counts the B that were kept again out of an S that died.
	Rescued int
}

// Replay carries the destructions of the journal out once more, after the
// custodian was restored from a backup: it finds the keys that the lines name by
// computing tags over all there are, and destroys them. Of an S that a range
// took it keeps every B with a live R that no line names; of one that a class or
// a person took, nothing. lines is the whole journal, in order. Nothing else
// uses the ring meanwhile. It is idempotent.
func (r *Ring) Replay(ctx context.Context, lines []Line) (Replayed, error) {
	n := NewNamed(lines)
	for _, l := range lines {
		r.Dead.Add(l.Dead...)
	}
	r.purgeAll()
	p := replay{Ring: r, named: n}
	for _, step := range []func(context.Context) error{p.retentionKeys, p.blocks, p.subjects} {
		if err := step(ctx); err != nil {
			return p.done, fmt.Errorf("replaying the journal: %w", err)
		}
	}
	return p.done, nil
}

// A replay goes over a custodian once.
type replay struct {
	*Ring
	named Named
	live  []domain.RetentionKey
	done  Replayed
}

// retentionKeys destroys the R that a line names and lists those that live on.
func (p *replay) retentionKeys(ctx context.Context) error {
	doomed := map[uint64][]domain.RetentionKey{}
	err := p.Custodian.EachRetention(ctx, func(rec RetentionRecord) bool {
		if rec.Destroyed {
			return true
		}
		if l, ok := p.named[p.retentionTag(rec.RetentionKey)]; ok {
			doomed[l.Seq] = append(doomed[l.Seq], rec.RetentionKey)
		} else if rec.Tier != domain.AnonTier {
			p.live = append(p.live, rec.RetentionKey)
		}
		return true
	})
	if err != nil {
		return err
	}
	for seq, ks := range doomed {
		if err := p.Custodian.DestroyRetention(ctx, ks, seq); err != nil {
			return err
		}
		p.done.Retention += len(ks)
	}
	return nil
}

func (p *replay) blocks(ctx context.Context) error {
	var ids []domain.BlockID
	err := p.Custodian.EachBlock(ctx, func(id domain.BlockID, _ time.Time) bool {
		ids = append(ids, id)
		return true
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := p.block(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (p *replay) block(ctx context.Context, id domain.BlockID) error {
	if p.named.has(p.tagger.Tag(domain.KindBlock, domain.WhereID(p.Ledger, id))) {
		p.done.Blocks++
		return p.Custodian.RemoveBlock(ctx, id)
	}
	b, err := p.Custodian.Block(ctx, id)
	if err != nil {
		return err
	}
	defer b.Zero()
	for _, ref := range b.Refs {
		if !p.named.has(p.refTag(ref.Ref)) {
			continue
		}
		if err := p.removeLinked(ctx, seal.Link{Block: id, Ref: ref.Ref}); err != nil {
			return err
		}
		p.done.Linked++
	}
	return nil
}

func (p *replay) subjects(ctx context.Context) error {
	var all []Subject
	err := p.Custodian.Subjects(ctx, func(s Subject) bool {
		all = append(all, s)
		return true
	})
	if err != nil {
		return err
	}
	for _, s := range all {
		if err := p.subject(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (p *replay) subject(ctx context.Context, s Subject) error {
	if p.named.has(p.refTag(s.Ref)) {
		p.done.Subjects++
		return p.Custodian.Remove(ctx, s.Ref)
	}
	_, b, err := p.Custodian.Bundle(ctx, s.Ref)
	if err != nil {
		return err
	}
	defer b.Zero()
	if gens, kept, _ := p.edit(s, b); gens+kept == 0 {
		return nil
	}
	var gens, kept, rescued int
	err = p.Custodian.Change(ctx, s.Ref, func(s *Subject, b *seal.Bundle) error {
		gens, kept, rescued = p.edit(*s, b)
		return nil
	})
	p.done.Gens, p.done.Kept, p.done.Rescued = p.done.Gens+gens, p.done.Kept+kept, p.done.Rescued+rescued
	return err
}

// edit takes out of a bundle what the lines name.
func (p *replay) edit(s Subject, b *seal.Bundle) (gens, kept, rescued int) {
	for _, key := range slices.Clone(b.Subjects) {
		w := domain.Where{Ledger: p.Ledger, Scope: s.Scope, Ref: s.Ref, Class: key.Class, Gen: key.Gen}
		l, ok := p.named[p.tagger.Tag(domain.KindS, w.Subject())]
		if !ok {
			continue
		}
		gens++
		if l.Kind == DestroyRange {
			rescued += p.rescue(b, key.Key, w)
		}
		dropSubject(b, key.Class, key.Gen)
	}
	for _, key := range slices.Clone(b.Kept) {
		place := placeOf(key)
		if p.named.has(p.tagger.Tag(domain.KindB, place.where(p.Ledger, s.Scope, s.Ref).Bytes())) {
			kept++
			dropKept(b, place)
		}
	}
	return gens, kept, rescued
}

// rescue keeps every B of an S with a live R that no line names.
func (p *replay) rescue(b *seal.Bundle, s seal.Secret, w domain.Where) (n int) {
	for _, k := range p.live {
		if k.Class != w.Class {
			continue
		}
		w.Tier, w.Bucket = k.Tier, k.Bucket
		if !p.named.has(p.tagger.Tag(domain.KindB, w.Bytes())) {
			keep(b, s, w)
			n++
		}
	}
	return n
}
