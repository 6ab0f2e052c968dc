package seal

import (
	"crypto/subtle"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
)

const escrowLabel = "lethe/escrow/v1"

// escrowSize is the length of every escrow: each holds one key.
const escrowSize = 1 + commitmentSize + nonceSize + KeySize + tagSize

// SealEscrow keeps one key for a hold, under the hold's own secret H (FORMAT §6):
//
//	kind ‖ commitment_H ‖ nonce[12] ‖ AES-256-GCM(K_H, nonce, key,
//	  lp("lethe/escrow/v1") ‖ kind ‖ hold id ‖ where)
//
// kind is K, R or B; where is that of the kind: Where.Bytes for K and B,
// Where.Retention for R.
func SealEscrow(h Secret, hold domain.HoldID, kind domain.KeyKind, where []byte, key Secret) ([]byte, error) {
	if !escrowable(kind) {
		return nil, fmt.Errorf("hold %s: a key of kind %d is never put in escrow", hold, kind)
	}
	k, commitment := holdPair(h, hold)
	defer k.Zero()
	gcm, err := newGCM(k)
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, escrowSize), byte(kind))
	out = append(out, commitment[:]...)
	return gcm.Seal(out, nil, key[:], escrowAAD(kind, hold, where)), nil
}

// OpenEscrow is the way back. It answers domain.ErrUnknownKey if the escrow was
// sealed under another secret or for another hold, and domain.ErrTampered if it
// is not the escrow of that kind and place.
func OpenEscrow(h Secret, hold domain.HoldID, kind domain.KeyKind, where []byte, sealed []byte) (key Secret, err error) {
	if len(sealed) != escrowSize || domain.KeyKind(sealed[0]) != kind || !escrowable(kind) {
		return key, fmt.Errorf("escrow of hold %s: %w", hold, domain.ErrTampered)
	}
	k, commitment := holdPair(h, hold)
	defer k.Zero()
	if subtle.ConstantTimeCompare(sealed[1:1+commitmentSize], commitment[:]) != 1 {
		return key, fmt.Errorf("escrow of hold %s: commitment: %w", hold, domain.ErrUnknownKey)
	}
	gcm, err := newGCM(k)
	if err != nil {
		return key, err
	}
	out, err := gcm.Open(nil, nil, sealed[1+commitmentSize:], escrowAAD(kind, hold, where))
	if err != nil {
		return key, fmt.Errorf("escrow of hold %s: %w", hold, domain.ErrTampered)
	}
	copy(key[:], out)
	clear(out)
	return key, nil
}

func escrowable(k domain.KeyKind) bool {
	return k == domain.KindK || k == domain.KindR || k == domain.KindB
}

// holdPair derives K_H ‖ commitment_H from H.
func holdPair(h Secret, hold domain.HoldID) (k, commitment Secret) {
	out := expand(h[:], append(domain.AppendLPString(nil, escrowLabel), hold[:]...), 2*KeySize)
	copy(k[:], out[:KeySize])
	copy(commitment[:], out[KeySize:])
	clear(out)
	return k, commitment
}

func escrowAAD(kind domain.KeyKind, hold domain.HoldID, where []byte) []byte {
	b := domain.AppendLPString(make([]byte, 0, 160), escrowLabel)
	b = append(b, byte(kind))
	b = append(b, hold[:]...)
	return append(b, where...)
}
