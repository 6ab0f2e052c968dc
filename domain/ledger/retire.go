package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/keys"
)

// retirementDocument is the custodian's document of a retirement in progress.
const retirementDocument = "retirement"

// retireAfter is how long a ref or block stays at least: what was issued may not
// be used yet.
const retireAfter = 48 * time.Hour

// retire destroys refs and blocks of which nothing alive is left, like erased
// ones but without a request (FORMAT §2). It returns how many.
func (d *Disposal) retire(ctx context.Context) (int, error) {
	old := d.Clock().Add(-retireAfter)
	spared, err := d.sparedRefs(ctx)
	if err != nil {
		return 0, err
	}
	places, err := d.places(ctx)
	if err != nil {
		return 0, err
	}
	var wanted []keys.Destruction
	err = d.Custody.Subjects(ctx, func(s keys.Subject) bool {
		if s.Issued.Before(old) && !spared[s.Ref] && s.Fence.Command.IsZero() && !d.Busy(s.Ref) {
			wanted = append(wanted, keys.Destruction{Kind: keys.DestroySubject, Ref: s.Ref, Scope: s.Scope})
		}
		return true
	})
	if err != nil {
		return 0, fmt.Errorf("listing persons: %w", err)
	}
	err = d.Custody.EachBlock(ctx, func(id domain.BlockID, issued time.Time) bool {
		if issued.Before(old) && !d.Ring.HandsOut(id) {
			wanted = append(wanted, keys.Destruction{Kind: keys.DestroyBlock, Block: id})
		}
		return true
	})
	if err != nil {
		return 0, fmt.Errorf("listing blocks: %w", err)
	}
	n := 0
	for _, one := range wanted {
		gone, err := d.retireOne(ctx, one, places)
		if err != nil {
			return n, err
		}
		if gone {
			n++
		}
	}
	return n, nil
}

// sparedRefs are the controller, and whoever acts through Lethe with a live token.
func (d *Disposal) sparedRefs(ctx context.Context) (map[domain.SubjectRef]bool, error) {
	refs, err := d.Spared(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing principals: %w", err)
	}
	controller, err := d.controller(ctx)
	if err != nil {
		return nil, err
	}
	spared := map[domain.SubjectRef]bool{controller: true}
	for _, ref := range refs {
		spared[ref] = true
	}
	return spared, nil
}

// retireOne looks before the fence, because most have something alive, and again
// behind it, where nothing can come any more.
func (d *Disposal) retireOne(ctx context.Context, one keys.Destruction, places []placing) (bool, error) {
	if quiet, err := d.quiet(ctx, one, places); err != nil || !quiet {
		return false, err
	}
	d.destroying.Lock()
	defer d.destroying.Unlock()
	w, err := d.loadRun(ctx, retirementDocument)
	if err != nil {
		return false, err
	}
	if w == nil {
		if w, err = d.newRun(ctx, retirementDocument, one, false); err != nil {
			return false, err
		}
	} else if !w.Settled { // left by a failure in this process
		return false, d.abandon(ctx, w)
	}
	if !w.Settled {
		if err := d.Ring.Fence(ctx, w.Destruction); err != nil {
			if errors.Is(err, domain.ErrNotFound) || errors.Is(err, domain.ErrFenced) {
				return false, d.closeRun(ctx, w) // somebody else destroys it
			}
			return false, err
		}
		quiet, err := d.quiet(ctx, w.Destruction, places)
		if err != nil {
			return false, err
		}
		if !quiet {
			return false, d.abandon(ctx, w)
		}
		// From here the destruction completes, if not in this call then in the next one.
		w.Settled = true
		if err := d.saveRun(ctx, w); err != nil {
			return false, err
		}
	}
	return true, d.carryOut(ctx, w)
}

// quiet reports whether nothing alive is left of a ref or block: every stream is
// deleted, at rest, or never was.
func (d *Disposal) quiet(ctx context.Context, one keys.Destruction, places []placing) (bool, error) {
	if one.Kind == keys.DestroyBlock {
		return d.quietBlock(ctx, one.Block, places)
	}
	if d.Busy(one.Ref) {
		return false, nil
	}
	_, b, err := d.Custody.Bundle(ctx, one.Ref)
	if errors.Is(err, domain.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("keys of a person: %w", err)
	}
	defer b.Zero()
	if linked, err := d.linked(ctx, b.Links); err != nil || linked {
		return false, err
	}
	for _, last := range b.Last {
		for gen := domain.Gen(1); gen <= last.Gen; gen++ {
			for _, p := range places {
				if p.class != last.Class {
					continue
				}
				if quiet, err := d.allAtRest(ctx, d.appendPlaces(nil, one.Ref, p, gen)); err != nil || !quiet {
					return false, err
				}
			}
		}
	}
	return true, nil
}

// linked reports whether anonymous refs of a person still have keys; they go with
// their block, and the person after them.
func (d *Disposal) linked(ctx context.Context, links []seal.Link) (bool, error) {
	for _, l := range links {
		b, err := d.Custody.Block(ctx, l.Block)
		if err == nil {
			b.Zero()
			return true, nil
		}
		if !errors.Is(err, domain.ErrNotFound) {
			return false, fmt.Errorf("keys of a block: %w", err)
		}
	}
	return false, nil
}

func (d *Disposal) quietBlock(ctx context.Context, id domain.BlockID, places []placing) (bool, error) {
	b, err := d.Custody.Block(ctx, id)
	if errors.Is(err, domain.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("keys of a block: %w", err)
	}
	defer b.Zero()
	for _, ref := range b.Refs {
		if d.Busy(ref.Ref) {
			return false, nil
		}
	}
	used := slices.DeleteFunc(slices.Clone(places), func(p placing) bool { return !slices.Contains(b.Classes, p.class) })
	now := &fate{note: domain.DestructionNote{Block: id}, hour: domain.HourOf(d.Clock())}
	streams, err := d.streamsOfBlock(ctx, now, used)
	if err != nil {
		return false, err
	}
	return d.allAtRest(ctx, streams)
}

func (d *Disposal) allAtRest(ctx context.Context, streams []domain.Stream) (bool, error) {
	for _, s := range streams {
		for r, err := range d.Log.ReadStream(ctx, s, eventstore.LastRevision, eventstore.Backward, 1) {
			if errors.Is(err, eventstore.ErrDeleted) {
				break
			}
			if err != nil {
				return false, fmt.Errorf("reading stream %s: %w", s, err)
			}
			if r.Type() != domain.StreamRested {
				return false, nil
			}
		}
	}
	return true, nil
}
