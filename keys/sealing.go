package keys

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// A place is what a sealing handle is for. The gen is the custodian's to say.
type place struct {
	ref    domain.SubjectRef
	class  domain.Class
	tier   domain.Tier
	bucket domain.Bucket
	scope  domain.Scope
}

func (p place) shard() byte { return p.ref[0] }

func (p place) retention() domain.RetentionKey {
	return domain.RetentionKey{Class: p.class, Tier: p.tier, Bucket: p.bucket}
}

func (p place) where(l domain.LedgerID, gen domain.Gen) domain.Where {
	return domain.Where{Ledger: l, Scope: p.scope, Ref: p.ref, Class: p.class, Tier: p.tier, Bucket: p.bucket, Gen: gen}
}

// A handle is a sealing handle in the cache.
type handle struct {
	sealing *seal.Sealing
	due     int64 // Unix seconds
	// uses counts how often it was handed out, which is how often it sealed or
	// will: it outlives the handle where it is large (spent).
	uses  atomic.Uint32
	block domain.BlockID // zero for a person
}

// retire makes the handle refuse also where somebody still has it.
func (h *handle) retire() bool {
	h.sealing.Retire()
	return true
}

// Sealing returns the handle that seals for one person, class, tier and bucket.
// It is asked for each event: a handle kept longer than one append is not
// stopped by a fence once the cache let it go. What is missing is issued: a
// subject key under the next gen, a retention key while the clock is trusted.
//
// Errors: domain.ErrFenced, domain.ErrErased (the ref is destroyed),
// domain.ErrNotDue, domain.ErrPastDue (record the event late), domain.ErrClock,
// domain.ErrExhausted, domain.ErrUnavailable, domain.ErrNotFound (no such
// person).
func (r *Ring) Sealing(ctx context.Context, ref domain.SubjectRef, scope domain.Scope, class domain.Class, tier domain.Tier, bucket domain.Bucket) (*seal.Sealing, error) {
	p := place{ref: ref, class: class, tier: tier, bucket: bucket, scope: scope}
	if h, ok := r.handles.get(p); ok {
		return h.use(r.Clock())
	}
	if tier == domain.AnonTier {
		return nil, fmt.Errorf("sealing %s: a person has no anonymous tier", p.retention())
	}
	return r.sealingMiss(ctx, p, domain.BlockID{})
}

// Seals reports whether Sealing need not ask the custodian.
func (r *Ring) Seals(ref domain.SubjectRef, scope domain.Scope, class domain.Class, tier domain.Tier, bucket domain.Bucket) bool {
	return r.handles.has(place{ref: ref, class: class, tier: tier, bucket: bucket, scope: scope})
}

// use hands the handle out once more. It allocates nothing.
func (h *handle) use(now time.Time) (*seal.Sealing, error) {
	if now.Unix() >= h.due {
		return nil, domain.ErrPastDue
	}
	if h.uses.Add(1) > seal.MaxSeals {
		h.uses.Add(^uint32(0))
		return nil, domain.ErrExhausted
	}
	return h.sealing, nil
}

func (r *Ring) sealingMiss(ctx context.Context, p place, block domain.BlockID) (*seal.Sealing, error) {
	h, err := r.issuing.do(ctx, p, func() (*handle, error) { return r.makeHandle(ctx, p, block) })
	if err != nil {
		return nil, fmt.Errorf("sealing %s: %w", p.retention(), err)
	}
	return h.use(r.Clock())
}

// makeHandle derives and caches a handle; a purge meanwhile makes it begin anew
// and meet what the purge was for.
func (r *Ring) makeHandle(ctx context.Context, p place, block domain.BlockID) (*handle, error) {
	for {
		epoch := r.handles.epoch(p)
		h, err := r.deriveHandle(ctx, p, block)
		if err != nil {
			return nil, err
		}
		if h, ok := r.handles.put(p, h, epoch); ok {
			return h, nil
		}
		h.sealing.Retire()
	}
}

func (r *Ring) deriveHandle(ctx context.Context, p place, block domain.BlockID) (*handle, error) {
	switch {
	case !p.scope.Valid():
		return nil, errors.New("no such scope")
	case r.refDead(p.ref):
		return nil, domain.ErrErased
	case r.stopped.has(p.ref, block):
		return nil, domain.ErrFenced
	}
	rec, key, err := r.retention(ctx, p.retention())
	defer key.Zero()
	if err != nil {
		return nil, err
	}
	s, gen, err := r.subjectKey(ctx, p, block)
	defer s.Zero()
	if err != nil {
		return nil, err
	}
	h := r.newHandle(p, rec, key, s, gen)
	h.block = block
	return h, nil
}

