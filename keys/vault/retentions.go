package vault

import (
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// Bounds of the retention keys kept at hand.
const (
	retentionFor   = 5 * time.Second
	retentionLimit = 1024
)

// retentions keep R of buckets for some seconds: everybody's events of a day
// need the same few. Another node's destruction reaches this one through the
// journal at once, and here after retentionFor.
type retentions struct {
	clock func() time.Time
	turns turns // one caller at a time reads a bucket's key

	mu   sync.Mutex // guards kept and ages
	kept map[domain.RetentionKey]*keptRetention
	// ages counts drops: what was read before one must not be kept behind it.
	ages uint64
}

type keptRetention struct {
	rec   keys.RetentionRecord
	key   seal.Secret
	until time.Time
}

func newRetentions(clock func() time.Time) *retentions {
	return &retentions{clock: clock, turns: newTurns(), kept: map[domain.RetentionKey]*keptRetention{}}
}

func (r *retentions) get(k domain.RetentionKey) (rec keys.RetentionRecord, key seal.Secret, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept, ok := r.kept[k]
	now := r.clock()
	if !ok || !now.Before(kept.until) || !now.Before(kept.rec.Due) {
		r.forget(k)
		return rec, key, false
	}
	return kept.rec, kept.key, true
}

// age is taken before a key is read.
func (r *retentions) age() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ages
}

// put keeps a key that was read since age was taken.
func (r *retentions) put(rec keys.RetentionRecord, key seal.Secret, age uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ages != age {
		return
	}
	for k := range r.kept {
		if len(r.kept) < retentionLimit {
			break
		}
		r.forget(k)
	}
	r.kept[rec.RetentionKey] = &keptRetention{rec: rec, key: key, until: r.clock().Add(retentionFor)}
}

func (r *retentions) drop(ks ...domain.RetentionKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ages++
	for _, k := range ks {
		r.forget(k)
	}
}

func (r *retentions) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ages++
	for k := range r.kept {
		r.forget(k)
	}
}

// forget overwrites a key and lets it go; the caller holds the lock. The copies
// that were handed out are their callers' to clear.
func (r *retentions) forget(k domain.RetentionKey) {
	if kept, ok := r.kept[k]; ok {
		kept.key.Zero()
		delete(r.kept, k)
	}
}
