package lethe

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// Erase implements api.Service.
func (l *Lethe) Erase(ctx context.Context, c api.Caller, r api.EraseRequest) (api.EraseResult, error) {
	want, err := erasureOf(r)
	if err != nil {
		return api.EraseResult{}, err
	}
	if want.Principal, err = l.began(ctx, c, "subject.erase", domain.SubjectRef{}, r.Request); err != nil {
		return api.EraseResult{}, err
	}
	var done ledger.Outcome
	if r.ID == "" {
		done, err = l.ledger.Resume(ctx, want.Request)
	} else {
		done, err = l.ledger.Erase(ctx, want)
	}
	if err != nil {
		return l.eraseFailed(done, err)
	}
	return resultOf(done), nil
}

// eraseFailed tells a mistake of the caller's from a request that is pending.
func (l *Lethe) eraseFailed(done ledger.Outcome, err error) (api.EraseResult, error) {
	result := api.EraseResult{Request: done.Request.String(), State: string(done.State)}
	switch {
	case errors.Is(err, ledger.ErrBadErasure):
		return result, api.Usage(err.Error())
	case errors.Is(err, domain.ErrNotFound) && done.Request.IsZero():
		return result, api.NotFound("there is no such request")
	case errors.Is(err, domain.ErrForked) && done.Request.IsZero():
		l.log.Error().Err(err).Msg("an erasure is refused")
		return api.EraseResult{}, err
	}
	l.log.Error().Err(err).Str("request", result.Request).Msg("erasure is not finished; it will be tried again")
	return result, err
}

func erasureOf(r api.EraseRequest) (ledger.Erasure, error) {
	want := ledger.Erasure{
		ExternalID: r.ID, Purpose: r.Purpose, From: r.From, Before: r.Before, Ground: r.Ground, Reason: r.Reason, Channel: r.Channel,
	}
	for _, class := range r.Classes {
		want.Classes = append(want.Classes, domain.Class(class))
	}
	if r.Request != "" {
		id, err := domain.Parse[domain.RequestID](r.Request)
		if err != nil {
			return want, api.Usage("a request is named by its UUID")
		}
		want.Request = id
	}
	if r.ID == "" && want.Request.IsZero() {
		return want, api.Usage("name the person, or the request to finish")
	}
	return want, nil
}

func resultOf(o ledger.Outcome) api.EraseResult {
	r := api.Receipt{
		ID: o.Receipt.ID.String(), Ground: o.Receipt.Ground, Classes: []string{}, Withheld: []string{},
		Buckets: o.Receipt.Buckets, KeysDestroyed: o.Receipt.KeysDestroyed,
		EffectiveAt: o.Receipt.EffectiveAt.Format(time.RFC3339), Signature: base64.RawURLEncoding.EncodeToString(o.Receipt.Signature),
	}
	for _, c := range o.Receipt.Classes {
		r.Classes = append(r.Classes, string(c))
	}
	for _, w := range o.Receipt.Withheld {
		r.Withheld = append(r.Withheld, string(w.Class))
	}
	return api.EraseResult{Request: o.Request.String(), State: string(o.State), Receipt: r, Position: o.Position.Commit}
}

// Receipt implements api.Service: it finds the receipt's event through the
// erasures view, opens it, and hands out the stored bytes.
func (l *Lethe) Receipt(ctx context.Context, c api.Caller, id string) (api.ReceiptFile, error) {
	receipt, err := domain.Parse[domain.ReceiptID](id)
	if err != nil {
		return api.ReceiptFile{}, api.Usage("a receipt is named by its UUID")
	}
	if _, err := l.began(ctx, c, "receipt.show", domain.SubjectRef{}, id); err != nil {
		return api.ReceiptFile{}, err
	}
	stored, err := l.storedReceipt(ctx, receipt)
	if err != nil {
		return api.ReceiptFile{}, err
	}
	file := api.ReceiptFile{Receipt: stored, Ledger: string(l.cfg.Ledger)}
	public, err := l.ring.PublicKeys(ctx)
	if err != nil {
		return file, fmt.Errorf("public keys: %w", err)
	}
	for _, k := range public {
		file.Keys = append(file.Keys, api.PublicKey{ID: k.ID, Use: string(k.Use), Key: k.Key})
	}
	_, err = ledger.VerifyReceipt(l.cfg.Ledger, stored, receiptKeys(public))
	file.Valid = err == nil
	return file, nil
}

func (l *Lethe) storedReceipt(ctx context.Context, id domain.ReceiptID) (json.RawMessage, error) {
	stream, revision, err := l.views.receipt(ctx, id)
	if err != nil {
		return nil, err
	}
	for r, err := range l.store.ReadStream(ctx, stream, revision, 0, 1) {
		if err != nil {
			return nil, fmt.Errorf("reading the receipt: %w", err)
		}
		opened, err := l.ledger.Open(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("opening the receipt: %w", err)
		}
		text, _ := opened.Record["receipt"].(string)
		return json.RawMessage(text), nil
	}
	return nil, api.NotFound("there is no such receipt")
}
