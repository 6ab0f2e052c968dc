package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// An opening is an opening handle in the cache.
type opening struct {
	key   *seal.Opening
	due   time.Time
	tags  deadTags
	block domain.BlockID
	// kept: the key stands on a kept B, whose S is destroyed.
	kept bool
}

// forget zeroes an opening that leaves the cache.
func forget(_ domain.Where, o *opening) { o.zero() }

func (o *opening) zero() bool {
	o.key.Zero()
	return true
}

// deadTags are the tags of the keys behind one place.
type deadTags struct{ ref, b, s, r, block domain.Tag }

func (r *Ring) tagsOf(w domain.Where, block domain.BlockID) deadTags {
	t := deadTags{
		ref: r.refTag(w.Ref),
		b:   r.tagger.Tag(domain.KindB, w.Bytes()),
		s:   r.tagger.Tag(domain.KindS, w.Subject()),
		r:   r.tagger.Tag(domain.KindR, w.Retention()),
	}
	if !block.IsZero() {
		t.block = r.tagger.Tag(domain.KindBlock, domain.WhereID(r.Ledger, block))
	}
	return t
}

// Opening returns a key that opens one place; block is that of an anonymous ref
// and zero for a person. The key is shared and dropped at any time: where its
// Open answers domain.ErrUnavailable the caller asks for it again, and hears
// why. It also asks again after decrypting and before the first byte leaves: a
// fence may have come between.
//
// Exactly one outcome (FORMAT §4): domain.ErrErased, domain.ErrExpired,
// domain.ErrDenied (past due and not yet destroyed, or fenced),
// domain.ErrUnavailable, domain.ErrUnknownKey, or nil.
func (r *Ring) Opening(ctx context.Context, w domain.Where, block domain.BlockID) (*seal.Opening, error) {
	o, err := r.open(ctx, w, block)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", w, err)
	}
	return o.key, nil
}

func (r *Ring) open(ctx context.Context, w domain.Where, block domain.BlockID) (*opening, error) {
	if w.Ledger != r.Ledger || (w.Tier == domain.AnonTier) == block.IsZero() {
		return nil, domain.ErrUnknownKey
	}
	for {
		if o := r.cachedOpening(w, block); o != nil {
			return o, nil
		}
		epoch := r.openings.epoch(w)
		o, err := r.deriveOpening(ctx, w, block)
		if err != nil {
			return nil, err
		}
		stands, ok := r.openings.put(w, o, epoch)
		if stands != o || !ok {
			o.zero()
		}
		if ok {
			return stands, nil
		}
	}
}

// cachedOpening returns what the cache holds, if nothing has come in its way
// since; otherwise it drops it, and the slow path says what came.
func (r *Ring) cachedOpening(w domain.Where, block domain.BlockID) *opening {
	o, ok := r.openings.get(w)
	if !ok {
		return nil
	}
	if o.block == block && !r.passedAway(o) && r.Clock().Before(r.earlier(w, o.due)) {
		return o
	}
	r.openings.purgeAt(w, func(k domain.Where, o *opening) bool { return k == w && o.zero() })
	return nil
}

// passedAway looks the tags up once more.
func (r *Ring) passedAway(o *opening) bool {
	t := o.tags
	return r.Dead.Has(t.ref) || r.Dead.Has(t.b) || r.Dead.Has(t.r) ||
		(!o.kept && r.Dead.Has(t.s)) || (!o.block.IsZero() && r.Dead.Has(t.block))
}

func (r *Ring) earlier(w domain.Where, due time.Time) time.Time {
	return r.dueOf(RetentionRecord{RetentionKey: w.RetentionKey(), Due: due})
}

// deriveOpening goes through the outcomes in their order.
func (r *Ring) deriveOpening(ctx context.Context, w domain.Where, block domain.BlockID) (*opening, error) {
	tags := r.tagsOf(w, block)
	if r.Dead.Has(tags.ref) || r.Dead.Has(tags.b) {
		return nil, domain.ErrErased
	}
	expired := r.Dead.Has(tags.r)
	if expired && !r.Dead.Has(tags.s) {
		return nil, domain.ErrExpired
	}
	if !block.IsZero() && r.Dead.Has(tags.block) {
		return nil, domain.ErrErased
	}
	found, err := r.findBucketKey(ctx, w, block, tags)
	defer found.key.Zero()
	switch {
	case err != nil && expired:
		return nil, domain.ErrExpired // whatever the custodian would say, R is gone
	case err != nil:
		return nil, r.deniedBefore(w, err)
	case found.erased:
		return nil, domain.ErrErased
	case expired:
		return nil, domain.ErrExpired
	}
	return r.withRetention(ctx, w, block, tags, found)
}

// A foundKey is B of a place, or why there is none.
type foundKey struct {
	key    seal.Secret
	ok     bool // key is set
	kept   bool
	erased bool // S is named, and no B was kept
	fenced bool
}

func (r *Ring) findBucketKey(ctx context.Context, w domain.Where, block domain.BlockID, tags deadTags) (foundKey, error) {
	f := foundKey{fenced: r.stopped.has(w.Ref, block)}
	if !block.IsZero() {
		s, err := r.blockKey(ctx, block, w.Ref, w.Class)
		defer s.Zero()
		if err == nil && w.Gen == 1 {
			f.key, f.ok = seal.BucketKey(s, w), true
		}
		return f, unlessAbsent(err)
	}
	subject, b, err := r.Custodian.Bundle(ctx, w.Ref)
	if err != nil {
		f.erased = r.Dead.Has(tags.s)
		return f, unlessAbsent(err)
	}
	defer b.Zero()
	f.fenced = f.fenced || subject.Fence.Stops(w.Class)
	f.key, f.ok = b.KeptAt(w)
	f.kept = f.ok
	if !f.ok && r.Dead.Has(tags.s) {
		f.erased = true
		return f, nil
	}
	if s, ok := b.Subject(w.Class, w.Gen); ok && !f.ok && subject.Scope == w.Scope {
		f.key, f.ok = seal.BucketKey(s, w), true
		s.Zero()
	}
	return f, nil
}

func unlessAbsent(err error) error {
	if errors.Is(err, domain.ErrNotFound) {
		return nil
	}
	return err
}

// deniedBefore is what an unreachable custodian comes to: what the policy alone
// knows to be past due is denied, the rest is unavailable.
func (r *Ring) deniedBefore(w domain.Where, err error) error {
	if due, ok := r.Policy().Due(w.RetentionKey()); ok && !r.Clock().Before(due) {
		return domain.ErrDenied
	}
	return err
}

// withRetention joins B and R, and looks the tags up again before anything is
// cached.
func (r *Ring) withRetention(ctx context.Context, w domain.Where, block domain.BlockID, tags deadTags, f foundKey) (*opening, error) {
	rec, key, err := r.Custodian.Retention(ctx, w.RetentionKey())
	defer key.Zero()
	if err = unlessAbsent(err); err != nil {
		return nil, r.deniedBefore(w, err)
	}
	due := r.dueOf(rec)
	switch {
	case rec.Destroyed:
		return nil, domain.ErrExpired
	case f.fenced, !rec.Due.IsZero() && !r.Clock().Before(due):
		return nil, domain.ErrDenied
	case !f.ok, rec.Due.IsZero():
		return nil, domain.ErrUnknownKey
	}
	o := &opening{key: seal.NewOpening(f.key, key, w), due: due, tags: tags, block: block, kept: f.kept}
	if r.passedAway(o) {
		o.zero()
		return r.deriveOpening(ctx, w, block)
	}
	return o, nil
}
