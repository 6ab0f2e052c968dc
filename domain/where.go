package domain

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// A Scope separates what dies with an erasure from what the law keeps: consent
// proofs, the file of a request, a principal's acts.
type Scope byte

// The two scopes.
const (
	Erasable  Scope = 'e'
	Obligated Scope = 'o'
)

// Valid reports whether s is one of the two scopes.
func (s Scope) Valid() bool { return s == Erasable || s == Obligated }

// String returns the letter.
func (s Scope) String() string { return string(rune(s)) }

// A Class is a data class of the policy: fields, why, how long.
type Class string

// A Tier is the retention period a person chose, AnonTier, or OwnTier.
type Tier string

// The two tiers that are no period.
const (
	OwnTier  Tier = "0"
	AnonTier Tier = "anon"
)

// Built-in classes (FORMAT §1). Their periods stand in the policy, too.
const (
	ClassPreferences Class = "preferences"
	ClassAccess      Class = "access"
	ClassConsent     Class = "consent"
	ClassRights      Class = "rights"
	ClassActs        Class = "acts"
	ClassControl     Class = "control"
)

// Reserved classes name streams that are about no person.
const (
	ClassNode        Class = "node"
	ClassDestruction Class = "destruction"
	ClassRetention   Class = "retention"
	ClassJournal     Class = "journal"
	ClassPolicy      Class = "policy"
	ClassCheckpoint  Class = "checkpoint"
)

// Validate reports an error unless c is [a-z][a-z0-9]{0,31}.
func (c Class) Validate() error {
	ok := len(c) >= 1 && len(c) <= 32 && c[0] >= 'a'
	for i := range len(c) {
		ok = ok && ((c[i] >= 'a' && c[i] <= 'z') || (c[i] >= '0' && c[i] <= '9'))
	}
	if !ok {
		return fmt.Errorf("class %q: want a letter and up to 31 letters or digits, lower case", string(c))
	}
	return nil
}

// Reserved reports whether c names streams of Lethe itself.
func (c Class) Reserved() bool {
	switch c {
	case ClassNode, ClassDestruction, ClassRetention, ClassJournal, ClassPolicy, ClassCheckpoint:
		return true
	}
	return false
}

// Validate reports an error unless t is 0, anon or an ISO 8601 period.
func (t Tier) Validate() error {
	if t == OwnTier || t == AnonTier {
		return nil
	}
	_, err := ParsePeriod(string(t))
	return err
}

// A Gen counts how often a class of one person was collected anew after its
// subject key was destroyed; the first is 1.
type Gen uint32

// Where is the place an event belongs to, and so the name of the keys that open
// it: one person, one class, one period (FORMAT §4).
type Where struct {
	Ledger LedgerID
	Scope  Scope
	Ref    SubjectRef
	Class  Class
	Tier   Tier
	Bucket Bucket
	Gen    Gen
}

// Bytes returns where: what B, K and the additional data are bound to.
func (w Where) Bytes() []byte { return w.Append(make([]byte, 0, 96)) }

// Append appends Bytes.
func (w Where) Append(dst []byte) []byte {
	dst = w.subjectPrefix(dst)
	dst = AppendLPString(dst, string(w.Tier))
	dst = AppendLPString(dst, string(w.Bucket))
	return binary.BigEndian.AppendUint32(dst, uint32(w.Gen))
}

// Subject returns where_S, which leaves out tier and bucket.
func (w Where) Subject() []byte {
	b := w.subjectPrefix(make([]byte, 0, 64))
	return binary.BigEndian.AppendUint32(b, uint32(w.Gen))
}

// Retention returns where_R, which leaves out scope, ref and gen.
func (w Where) Retention() []byte { return w.RetentionKey().Where(w.Ledger) }

// RetentionKey names the retention key of w.
func (w Where) RetentionKey() RetentionKey {
	return RetentionKey{Class: w.Class, Tier: w.Tier, Bucket: w.Bucket}
}

func (w Where) subjectPrefix(b []byte) []byte {
	b = AppendLPString(b, string(w.Ledger))
	b = append(b, byte(w.Scope))
	b = append(b, w.Ref[:]...)
	return AppendLPString(b, string(w.Class))
}

// String names the place without the person; it is fit for errors and logs.
func (w Where) String() string {
	return fmt.Sprintf("%s/%s/%s gen %d", w.Class, w.Tier, w.Bucket, w.Gen)
}

// A RetentionKey names one retention key R: one period of a class, for all.
type RetentionKey struct {
	Class  Class  `json:"class"`
	Tier   Tier   `json:"tier"`
	Bucket Bucket `json:"bucket"`
}

// Where returns where_R of the key.
func (k RetentionKey) Where(l LedgerID) []byte {
	b := AppendLPString(make([]byte, 0, 64), string(l))
	b = AppendLPString(b, string(k.Class))
	b = AppendLPString(b, string(k.Tier))
	return AppendLPString(b, string(k.Bucket))
}

// Compare orders by class, tier and bucket.
func (k RetentionKey) Compare(o RetentionKey) int {
	return cmp.Or(cmp.Compare(k.Class, o.Class), cmp.Compare(k.Tier, o.Tier), cmp.Compare(k.Bucket, o.Bucket))
}

// String is class/tier/bucket.
func (k RetentionKey) String() string {
	return string(k.Class) + "/" + string(k.Tier) + "/" + string(k.Bucket)
}

// WhereID returns the where of a ref, a block or a hold: lp(ledger) ‖ id.
func WhereID[K any](l LedgerID, id ID[K]) []byte {
	return append(AppendLPString(make([]byte, 0, 40), string(l)), id[:]...)
}

// A KeyKind tells, inside a dead tag, what kind of key died (FORMAT §7).
type KeyKind byte

// The kinds, as the journal's tags number them.
const (
	KindK     KeyKind = 1
	KindR     KeyKind = 2
	KindB     KeyKind = 3
	KindS     KeyKind = 4
	KindRef   KeyKind = 5
	KindBlock KeyKind = 6
	KindH     KeyKind = 7
)

// A Tag names a destroyed key to those who hold T and to nobody else: the first
// 16 bytes of HMAC-SHA-256(T, lp("lethe/dead/v1") ‖ kind ‖ where).
type Tag [16]byte

// ErrTag says that a text is not a tag of 32 lower-case hex digits.
var ErrTag = errors.New("not a tag")

// String returns the tag in lower-case hex, as the journal writes it.
func (t Tag) String() string { return hex.EncodeToString(t[:]) }

// MarshalText implements encoding.TextMarshaler.
func (t Tag) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; upper case is refused.
func (t *Tag) UnmarshalText(b []byte) error {
	var parsed Tag
	if len(b) != 2*len(parsed) {
		return ErrTag
	}
	if _, err := hex.Decode(parsed[:], b); err != nil || parsed.String() != string(b) {
		return ErrTag
	}
	*t = parsed
	return nil
}
