package domain

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
)

// An Envelope is the clear part of an event (FORMAT §3). It is encoded in
// exactly one way, and only that way is read: what re-encodes differently is
// refused, so that a hash over the stored bytes says everything.
type Envelope struct {
	Hour   Hour
	Policy uint32 // revision in force
	Salt   [16]byte
	Scope  Scope      // 0 where the event is about no person
	Ref    SubjectRef // zero where the event is about no person
	Class  Class
	Tier   Tier
	Bucket Bucket
	Gen    Gen
	N      uint32 // records the event stands for; 0 is left out
	Late   bool   // the bucket was past due when the event was sealed
	Facts  Facts
}

// ErrEnvelope says that bytes are not the canonical envelope of their type.
var ErrEnvelope = errors.New("envelope is not canonical")

// Where returns the place of the event in ledger l.
func (e Envelope) Where(l LedgerID) Where {
	return Where{Ledger: l, Scope: e.Scope, Ref: e.Ref, Class: e.Class, Tier: e.Tier, Bucket: e.Bucket, Gen: e.Gen}
}

// Encode returns the canonical bytes, or an error if the envelope says what its
// event type does not declare.
func (e Envelope) Encode(spec EventSpec) ([]byte, error) {
	if err := e.Facts.check(spec.Facts); err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Type, err)
	}
	if err := e.valid(); err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Type, err)
	}
	return e.append(make([]byte, 0, 384)), nil
}

// valid reports what no envelope may say, whatever its type.
func (e Envelope) valid() error {
	if _, err := ParseHour(string(e.Hour)); err != nil {
		return err
	}
	if e.Class != "" {
		if err := e.Class.Validate(); err != nil {
			return err
		}
	}
	if e.Scope == 0 {
		if !e.Ref.IsZero() || e.Tier != "" || e.Bucket != "" || e.Gen != 0 || e.Late {
			return fmt.Errorf("a place without a scope: %w", ErrEnvelope)
		}
		return nil
	}
	return e.validPlace()
}

func (e Envelope) validPlace() error {
	if !e.Scope.Valid() || e.Ref.IsZero() || e.Class == "" || e.Class.Reserved() || e.Gen == 0 {
		return fmt.Errorf("an incomplete place: %w", ErrEnvelope)
	}
	if err := e.Tier.Validate(); err != nil {
		return err
	}
	if _, err := ParseBucket(string(e.Bucket)); err != nil {
		return err
	}
	if !e.Bucket.In(e.Hour) {
		return fmt.Errorf("hour %s is not of bucket %s: %w", e.Hour, e.Bucket, ErrEnvelope)
	}
	return nil
}

func (e Envelope) append(b []byte) []byte {
	b = append(b, `{"v":1,"hour":"`...)
	b = append(b, e.Hour...)
	b = append(b, `","policy":`...)
	b = strconv.AppendUint(b, uint64(e.Policy), 10)
	b = append(b, `,"salt":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, e.Salt[:])
	b = append(b, '"')
	if e.Scope != 0 {
		b = appendText(b, "scope", e.Scope.String())
		b = append(e.Ref.Append(append(b, `,"ref":"`...)), '"')
	}
	b = appendText(b, "class", string(e.Class))
	b = appendText(b, "tier", string(e.Tier))
	b = appendText(b, "bucket", string(e.Bucket))
	b = appendNumber(b, "gen", uint64(e.Gen))
	b = appendNumber(b, "n", uint64(e.N))
	if e.Late {
		b = append(b, `,"late":true`...)
	}
	b = append(b, `,"facts":{`...)
	for i, f := range e.Facts {
		if i > 0 {
			b = append(b, ',')
		}
		b = f.append(b)
	}
	return append(b, "}}"...)
}

func appendText(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(append(append(b, `,"`...), key...), `":"`...)
	return append(append(b, value...), '"')
}

func appendNumber(b []byte, key string, n uint64) []byte {
	if n == 0 {
		return b
	}
	b = append(append(append(b, `,"`...), key...), `":`...)
	return strconv.AppendUint(b, n, 10)
}
