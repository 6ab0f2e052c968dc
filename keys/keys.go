// Package keys is the life of a key: issued once, destroyed once, never again.
//
// A Custodian keeps the material; two engines do (embedded, Vault), and keytest
// is the suite that both pass. A Ring stands above one: it derives the handles
// that seal and, as another type, those that open; it caches them within bounds,
// looks every key's dead tag up before using it, and carries out destructions.
//
// Promises: material of a key whose destruction was acknowledged can be
// recovered from nothing that the custodian keeps or ever kept, backups made
// before excepted; no other key is ever lost by it, also when the process dies
// at any instant. An outage is never reported as a destruction.
package keys

import (
	"context"
	"crypto/ed25519"
	"io"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// A DirectoryKey is HMAC-SHA-256(pepper, lp(namespace) ‖ lp(scope) ‖ lp(external
// id)): the only way from what the operator calls a person to the ref.
type DirectoryKey [32]byte

// A Person is what the operator calls somebody. It is never stored.
type Person struct {
	Namespace  string
	Scope      domain.Scope
	ExternalID string // UTF-8, NFC
}

// A Subject is a directory entry with its state.
type Subject struct {
	Ref       domain.SubjectRef
	Scope     domain.Scope
	Directory DirectoryKey
	Issued    time.Time
	Fence     Fence
}

// A Fence stops issuing and unwrapping for a person, or for some classes, from
// the moment it stands until its destruction is done. The zero Fence is none.
type Fence struct {
	Command domain.CommandID
	Classes []domain.Class // nil: the whole person
}

// Stops reports whether the fence stands before a class.
func (f Fence) Stops(c domain.Class) bool {
	if f.Command.IsZero() {
		return false
	}
	if f.Classes == nil {
		return true
	}
	return slices.Contains(f.Classes, c)
}

// A Custodian keeps key material. Every method MUST answer an error that matches
// domain.ErrUnavailable when it cannot know, and domain.ErrNotFound only when it
// knows that there is nothing. All of them are safe for concurrent use, and
// what they change is durable before they return.
type Custodian interface {
	Directory
	Blocks
	RetentionKeys
	Documents
	LedgerKeys
	io.Closer
}

// Directory keeps persons and their bundles.
type Directory interface {
	// Lookup finds the entry of a directory key.
	Lookup(ctx context.Context, key DirectoryKey) (Subject, error)
	// Enrol adds an entry with its bundle if there is none for its directory key,
	// and answers the entry that stands afterwards: another ref than s.Ref means
	// that somebody else was first. It does not keep b.
	Enrol(ctx context.Context, s Subject, b *seal.Bundle) (Subject, error)
	// Bundle returns a person's entry and keys. The caller zeroes the bundle.
	Bundle(ctx context.Context, ref domain.SubjectRef) (Subject, *seal.Bundle, error)
	// Change reads an entry with its bundle, lets change edit both (ref, scope
	// and directory key stay), and writes them, atomically. When it returns nil,
	// what change took out of the bundle is destroyed. change may run more than
	// once, each time on what stands then, and must not call the custodian; its
	// error is returned and nothing is written. domain.ErrNotFound: no such entry.
	Change(ctx context.Context, ref domain.SubjectRef, change func(*Subject, *seal.Bundle) error) error
	// Remove destroys an entry and its bundle. It is idempotent, and leaves the
	// directory key alone if that leads to another ref by now.
	Remove(ctx context.Context, ref domain.SubjectRef) error
	// Subjects calls each for every entry until it returns false. each must not
	// change the custodian.
	Subjects(ctx context.Context, each func(Subject) bool) error
}

// Blocks keeps the keys of anonymous refs, 256 to a block.
type Blocks interface {
	// AddBlock adds a block; the same id again changes nothing. It does not keep b.
	AddBlock(ctx context.Context, id domain.BlockID, issued time.Time, b *seal.Block) error
	// Block returns a block. The caller zeroes it.
	Block(ctx context.Context, id domain.BlockID) (*seal.Block, error)
	// ChangeBlock is Change for a block: what change takes out is destroyed.
	ChangeBlock(ctx context.Context, id domain.BlockID, change func(*seal.Block) error) error
	// RemoveBlock destroys a block. It is idempotent.
	RemoveBlock(ctx context.Context, id domain.BlockID) error
	EachBlock(ctx context.Context, each func(id domain.BlockID, issued time.Time) bool) error
}

// A RetentionRecord is what is known of one retention key. It outlives the key.
type RetentionRecord struct {
	domain.RetentionKey
	// Due is when the key is to die; zero where one was destroyed that was never
	// issued.
	Due time.Time
	// Destroyed is set for ever once the key is gone; Journal is the line that
	// names it.
	Destroyed bool
	Journal   uint64
}

// RetentionKeys keeps R, one key for each class, tier and bucket.
type RetentionKeys interface {
	// Retention returns a record and, while it lives, its key.
	Retention(ctx context.Context, k domain.RetentionKey) (RetentionRecord, seal.Secret, error)
	// IssueRetention makes the key if there is no record, and answers what stands
	// afterwards. A destroyed one stays destroyed.
	IssueRetention(ctx context.Context, k domain.RetentionKey, due time.Time) (RetentionRecord, seal.Secret, error)
	// SetDue brings the due date of a record forward; a later one, and a destroyed
	// key, change nothing. domain.ErrNotFound: no such record.
	SetDue(ctx context.Context, k domain.RetentionKey, due time.Time) error
	// DestroyRetention destroys keys and marks their records; keys that were never
	// issued get a record, too, so that they never will be. It is idempotent.
	DestroyRetention(ctx context.Context, keys []domain.RetentionKey, journal uint64) error
	// EachRetention calls each for every record, in the order of class, tier and
	// bucket, until it returns false.
	EachRetention(ctx context.Context, each func(RetentionRecord) bool) error
}

// A Version names one write of a document and is never given to another, also
// where the document was removed and made again; 0 means that there is none.
type Version uint64

// Documents keeps small records that change by compare-and-set: commands in
// progress, tokens, the journal's head, escrows.
type Documents interface {
	Document(ctx context.Context, name string) ([]byte, Version, error)
	// PutDocument writes from exactly the version read, or domain.ErrConflict.
	PutDocument(ctx context.Context, name string, from Version, value []byte) (Version, error)
	// RemoveDocument destroys from exactly the version read; an absent one is fine.
	RemoveDocument(ctx context.Context, name string, from Version) error
	// EachDocument calls each for every document whose name begins with prefix.
	EachDocument(ctx context.Context, prefix string, each func(name string, value []byte) bool) error
}

// Material is what a ledger holds for ever. It is read once at start.
type Material struct {
	Pepper    seal.Secret
	DeadTag   seal.Secret // T
	Current   byte        // number of the integrity key in use
	Integrity map[byte][32]byte
}

// A SigningUse keeps the signing keys apart (FORMAT §7).
type SigningUse string

// The uses.
const (
	SignReceipt    SigningUse = "receipt"
	SignJournal    SigningUse = "journal"
	SignCheckpoint SigningUse = "checkpoint"
)

// A PublicKey is listed in the policy stream; receipts name its id.
type PublicKey struct {
	ID  string            `json:"id"`
	Use SigningUse        `json:"use"`
	Key ed25519.PublicKey `json:"key"`
}

// LedgerKeys keeps what is never destroyed. The first call of a new ledger makes
// it, once, whoever calls.
type LedgerKeys interface {
	Material(ctx context.Context) (Material, error)
	// Sign signs with the current key of a use.
	Sign(ctx context.Context, use SigningUse, message []byte) (keyID string, signature []byte, err error)
	PublicKeys(ctx context.Context) ([]PublicKey, error)
}
