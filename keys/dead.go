package keys

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// Tagger computes the tags by which the journal names destroyed keys (FORMAT §7).
type Tagger struct{ key seal.Secret }

// NewTagger takes T.
func NewTagger(t seal.Secret) Tagger { return Tagger{key: t} }

// Tag returns HMAC-SHA-256(T, lp("lethe/dead/v1") ‖ kind ‖ where)[:16].
func (t Tagger) Tag(kind domain.KeyKind, where []byte) (tag domain.Tag) {
	mac := hmac.New(sha256.New, t.key[:])
	mac.Write(append(domain.AppendLPString(nil, "lethe/dead/v1"), byte(kind)))
	mac.Write(where)
	copy(tag[:], mac.Sum(nil))
	return tag
}

// Dead is the set of tags that the journal names. It only grows. It holds 16
// bytes and the map's overhead for each destroyed key.
type Dead struct {
	mu   sync.RWMutex
	tags map[domain.Tag]struct{}
}

// NewDead returns an empty set.
func NewDead() *Dead { return &Dead{tags: map[domain.Tag]struct{}{}} }

// Add names tags as dead.
func (d *Dead) Add(tags ...domain.Tag) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range tags {
		d.tags[t] = struct{}{}
	}
}

// Has reports whether a tag is named.
func (d *Dead) Has(t domain.Tag) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, ok := d.tags[t]
	return ok
}

// Len returns how many tags are named.
func (d *Dead) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.tags)
}
