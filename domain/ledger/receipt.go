package ledger

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// sign makes the receipt of a request: what happened, to the hour, without a ref
// or an external id.
func (l *Ledger) sign(ctx context.Context, w *erasure) (json.RawMessage, error) {
	r := l.compose(w)
	current, err := l.currentKey(ctx)
	if err != nil {
		return nil, err
	}
	r.Key = current.ID
	r, err = r.Sign(l.ID, func(message []byte) ([]byte, error) {
		used, signature, err := l.Ring.Sign(ctx, keys.SignReceipt, message)
		if err == nil && used != current.ID {
			return nil, fmt.Errorf("the signing key was rotated from %s to %s: %w", current.ID, used, domain.ErrConflict)
		}
		return signature, err
	})
	if err != nil {
		return nil, err
	}
	return r.Encode()
}

func (l *Ledger) compose(w *erasure) domain.Receipt {
	fenced, destroyed := w.Received, w.Received
	r := domain.Receipt{
		ID: w.Receipt, Request: w.Request, Ground: w.Ground, Withheld: w.Withheld,
		Disposal: domain.DisposalPending, Mirrors: "journal in the log and in one file",
	}
	if w.Mirrored {
		r.Mirrors = "journal in the log and in the files of two nodes"
	}
	if !w.nothing() {
		r.Classes, r.Buckets, r.KeysDestroyed = w.Erase, len(w.Plan.Buckets), w.Plan.Keys
		fenced, destroyed = w.Fenced, w.Destroyed
	}
	r.Requested, r.Fenced, r.Destroyed = domain.CutToHour(w.Received), domain.CutToHour(fenced), domain.CutToHour(destroyed)
	r.EffectiveAt = r.Destroyed
	return r
}

// currentKey is the newest public key of receipts.
func (l *Ledger) currentKey(ctx context.Context) (keys.PublicKey, error) {
	all, err := l.Ring.PublicKeys(ctx)
	if err != nil {
		return keys.PublicKey{}, fmt.Errorf("signing keys: %w", err)
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Use == keys.SignReceipt {
			return all[i], nil
		}
	}
	return keys.PublicKey{}, fmt.Errorf("signing key of receipts: %w", domain.ErrNotFound)
}

// VerifyReceipt checks a receipt as it was handed out against public keys alone.
func VerifyReceipt(ledger domain.LedgerID, stored []byte, public []ed25519.PublicKey) (domain.Receipt, error) {
	r, err := domain.DecodeReceipt(stored)
	if err != nil {
		return domain.Receipt{}, err
	}
	return r, r.Verify(ledger, public...)
}
