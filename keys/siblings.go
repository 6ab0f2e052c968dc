package keys

import (
	"context"
	"errors"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// captured lists what a connection of a person is recorded under: the classes
// that pools capture, in the buckets of now.
func (r *Ring) captured(s Subject) (places []place) {
	policy, now := r.Policy(), r.Clock()
	for _, pool := range policy.Pools {
		for _, class := range pool.Capture {
			if rule, ok := policy.Class(class); ok && rule.ScopeOf() == s.Scope {
				places = append(places, place{
					ref: s.Ref, class: class, tier: domain.OwnTier, bucket: domain.BucketAt(now, rule.Bucket), scope: s.Scope,
				})
			}
		}
	}
	return places
}

// siblings derives the handles that a person's connections will need next beside
// asked, out of a bundle that was read or made, so that their classes together
// cost the custodian one reading, and those of a new person none. epoch is from
// before that reading, or before the person was entered: a fence that is heard
// since keeps them out of the cache. What cannot be derived now is left to who
// asks for it.
func (r *Ring) siblings(ctx context.Context, asked place, s Subject, b *seal.Bundle, epoch uint64) {
	for _, p := range r.captured(s) {
		if _, known := r.handles.get(p); known || p == asked || s.Fence.Stops(p.class) {
			continue
		}
		key, gen, ok := r.live(b, p)
		if !ok {
			continue
		}
		if err := r.sibling(ctx, p, key, gen, epoch); errors.Is(err, domain.ErrUnavailable) {
			return // the others would wait for it, too
		}
	}
}

func (r *Ring) sibling(ctx context.Context, p place, s seal.Secret, gen domain.Gen, epoch uint64) error {
	rec, key, err := r.retention(ctx, p.retention())
	defer key.Zero()
	if err != nil {
		return err
	}
	h := r.newHandle(p, rec, key, s, gen)
	if stands, ok := r.handles.put(p, h, epoch); !ok || stands != h {
		h.sealing.Retire()
	}
	return nil
}
