package keys

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// Bounds of the caches where RingConfig says nothing.
const (
	DefaultHandles  = 200_000 // about 470 bytes each, with all that finds them
	DefaultOpenings = 20_000
	DefaultEntries  = 100_000
)

// maxAhead is how far ahead of the clock a bucket may start for sealing.
const maxAhead = 5 * time.Minute

// A RingConfig says what a Ring stands on. All but the sizes and LogGen is
// needed.
type RingConfig struct {
	Custodian Custodian
	Ledger    domain.LedgerID
	// Namespace keeps the persons of one ledger or tenant apart from others; it
	// is never one way of identification.
	Namespace string
	// Policy returns the policy in force. It must not return nil.
	Policy func() *domain.Policy
	Clock  func() time.Time
	// ClockTrusted returns nil while the clock is trusted (ARCHITECTURE §4).
	// Without it no retention key is issued and none destroyed as due.
	ClockTrusted func() error
	// Dead holds the tags that the journal names; the ledger fills it before the
	// ring is used.
	Dead *Dead
	// LogGen returns the highest gen that the log shows for a person's class, so
	// that none is used twice after the custodian was restored from a backup. Nil
	// where the log cannot show a gen that the custodian does not know.
	LogGen func(ctx context.Context, ref domain.SubjectRef, class domain.Class) (domain.Gen, error)

	// Bounds of the caches, in entries; 0 means the default.
	Handles, Openings, Entries int
}

// A Ring derives handles from a custodian's keys, caches them within bounds and
// carries destructions out. It is safe for concurrent use. Close it before the
// custodian.
type Ring struct {
	RingConfig
	pepper    seal.Secret
	tagger    Tagger
	integrity seal.Integrity

	handles  *cache[place, *handle]
	openings *cache[domain.Where, *opening]
	entries  *cache[DirectoryKey, Subject]

	enrolling *flight[DirectoryKey, enrolled]
	issuing   *flight[place, *handle]

	spent   spent
	stopped stopped
	anon    anonymous

	// background ends with Close.
	background context.Context
	stop       context.CancelFunc
	running    sync.WaitGroup
}

// NewRing reads the ledger's material, once.
func NewRing(ctx context.Context, cfg RingConfig) (*Ring, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	m, err := cfg.Custodian.Material(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger's key material: %w", err)
	}
	integrity, err := seal.NewIntegrity(m.Current, m.Integrity)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger's key material: %w", err)
	}
	r := &Ring{
		RingConfig: cfg, pepper: m.Pepper, tagger: NewTagger(m.DeadTag), integrity: integrity,
		enrolling: newFlight[DirectoryKey, enrolled](), issuing: newFlight[place, *handle](),
		spent: newSpent(), stopped: newStopped(),
	}
	r.handles = newCache(cfg.Handles, place.shard, r.spent.remember)
	r.openings = newCache(cfg.Openings, func(w domain.Where) byte { return w.Ref[0] }, forget)
	r.entries = newCache(cfg.Entries, func(k DirectoryKey) byte { return k[0] }, func(DirectoryKey, Subject) {})
	r.background, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	return r, nil
}

func (c *RingConfig) complete() error {
	if c.Custodian == nil || c.Policy == nil || c.Clock == nil || c.ClockTrusted == nil || c.Dead == nil {
		return errors.New("a ring needs a custodian, a policy, a clock, its trust and the dead tags")
	}
	if c.Namespace == "" {
		return errors.New("a ring needs a namespace")
	}
	for _, size := range []struct {
		have     *int
		standard int
	}{{&c.Handles, DefaultHandles}, {&c.Openings, DefaultOpenings}, {&c.Entries, DefaultEntries}} {
		if *size.have == 0 {
			*size.have = size.standard
		}
	}
	return c.Ledger.Validate()
}

// Close ends what runs in the background. The custodian stays open.
func (r *Ring) Close() {
	r.stop()
	r.running.Wait()
}

// Integrity returns the ledger's integrity keys.
func (r *Ring) Integrity() seal.Integrity { return r.integrity }

// Tagger returns the maker of dead tags.
func (r *Ring) Tagger() Tagger { return r.tagger }

// MAC is HMAC-SHA-256 under the pepper: alike on every node of the ledger, and
// nowhere else (FORMAT §1, command ids).
func (r *Ring) MAC(message []byte) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, r.pepper[:])
	mac.Write(message)
	copy(sum[:], mac.Sum(nil))
	return sum
}

// Sign signs with the current key of a use.
func (r *Ring) Sign(ctx context.Context, use SigningUse, message []byte) (keyID string, signature []byte, err error) {
	return r.Custodian.Sign(ctx, use, message)
}

// PublicKeys lists the ledger's signing keys, old ones too.
func (r *Ring) PublicKeys(ctx context.Context) ([]PublicKey, error) {
	return r.Custodian.PublicKeys(ctx)
}

// refDead reports whether the journal names a ref.
func (r *Ring) refDead(ref domain.SubjectRef) bool {
	return r.Dead.Has(r.refTag(ref))
}

func (r *Ring) refTag(ref domain.SubjectRef) domain.Tag {
	return r.tagger.Tag(domain.KindRef, domain.WhereID(r.Ledger, ref))
}

func (r *Ring) retentionTag(k domain.RetentionKey) domain.Tag {
	return r.tagger.Tag(domain.KindR, k.Where(r.Ledger))
}

// newSecret makes 32 random bytes. crypto/rand ends the process rather than
// return less.
func newSecret() (s seal.Secret) {
	_, _ = rand.Read(s[:]) // never fails, see crypto/rand
	return s
}
