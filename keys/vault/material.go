package vault

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// firstKey is the number of the first integrity key.
const firstKey = 1

const materialPath = "material"

// materialRecord is what the document of the material holds, sealed.
type materialRecord struct {
	Pepper    []byte          `json:"pepper"`
	DeadTag   []byte          `json:"dead_tag"`
	Current   byte            `json:"current"`
	Integrity map[byte][]byte `json:"integrity"`
}

func (r materialRecord) zero() {
	clear(r.Pepper)
	clear(r.DeadTag)
	for _, key := range r.Integrity {
		clear(key)
	}
}

func (r materialRecord) material() (m keys.Material, err error) {
	m = keys.Material{Current: r.Current, Integrity: map[byte][32]byte{}}
	ok := copy(m.Pepper[:], r.Pepper) == len(m.Pepper) && copy(m.DeadTag[:], r.DeadTag) == len(m.DeadTag)
	for number, raw := range r.Integrity {
		var key [32]byte
		ok = ok && copy(key[:], raw) == len(key)
		m.Integrity[number] = key
	}
	if _, current := m.Integrity[r.Current]; !ok || !current {
		return keys.Material{}, errRecord
	}
	return m, nil
}

func newSecret() (s seal.Secret) {
	_, _ = rand.Read(s[:]) // never fails, see crypto/rand
	return s
}

// Material returns what the ledger holds for ever. Init makes it; where it is
// missing and the token may, this call does, with the signing keys.
func (c *Custodian) Material(ctx context.Context) (keys.Material, error) {
	o, err := c.material(ctx)
	if err != nil {
		return keys.Material{}, err
	}
	defer o.zero()
	var r materialRecord
	defer r.zero()
	if err := strict(o.entries, &r); err != nil {
		return keys.Material{}, err
	}
	return r.material()
}

// material opens the document, and makes it where there is none.
func (c *Custodian) material(ctx context.Context) (*opened, error) {
	p := fixedPlace(materialPath)
	o, err := c.vessels.fetch(ctx, p)
	if !errors.Is(err, errAbsent) {
		return o, inner(err)
	}
	if err := c.found(ctx, err); !isAbsent(err) {
		return nil, err
	}
	if err := c.makeMaterial(ctx, p); err != nil {
		return nil, err
	}
	o, err = c.vessels.fetch(ctx, p)
	return o, inner(err)
}

// makeMaterial makes the signing keys and then the material, which lists their
// public parts. Who comes second leaves what stands.
func (c *Custodian) makeMaterial(ctx context.Context, p place) error {
	var public []keys.PublicKey
	for _, use := range uses() {
		k, err := c.makeSigningKey(ctx, use)
		if err != nil {
			return fmt.Errorf("making the signing key of %s: %w", use, err)
		}
		public = append(public, k)
	}
	listed, err := json.Marshal(public)
	if err != nil {
		return err
	}
	pepper, tag, integrity := newSecret(), newSecret(), newSecret()
	r := materialRecord{Pepper: pepper[:], DeadTag: tag[:], Current: firstKey, Integrity: map[byte][]byte{firstKey: integrity[:]}}
	defer r.zero()
	entries, err := json.Marshal(r)
	if err != nil {
		return err
	}
	defer clear(entries)
	_, err = c.vessels.create(ctx, p, c.ledgerKeyName(p), listed, entries)
	return unlessBeaten(err)
}

func (c *Custodian) ledgerKeyName(p place) keyName {
	return newKeyName(c.ledger, ofLedger, []byte(p.path), c.clock())
}

func unlessBeaten(err error) error {
	if errors.Is(err, errConflict) {
		return nil
	}
	return inner(err)
}

// uses are the signing keys of a ledger.
func uses() []keys.SigningUse {
	return []keys.SigningUse{keys.SignReceipt, keys.SignJournal, keys.SignCheckpoint}
}

func signingPlace(use keys.SigningUse) place { return fixedPlace("signing/" + string(use)) }

// makeSigningKey makes a key unless there is one, and returns the public part of
// the one that stands.
func (c *Custodian) makeSigningKey(ctx context.Context, use keys.SigningUse) (keys.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return keys.PublicKey{}, err
	}
	defer clear(private)
	p := signingPlace(use)
	_, err = c.vessels.create(ctx, p, c.ledgerKeyName(p), public, private.Seed())
	if err := unlessBeaten(err); err != nil {
		return keys.PublicKey{}, err
	}
	d, _, err := c.vessels.read(ctx, p)
	if err != nil {
		return keys.PublicKey{}, inner(err)
	}
	return publicKey(use, d.State), nil
}

// publicKey names a key after its use and the hash of its public part.
func publicKey(use keys.SigningUse, public ed25519.PublicKey) keys.PublicKey {
	sum := sha256.Sum256(public)
	return keys.PublicKey{ID: string(use) + "-" + hex.EncodeToString(sum[:8]), Use: use, Key: public}
}

// Sign signs with the key of a use: two calls. The key is not kept at hand.
func (c *Custodian) Sign(ctx context.Context, use keys.SigningUse, message []byte) (keyID string, signature []byte, err error) {
	if !slices.Contains(uses(), use) {
		return "", nil, fmt.Errorf("signing key of %s: %w", use, domain.ErrNotFound)
	}
	o, err := c.vessels.fetch(ctx, signingPlace(use))
	if errors.Is(err, errAbsent) {
		if _, err = c.Material(ctx); err == nil {
			o, err = c.vessels.fetch(ctx, signingPlace(use))
		}
	}
	if err != nil {
		return "", nil, inner(err)
	}
	defer o.zero()
	if len(o.entries) != ed25519.SeedSize {
		return "", nil, errRecord
	}
	key := ed25519.NewKeyFromSeed(o.entries)
	defer clear(key)
	return publicKey(use, o.State).ID, ed25519.Sign(key, message), nil
}

// PublicKeys lists the signing keys, by use and from old to new: what stands
// beside the material, which who cannot sign may read, too.
func (c *Custodian) PublicKeys(ctx context.Context) (all []keys.PublicKey, err error) {
	o, err := c.material(ctx)
	if err != nil {
		return nil, err
	}
	defer o.zero()
	err = strict(o.State, &all)
	return all, err
}