// newHandle binds S and R to a place.
func (r *Ring) newHandle(p place, rec RetentionRecord, key, s seal.Secret, gen domain.Gen) *handle {
	w := p.where(r.Ledger, gen)
	b := seal.BucketKey(s, w)
	defer b.Zero()
	h := &handle{sealing: seal.NewSealing(b, key, w), due: r.dueOf(rec).Unix()}
	h.uses.Store(r.spent.of(p))
	return h
}

// subjectKey returns the S that seals now.
func (r *Ring) subjectKey(ctx context.Context, p place, block domain.BlockID) (seal.Secret, domain.Gen, error) {
	if !block.IsZero() {
		s, err := r.blockKey(ctx, block, p.ref, p.class)
		return s, 1, err
	}
	epoch := r.handles.epoch(p)
	subject, b, err := r.Custodian.Bundle(ctx, p.ref)
	if err != nil {
		return seal.Secret{}, 0, err
	}
	defer b.Zero()
	if subject.Scope != p.scope {
		return seal.Secret{}, 0, fmt.Errorf("scope %s is not the person's", p.scope)
	}
	if subject.Fence.Stops(p.class) {
		return seal.Secret{}, 0, domain.ErrFenced
	}
	if s, gen, ok := r.live(b, p); ok {
		r.siblings(ctx, p, subject, b, epoch)
		return s, gen, nil
	}
	return r.issueSubjectKey(ctx, p)
}

// live finds the S of the highest gen that the journal does not name.
func (r *Ring) live(b *seal.Bundle, p place) (key seal.Secret, gen domain.Gen, ok bool) {
	for _, s := range b.Subjects {
		if s.Class == p.class && s.Gen > gen && !r.subjectDead(p, s.Gen) {
			key, gen, ok = s.Key, s.Gen, true
		}
	}
	return key, gen, ok
}

func (r *Ring) subjectDead(p place, gen domain.Gen) bool {
	return r.Dead.Has(r.tagger.Tag(domain.KindS, p.where(r.Ledger, gen).Subject()))
}

// issueSubjectKey makes an S under the first gen that was never used: above the
// bundle's last, above what the log shows, and not named by the journal.
func (r *Ring) issueSubjectKey(ctx context.Context, p place) (key seal.Secret, gen domain.Gen, err error) {
	if rule, ok := r.Policy().Class(p.class); !ok || rule.ScopeOf() != p.scope {
		return key, 0, fmt.Errorf("the policy has no class %s of scope %s", p.class, p.scope)
	}
	var shown domain.Gen
	if r.LogGen != nil {
		if shown, err = r.LogGen(ctx, p.ref, p.class); err != nil {
			return key, 0, fmt.Errorf("finding the last gen in the log: %w", err)
		}
	}
	err = r.Custodian.Change(ctx, p.ref, func(s *Subject, b *seal.Bundle) error {
		if s.Fence.Stops(p.class) {
			return domain.ErrFenced
		}
		var ok bool
		if key, gen, ok = r.live(b, p); ok {
			return nil // somebody else was first
		}
		gen = max(b.LastOf(p.class), shown) + 1
		for r.subjectDead(p, gen) {
			gen++
		}
		key = newSecret()
		return b.Issue(p.class, gen, key)
	})
	return key, gen, err
}

// worthRemembering is how many seals an evicted handle must have made for its
// count to be kept. Below it, getting near 2^32 seals under one key takes so
// many evictions that no process lives to see them.
const worthRemembering = 1 << 16

// A spent remembers how often keys sealed whose handles left the cache, so that
// MaxSeals holds for the process and not for one stay in the cache. It has at
// most one entry for every 65,536 seals, and loses those of buckets past due.
type spent struct {
	mu     *sync.Mutex // guards counts
	counts map[place]spentCount
}

type spentCount struct {
	uses uint32
	due  int64
}

func newSpent() spent { return spent{mu: &sync.Mutex{}, counts: map[place]spentCount{}} }

func (s spent) remember(p place, h *handle) {
	uses := h.uses.Load()
	if uses < worthRemembering {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[p] = spentCount{uses: uses, due: h.due}
}

func (s spent) of(p place) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[p].uses
}

func (s spent) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, c := range s.counts {
		if now.Unix() >= c.due {
			delete(s.counts, p)
		}
	}
}
