package domain

import (
	"crypto/sha1" //nolint:gosec // UUIDv5, see Event
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// An ID is a UUID that names one kind of thing. The type parameter exists only
// to keep the kinds apart: a subject's ref cannot be passed for a hold's id.
// The zero ID names nothing.
type ID[Kind any] [16]byte

// The kinds of names in a ledger (FORMAT §1).
type (
	// SubjectRef is the only name of a person in the log: random, one per
	// person and scope.
	SubjectRef = ID[subjectKind]
	// BlockID names a block of anonymous refs (FORMAT §4).
	BlockID = ID[blockKind]
	// BundleID names one version of a bundle; it is used once.
	BundleID = ID[bundleKind]
	// ConnectionID names a connection in the ledger only: upstreams, clients and
	// logs see another id.
	ConnectionID = ID[connectionKind]
	// CommandID names one intention; the ids of its events derive from it.
	CommandID = ID[commandKind]
	// EventID names one event; it derives from a command and an index.
	EventID = ID[eventKind]
	// HoldID names a legal hold.
	HoldID = ID[holdKind]
	// RequestID names a data subject's request.
	RequestID = ID[requestKind]
	// ReceiptID names an erasure receipt.
	ReceiptID = ID[receiptKind]
	// WriterID names one process from its start to its end.
	WriterID = ID[writerKind]
)

type (
	subjectKind    struct{}
	blockKind      struct{}
	bundleKind     struct{}
	connectionKind struct{}
	commandKind    struct{}
	eventKind      struct{}
	holdKind       struct{}
	requestKind    struct{}
	receiptKind    struct{}
	writerKind     struct{}
)

// Namespaces of derived ids; fixed for ever by testdata/vectors/ids.json.
var (
	commandNamespace = uuid.MustParse("7b1c1f0e-6a52-5d0e-9a57-0c5f6a0d9d11")
	eventNamespace   = uuid.MustParse("2f8e3c54-19d7-5b6a-8a3e-5a1f4f7d2c22")
)

// ErrBadID says that a text is not a UUID in its canonical form.
var ErrBadID = errors.New("not a canonical UUID")

// New makes a random id (UUIDv4) of a kind: New[SubjectRef]().
func New[I ~[16]byte]() I { return I(uuid.New()) }

// Parse reads the canonical form: 36 characters, lower case, with hyphens.
func Parse[I ~[16]byte](s string) (I, error) {
	var id I
	var digits [32]byte
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return I{}, ErrBadID
	}
	n := copy(digits[:], s[:8])
	n += copy(digits[n:], s[9:13])
	n += copy(digits[n:], s[14:18])
	n += copy(digits[n:], s[19:23])
	copy(digits[n:], s[24:])
	for _, c := range digits {
		if c >= 'A' && c <= 'F' {
			return I{}, ErrBadID
		}
	}
	if _, err := hex.Decode(id[:], digits[:]); err != nil {
		return I{}, ErrBadID
	}
	return id, nil
}

// String returns the canonical form.
func (id ID[Kind]) String() string {
	var b [36]byte
	return string(id.Append(b[:0]))
}

// Append appends the canonical form.
func (id ID[Kind]) Append(dst []byte) []byte {
	dst = append(hex.AppendEncode(dst, id[:4]), '-')
	dst = append(hex.AppendEncode(dst, id[4:6]), '-')
	dst = append(hex.AppendEncode(dst, id[6:8]), '-')
	dst = append(hex.AppendEncode(dst, id[8:10]), '-')
	return hex.AppendEncode(dst, id[10:])
}

// IsZero reports whether id names nothing.
func (id ID[Kind]) IsZero() bool { return id == ID[Kind]{} }

// MarshalText implements encoding.TextMarshaler.
func (id ID[Kind]) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it is as strict as Parse.
func (id *ID[Kind]) UnmarshalText(b []byte) error {
	parsed, err := Parse[ID[Kind]](string(b))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// Event derives the id of the i-th event of command c:
// UUIDv5(event namespace, command id ‖ u32(i)) (FORMAT §1).
//
// It is made for each event, so it takes RFC 9562 at its word rather than
// uuid.NewSHA1, which allocates; a test holds both to be the same.
func Event(c CommandID, i uint32) EventID {
	var b [36]byte
	name := append(append(b[:0], eventNamespace[:]...), c[:]...)
	sum := sha1.Sum(binary.BigEndian.AppendUint32(name, i)) //nolint:gosec // what RFC 9562 §5.5 asks for; it guards nothing
	id := EventID(sum[:16])
	id[6], id[8] = id[6]&0x0f|0x50, id[8]&0x3f|0x80 // version 5, and the variant
	return id
}

// Step derives the command id of a named step of a request:
// UUIDv5(command namespace, request id ‖ lp(step)). Calling the step again
// therefore finds its own events (FORMAT §1).
func Step(r RequestID, step string) CommandID {
	return CommandID(uuid.NewSHA1(commandNamespace, AppendLP(r[:], []byte(step))))
}

// Keyed derives a command id from a MAC over the principal and an
// Idempotency-Key, which the custodian computes with its pepper (FORMAT §1).
func Keyed(mac [sha256.Size]byte) CommandID {
	return CommandID(uuid.NewSHA1(commandNamespace, mac[:]))
}

// AppendLP appends lp(x): the length of x as unsigned 32-bit big-endian, then x.
func AppendLP(dst, x []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(x))) //nolint:gosec // bounded by every caller's own limit
	return append(dst, x...)
}

// AppendLPString is AppendLP for a string.
func AppendLPString(dst []byte, x string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(x))) //nolint:gosec // as AppendLP
	return append(dst, x...)
}

// LedgerID names one installation. It is part of every stream name and of every
// additional authenticated datum.
type LedgerID string

// Validate reports an error unless the id matches [a-z0-9]{1,16}.
func (l LedgerID) Validate() error {
	if len(l) == 0 || len(l) > 16 {
		return fmt.Errorf("ledger id %q: want 1 to 16 characters of a-z and 0-9", string(l))
	}
	for _, c := range []byte(l) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return fmt.Errorf("ledger id %q: want 1 to 16 characters of a-z and 0-9", string(l))
		}
	}
	return nil
}
