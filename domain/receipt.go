package domain

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A Receipt says what an erasure destroyed (FORMAT §7). It names no ref, no
// external id and no record of custodian or journal, so it can be handed out and
// checked offline. Its JSON has exactly one form: the fields in this order, no
// spaces, no HTML escaping.
type Receipt struct {
	ID      ReceiptID `json:"id"`
	Request RequestID `json:"request"`
	// Ground is why: a word such as A17-1-b.
	Ground string `json:"ground"`
	// Classes that were erased, Buckets and KeysDestroyed how many of each.
	Classes       []Class `json:"classes"`
	Buckets       int     `json:"buckets"`
	KeysDestroyed int     `json:"keys_destroyed"`
	// Times are UTC, cut to the hour.
	Requested time.Time `json:"requested"`
	Fenced    time.Time `json:"fenced"`
	Destroyed time.Time `json:"destroyed"`
	// EffectiveAt is when no backup of keys can open anything any more, either.
	EffectiveAt time.Time `json:"effective_at"`
	// Disposal is the state of the ciphertext.
	Disposal Disposal `json:"disposal"`
	// Withheld is what stays, and why.
	Withheld []Withheld `json:"withheld"`
	// Held counts the keys that only holds still keep.
	Held int `json:"held"`
	// TreeHead is a signed tree head that covers the erasure; empty while there is
	// none.
	TreeHead string `json:"tree_head"`
	// Mirrors says how many copies of the journal were durable.
	Mirrors string `json:"mirrors"`
	// Key is the id of the signing key; the signature is over SigningBytes.
	Key       string `json:"key"`
	Signature []byte `json:"-"`
}

// A Disposal is how far the ciphertext of destroyed keys is removed.
type Disposal string

// The states of disposal.
const (
	DisposalPending Disposal = "pending"
	DisposalDone    Disposal = "disposed"
)

// Withheld is a class that an erasure left, with the legal ground.
type Withheld struct {
	Class  Class  `json:"class"`
	Ground string `json:"ground"`
}

// ErrReceipt says that bytes are not a receipt in its canonical form.
var ErrReceipt = errors.New("not a receipt")

const (
	maxReceiptText    = 4096
	maxReceiptClasses = 1024
	signatureKey      = `,"signature":"`
)

// CutToHour is how a time stands in a receipt.
func CutToHour(t time.Time) time.Time { return t.UTC().Truncate(time.Hour) }

// unsigned returns the JSON before `,"signature"`.
func (r Receipt) unsigned() ([]byte, error) {
	if err := r.valid(); err != nil {
		return nil, err
	}
	if r.Classes == nil {
		r.Classes = []Class{}
	}
	if r.Withheld == nil {
		r.Withheld = []Withheld{}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("encoding receipt %s: %w", r.ID, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("}\n")), nil
}

// valid reports what no receipt may say. Texts are printable ASCII without quote
// and backslash, so that no two encoders differ about them.
func (r Receipt) valid() error {
	if r.ID.IsZero() || r.Request.IsZero() || r.Buckets < 0 || r.KeysDestroyed < 0 || r.Held < 0 {
		return fmt.Errorf("a count or an id is missing: %w", ErrReceipt)
	}
	for _, t := range []time.Time{r.Requested, r.Fenced, r.Destroyed, r.EffectiveAt} {
		if t.Location() != time.UTC || !t.Equal(CutToHour(t)) || t.Year() < 2000 || t.Year() > 9999 {
			return fmt.Errorf("a time is not a UTC hour: %w", ErrReceipt)
		}
	}
	if r.Disposal != DisposalPending && r.Disposal != DisposalDone {
		return fmt.Errorf("disposal %q: %w", r.Disposal, ErrReceipt)
	}
	return r.validTexts()
}

func (r Receipt) validTexts() error {
	if len(r.Classes) > maxReceiptClasses || len(r.Withheld) > maxReceiptClasses || !validName(r.Key) || !validName(r.Ground) {
		return fmt.Errorf("ground, key or number of classes: %w", ErrReceipt)
	}
	for _, c := range r.Classes {
		if err := c.Validate(); err != nil {
			return because(ErrReceipt, err)
		}
	}
	for _, w := range r.Withheld {
		if err := w.Class.Validate(); err != nil || !validName(w.Ground) {
			return because(ErrReceipt, err)
		}
	}
	for _, text := range []string{r.TreeHead, r.Mirrors} {
		if !plainText(text) {
			return fmt.Errorf("a text is not plain: %w", ErrReceipt)
		}
	}
	return nil
}

func plainText(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return len(s) <= maxReceiptText
}

// SigningBytes returns lp("lethe/receipt/v1") ‖ lp(ledger) ‖ the JSON before
// `,"signature"`.
func (r Receipt) SigningBytes(ledger LedgerID) ([]byte, error) {
	b, err := r.unsigned()
	if err != nil {
		return nil, err
	}
	prefix := AppendLPString(AppendLPString(nil, "lethe/receipt/v1"), string(ledger))
	return append(prefix, b...), nil
}

// Sign returns the receipt with the signature that sign makes with the key that
// r.Key names.
func (r Receipt) Sign(ledger LedgerID, sign func(message []byte) ([]byte, error)) (Receipt, error) {
	message, err := r.SigningBytes(ledger)
	if err != nil {
		return Receipt{}, err
	}
	if r.Signature, err = sign(message); err != nil {
		return Receipt{}, fmt.Errorf("signing receipt %s: %w", r.ID, err)
	}
	return r, nil
}

// Verify reports ErrTampered unless one of the public keys signed the receipt for
// this ledger. It needs nothing else, and no network.
func (r Receipt) Verify(ledger LedgerID, public ...ed25519.PublicKey) error {
	message, err := r.SigningBytes(ledger)
	if err != nil {
		return err
	}
	if !signedByOne(public, message, r.Signature) {
		return fmt.Errorf("receipt %s: signature: %w", r.ID, ErrTampered)
	}
	return nil
}

// Encode returns the signed receipt as it is stored and handed out.
func (r Receipt) Encode() ([]byte, error) {
	if len(r.Signature) != ed25519.SignatureSize {
		return nil, fmt.Errorf("receipt %s is not signed: %w", r.ID, ErrReceipt)
	}
	b, err := r.unsigned()
	if err != nil {
		return nil, err
	}
	b = base64.RawURLEncoding.AppendEncode(append(b, signatureKey...), r.Signature)
	return append(b, `"}`...), nil
}

// DecodeReceipt reads a signed receipt. Whatever would encode differently is
// refused with ErrReceipt; the signature is for Verify.
func DecodeReceipt(raw []byte) (Receipt, error) {
	at := bytes.LastIndex(raw, []byte(signatureKey))
	if at < 0 || !bytes.HasSuffix(raw, []byte(`"}`)) || len(raw) < at+len(signatureKey)+len(`"}`) {
		return Receipt{}, ErrReceipt
	}
	var r Receipt
	dec := json.NewDecoder(bytes.NewReader(append(raw[:at:at], '}')))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Receipt{}, because(ErrReceipt, err)
	}
	var err error
	sig := raw[at+len(signatureKey) : len(raw)-len(`"}`)]
	if r.Signature, err = base64.RawURLEncoding.Strict().DecodeString(string(sig)); err != nil {
		return Receipt{}, because(ErrReceipt, err)
	}
	if again, err := r.Encode(); err != nil || !bytes.Equal(again, raw) {
		return Receipt{}, because(ErrReceipt, err)
	}
	return r, nil
}
