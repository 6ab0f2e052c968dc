package keys

import (
	"context"
	"slices"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// maxLately bounds the retention keys that count as in use.
const maxLately = 32

// lately are the retention keys under which this process sealed for persons last,
// the newest first. Who seals under one for a person is about to seal for them
// under the others: a connection records in several classes at once.
type lately struct {
	mu   *sync.Mutex // guards keys
	keys *[]domain.RetentionKey
}

func newLately() lately { return lately{mu: &sync.Mutex{}, keys: &[]domain.RetentionKey{}} }

func (l lately) used(k domain.RetentionKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := slices.DeleteFunc(*l.keys, func(o domain.RetentionKey) bool { return o == k })
	list = slices.Insert(list, 0, k)
	*l.keys = list[:min(len(list), maxLately)]
}

func (l lately) others(k domain.RetentionKey) []domain.RetentionKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(*l.keys), func(o domain.RetentionKey) bool { return o == k })
}

// siblings derives the handles that a person will need next, out of the bundle
// that was read for one of them, so that their classes together cost the custodian
// one reading. epoch is from before that reading. What cannot be derived now is
// left to who asks for it.
func (r *Ring) siblings(ctx context.Context, p place, subject Subject, b *seal.Bundle, epoch uint64) {
	for _, k := range r.lately.others(p.retention()) {
		q := place{ref: p.ref, class: k.Class, tier: k.Tier, bucket: k.Bucket, scope: p.scope}
		if _, known := r.handles.get(q); known || subject.Fence.Stops(k.Class) {
			continue
		}
		if s, gen, ok := r.live(b, q); ok {
			r.sibling(ctx, q, s, gen, epoch)
		}
	}
}

func (r *Ring) sibling(ctx context.Context, q place, s seal.Secret, gen domain.Gen, epoch uint64) {
	rec, key, err := r.retention(ctx, q.retention())
	defer key.Zero()
	if err != nil {
		return
	}
	h := r.newHandle(q, rec, key, s, gen)
	if stands, ok := r.handles.put(q, h, epoch); !ok || stands != h {
		h.sealing.Retire()
	}
}
