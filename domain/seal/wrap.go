package seal

import (
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
)

// SealEntries seals a bundle's or block's entries under its bundle key:
//
//	"LTB" ‖ 0x01 ‖ nonce[12] ‖ AES-256-GCM(bundle key, entries,
//	  lp("lethe/bundle/v1") ‖ lp(ledger) ‖ scope ‖ ref or block id ‖ bundle id)
func SealEntries(key Secret, l domain.LedgerID, s domain.Scope, owner [16]byte, id domain.BundleID, entries []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return gcm.Seal([]byte(bundleMagic), nil, entries, bundleAAD(l, s, owner, id)), nil
}

// OpenEntries is the way back. A bundle of another owner or id does not open.
func OpenEntries(key Secret, l domain.LedgerID, s domain.Scope, owner [16]byte, id domain.BundleID, sealed []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < len(bundleMagic)+nonceSize+tagSize || string(sealed[:len(bundleMagic)]) != bundleMagic {
		return nil, fmt.Errorf("bundle %s: not a bundle: %w", id, domain.ErrTampered)
	}
	entries, err := gcm.Open(nil, nil, sealed[len(bundleMagic):], bundleAAD(l, s, owner, id))
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", id, domain.ErrTampered)
	}
	return entries, nil
}

func bundleAAD(l domain.LedgerID, s domain.Scope, owner [16]byte, id domain.BundleID) []byte {
	b := domain.AppendLPString(make([]byte, 0, 96), "lethe/bundle/v1")
	b = domain.AppendLPString(b, string(l))
	b = append(b, byte(s))
	b = append(b, owner[:]...)
	return append(b, id[:]...)
}
