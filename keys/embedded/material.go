package embedded

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// firstKey is the number of the first integrity key and of each first signing
// key.
const firstKey = 1

// Material returns what the ledger holds for ever and makes it, with the signing
// keys, where there is none yet.
func (c *Custodian) Material(ctx context.Context) (m keys.Material, err error) {
	err = c.view(ctx, func(t tx) error {
		m, err = t.material()
		return err
	})
	if err != nil || m.Current != 0 {
		return m, err
	}
	err = c.update(ctx, func(t tx) error {
		if m, err = t.material(); err != nil || m.Current != 0 {
			return err
		}
		if m, err = t.makeMaterial(); err != nil {
			return err
		}
		return t.makeSigningKeys()
	})
	return m, err
}

// Material: version ‖ pepper ‖ T ‖ current u8 ‖ n u8 ‖ n × (number u8 ‖ key).
func (t tx) material() (m keys.Material, err error) {
	raw, ok, err := t.get([]byte{prefixMaterial})
	if err != nil || !ok {
		return m, err
	}
	defer clear(raw)
	r := reader{rest: raw}
	version := r.byte()
	copy(m.Pepper[:], r.take(len(m.Pepper)))
	copy(m.DeadTag[:], r.take(len(m.DeadTag)))
	m.Current, m.Integrity = r.byte(), map[byte][32]byte{}
	for range r.byte() {
		var key [32]byte
		number := r.byte()
		copy(key[:], r.take(len(key)))
		m.Integrity[number] = key
	}
	if r.failed || len(r.rest) > 0 || version != recordVersion || m.Current == 0 {
		return keys.Material{}, errRecord
	}
	return m, nil
}

func (t tx) makeMaterial() (keys.Material, error) {
	m := keys.Material{Current: firstKey, Integrity: map[byte][32]byte{}}
	var integrity [32]byte
	for _, b := range [][]byte{m.Pepper[:], m.DeadTag[:], integrity[:]} {
		_, _ = rand.Read(b) // never fails, see crypto/rand
	}
	m.Integrity[firstKey] = integrity
	raw := append([]byte{recordVersion}, m.Pepper[:]...)
	raw = append(raw, m.DeadTag[:]...)
	raw = append(raw, firstKey, byte(len(m.Integrity)), firstKey)
	raw = append(raw, integrity[:]...)
	defer clear(raw)
	return m, t.put([]byte{prefixMaterial}, raw)
}

// uses are the signing keys of a ledger.
func uses() []keys.SigningUse {
	return []keys.SigningUse{keys.SignReceipt, keys.SignJournal, keys.SignCheckpoint}
}

func (t tx) makeSigningKeys() error {
	for _, use := range uses() {
		seed := make([]byte, ed25519.SeedSize)
		_, _ = rand.Read(seed) // never fails, see crypto/rand
		err := t.put(signingKey(use, firstKey), seed)
		clear(seed)
		if err != nil {
			return err
		}
	}
	return nil
}

func signingKey(use keys.SigningUse, number uint32) []byte {
	return binary.BigEndian.AppendUint32(keyOf(prefixSigning, []byte(use), []byte{0}), number)
}

// Sign signs with the newest key of a use.
func (c *Custodian) Sign(ctx context.Context, use keys.SigningUse, message []byte) (keyID string, signature []byte, err error) {
	if _, err := c.Material(ctx); err != nil {
		return "", nil, err
	}
	err = c.view(ctx, func(t tx) error {
		return t.signing(use, func(key ed25519.PrivateKey) {
			keyID, signature = idOf(use, publicOf(key)), ed25519.Sign(key, message)
		})
	})
	if err == nil && signature == nil {
		err = fmt.Errorf("signing key of %s: %w", use, domain.ErrNotFound)
	}
	return keyID, signature, err
}

// PublicKeys lists the signing keys, by use and from old to new.
func (c *Custodian) PublicKeys(ctx context.Context) (all []keys.PublicKey, err error) {
	if _, err := c.Material(ctx); err != nil {
		return nil, err
	}
	err = c.view(ctx, func(t tx) error {
		for _, use := range uses() {
			err := t.signing(use, func(key ed25519.PrivateKey) {
				public := publicOf(key)
				all = append(all, keys.PublicKey{ID: idOf(use, public), Use: use, Key: public})
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// signing calls each for the keys of a use, from old to new.
func (t tx) signing(use keys.SigningUse, each func(ed25519.PrivateKey)) error {
	return t.scan(keyOf(prefixSigning, []byte(use), []byte{0}), func(_, seed []byte) (bool, error) {
		if len(seed) != ed25519.SeedSize {
			return false, errRecord
		}
		key := ed25519.NewKeyFromSeed(seed)
		each(key)
		clear(key)
		return true, nil
	})
}

// publicOf copies the public part, which is the second half.
func publicOf(key ed25519.PrivateKey) ed25519.PublicKey {
	return ed25519.PublicKey(bytes.Clone(key[ed25519.SeedSize:]))
}

// idOf names a key after its use and the hash of its public part.
func idOf(use keys.SigningUse, public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return string(use) + "-" + hex.EncodeToString(sum[:8])
}
