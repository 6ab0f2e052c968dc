package keys

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// refillBelow is how many refs are left of a block when the next one is made.
const refillBelow = seal.BlockSize / 4

// anonymous holds the blocks that this process hands refs out of. A block that
// an earlier process had begun is not gone on with.
type anonymous struct {
	mu      sync.Mutex // guards all
	current freshBlock
	next    freshBlock
	filling bool
}

// A freshBlock is what is left of a block.
type freshBlock struct {
	id      domain.BlockID
	classes []domain.Class
	refs    []domain.SubjectRef
}

// Anonymous hands out a ref for a connection that nobody identified, each once.
// Blocks are issued ahead, so it waits for the custodian only at the start and
// where refs are taken faster than blocks are made. Errors: domain.ErrNotFound
// if the policy records no class from anonymous connections,
// domain.ErrUnavailable.
func (r *Ring) Anonymous(ctx context.Context) (domain.BlockID, domain.SubjectRef, error) {
	classes := r.anonymousClasses()
	if len(classes) == 0 {
		return domain.BlockID{}, domain.SubjectRef{}, fmt.Errorf("an anonymous ref: the policy has no class for it: %w", domain.ErrNotFound)
	}
	for {
		if id, ref, ok := r.takeRef(classes); ok {
			return id, ref, nil
		}
		fresh, err := r.addBlock(ctx, classes)
		if err != nil {
			return domain.BlockID{}, domain.SubjectRef{}, fmt.Errorf("issuing a block of anonymous refs: %w", err)
		}
		r.anon.offer(fresh)
	}
}

// HandsOut reports whether refs of a block are still to be handed out.
func (r *Ring) HandsOut(id domain.BlockID) bool {
	r.anon.mu.Lock()
	defer r.anon.mu.Unlock()
	return r.anon.current.id == id || r.anon.next.id == id
}

// anonymousClasses lists the classes recorded from anonymous connections.
func (r *Ring) anonymousClasses() (classes []domain.Class) {
	policy := r.Policy()
	for _, rule := range policy.Classes {
		if rule.ScopeOf() == domain.Erasable && policy.CapturesAnonymous(rule) {
			classes = append(classes, rule.ID)
		}
	}
	return classes
}

// takeRef takes a ref of a block for exactly these classes, and has the next
// block made when few are left.
func (r *Ring) takeRef(classes []domain.Class) (domain.BlockID, domain.SubjectRef, bool) {
	a := &r.anon
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.current.serves(classes) {
		a.current, a.next = a.next, freshBlock{}
	}
	if !a.current.serves(classes) {
		return domain.BlockID{}, domain.SubjectRef{}, false
	}
	ref := a.current.refs[0]
	a.current.refs = a.current.refs[1:]
	if len(a.current.refs) < refillBelow && !a.next.serves(classes) && !a.filling {
		a.filling = true
		r.running.Go(func() { r.refill(classes) })
	}
	return a.current.id, ref, true
}

func (b freshBlock) serves(classes []domain.Class) bool {
	return len(b.refs) > 0 && slices.Equal(b.classes, classes)
}

// refill makes the next block. If it fails, whoever needs the block makes it and
// meets the error.
func (r *Ring) refill(classes []domain.Class) {
	fresh, err := r.addBlock(r.background, classes)
	r.anon.mu.Lock()
	r.anon.filling = false
	r.anon.mu.Unlock()
	if err == nil {
		r.anon.offer(fresh)
	}
}

// offer keeps a block for later use. One too many is let go; its refs are never
// used.
func (a *anonymous) offer(b freshBlock) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.current.serves(b.classes) {
		a.current = b
		return
	}
	a.next = b
}

func (r *Ring) addBlock(ctx context.Context, classes []domain.Class) (freshBlock, error) {
	b := &seal.Block{Classes: classes, Refs: make([]seal.BlockRef, seal.BlockSize)}
	defer b.Zero()
	fresh := freshBlock{id: domain.New[domain.BlockID](), classes: classes}
	for i := range b.Refs {
		ref := seal.BlockRef{Ref: domain.New[domain.SubjectRef](), Keys: make([]seal.Secret, len(classes))}
		for j := range ref.Keys {
			ref.Keys[j] = newSecret()
		}
		b.Refs[i] = ref
		fresh.refs = append(fresh.refs, ref.Ref)
	}
	return fresh, r.Custodian.AddBlock(ctx, fresh.id, r.Clock().UTC(), b)
}

// blockKey returns S of an anonymous ref; domain.ErrNotFound where the block,
// the ref or the class is not there.
func (r *Ring) blockKey(ctx context.Context, id domain.BlockID, ref domain.SubjectRef, class domain.Class) (seal.Secret, error) {
	b, err := r.Custodian.Block(ctx, id)
	if err != nil {
		return seal.Secret{}, err
	}
	defer b.Zero()
	s, ok := b.Subject(ref, class)
	if !ok {
		return seal.Secret{}, domain.ErrNotFound
	}
	return s, nil
}

// SealingAnonymous is Sealing for a ref of a block, in the anonymous tier.
func (r *Ring) SealingAnonymous(ctx context.Context, block domain.BlockID, ref domain.SubjectRef, class domain.Class, bucket domain.Bucket) (*seal.Sealing, error) {
	p := place{ref: ref, class: class, tier: domain.AnonTier, bucket: bucket, scope: domain.Erasable}
	if h, ok := r.handles.get(p); ok && h.block == block {
		return h.use(r.Clock())
	}
	if block.IsZero() {
		return nil, fmt.Errorf("sealing %s: no block", p.retention())
	}
	return r.sealingMiss(ctx, p, block)
}

// LinkAnonymous notes in a person's bundle that an anonymous ref became theirs,
// so that erasing the person reaches it. It is idempotent. Errors:
// domain.ErrFenced while the whole person is being erased, domain.ErrErased
// afterwards, domain.ErrUnavailable.
func (r *Ring) LinkAnonymous(ctx context.Context, person domain.SubjectRef, block domain.BlockID, ref domain.SubjectRef) error {
	if r.refDead(person) {
		return fmt.Errorf("linking an anonymous ref: %w", domain.ErrErased)
	}
	link := seal.Link{Block: block, Ref: ref}
	err := r.Custodian.Change(ctx, person, func(s *Subject, b *seal.Bundle) error {
		if !s.Fence.Command.IsZero() && s.Fence.Classes == nil {
			return domain.ErrFenced
		}
		if !slices.Contains(b.Links, link) {
			b.Links = append(b.Links, link)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("linking an anonymous ref: %w", err)
	}
	return nil
}
