package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/lethe-ledger/lethe/domain"
)

// Sizes and limits of keys.
const (
	KeySize = 32
	// MaxSeals is how often one process seals under one key: with random nonces
	// far below the bound of AES-GCM. The next bucket has another key.
	MaxSeals = 1 << 24

	salt = "lethe/v1"
)

// A Secret is 32 random or derived bytes. Whoever makes one zeroes it.
type Secret [KeySize]byte

// Zero overwrites the secret. Copies that the runtime made are out of reach.
func (s *Secret) Zero() { clear(s[:]) }

// expand is HKDF-SHA-256; it fails only for lengths that no caller asks for.
func expand(ikm []byte, info []byte, n int) []byte {
	out, err := hkdf.Key(sha256.New, ikm, []byte(salt), string(info), n)
	if err != nil {
		panic(err)
	}
	return out
}

// BucketKey derives B, which binds the subject key S to one bucket.
func BucketKey(s Secret, w domain.Where) (b Secret) {
	out := expand(s[:], append(domain.AppendLPString(nil, "lethe/bucket/v1"), w.Bytes()...), KeySize)
	copy(b[:], out)
	clear(out)
	return b
}

// pair derives K ‖ commitment from B and R.
func pair(b, r Secret, w domain.Where) (k, commitment Secret) {
	ikm := append(append(make([]byte, 0, 2*KeySize), b[:]...), r[:]...)
	out := expand(ikm, append(domain.AppendLPString(nil, "lethe/seal/v1"), w.Bytes()...), 2*KeySize)
	copy(k[:], out[:KeySize])
	copy(commitment[:], out[KeySize:])
	clear(ikm)
	clear(out)
	return k, commitment
}

// A Sealing seals events of one person, class, tier and bucket. It cannot open
// anything: it is another type than Opening. It is safe for concurrent use.
type Sealing struct {
	where      domain.Where
	commitment Secret
	used       atomic.Uint32

	mu      sync.RWMutex // protects what follows
	key     Secret
	retired bool
}

// NewSealing derives the handle from the bucket key B and the retention key R.
func NewSealing(b, r Secret, w domain.Where) *Sealing {
	k, c := pair(b, r, w)
	return &Sealing{where: w, key: k, commitment: c}
}

// Where returns the place that the handle seals for.
func (s *Sealing) Where() domain.Where { return s.where }

// Retire zeroes the key and makes the handle refuse with domain.ErrFenced from
// now on. What is sealed at this very moment may still be stored; it opens
// nowhere once the keys are destroyed.
func (s *Sealing) Retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
	s.key.Zero()
}

// cipher counts one seal and returns the cipher for it.
func (s *Sealing) cipher() (cipher.AEAD, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.retired {
		return nil, domain.ErrFenced
	}
	if s.used.Add(1) > MaxSeals {
		s.used.Add(^uint32(0))
		return nil, domain.ErrExhausted
	}
	return newGCM(s.key)
}

// An Opening opens events of one person, class, tier and bucket. It is safe for
// concurrent use.
type Opening struct {
	where      domain.Where
	commitment Secret
	bound      bool // commitment is known

	mu   sync.RWMutex // protects what follows
	key  Secret
	gone bool
}

// NewOpening derives the handle from the bucket key B and the retention key R.
func NewOpening(b, r Secret, w domain.Where) *Opening {
	k, c := pair(b, r, w)
	return &Opening{where: w, key: k, commitment: c, bound: true}
}

// NewOpeningFromK makes the handle from a K that a hold kept (FORMAT §6). An
// escrow holds no commitment, so a wrong K reads tampered instead of unknown; the
// escrow's own commitment has been checked before.
func NewOpeningFromK(k Secret, w domain.Where) *Opening {
	return &Opening{where: w, key: k}
}

// EventKey derives K, for an escrow only (FORMAT §6); nothing else keeps one.
func EventKey(b, r Secret, w domain.Where) Secret {
	k, _ := pair(b, r, w)
	return k
}

// Where returns the place that the handle opens.
func (o *Opening) Where() domain.Where { return o.where }

// Zero overwrites the key. The handle then answers domain.ErrUnavailable: it
// says nothing about why it was dropped, so the caller must look the key up anew.
// An Open under way at this moment may still succeed.
func (o *Opening) Zero() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone = true
	o.key.Zero()
}

func (o *Opening) cipher() (cipher.AEAD, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.gone {
		return nil, fmt.Errorf("the key was dropped: %w", domain.ErrUnavailable)
	}
	return newGCM(o.key)
}

// errPlace says that a handle was given an event of another place.
var errPlace = errors.New("the key is another place's")

// errNoKey says that an event with something to seal was given no handle.
var errNoKey = errors.New("no key for an event with a payload")

func checkPlace(have, want domain.Where) error {
	if have != want {
		return fmt.Errorf("sealing %s with the key of %s: %w", want, have, errPlace)
	}
	return nil
}
