package keys

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// A DestructionKind says what a destruction takes.
type DestructionKind = domain.DestructionKind

// The kinds.
const (
	DestroySubject   = domain.DestroySubject
	DestroyClass     = domain.DestroyClass
	DestroyRange     = domain.DestroyRange
	DestroyRetention = domain.DestroyRetention
	DestroyBlock     = domain.DestroyBlock
)

// A Destruction says what is to die. The ledger keeps it as a document of the
// custodian, with its Plan, until it is done; every step can be called again
// with the same one.
type Destruction struct {
	Command domain.CommandID  `json:"command"`
	Kind    DestructionKind   `json:"kind"`
	Ref     domain.SubjectRef `json:"ref,omitzero"`
	Scope   domain.Scope      `json:"scope,omitzero"`
	// Classes of a class or a range; never empty there, because no class at all
	// and all of them must not look alike.
	Classes []domain.Class `json:"classes,omitempty"`
	// From and Before bound a range by the start of buckets; each is rounded down
	// to a bucket's start, and zero is open.
	From      time.Time             `json:"from,omitzero"`
	Before    time.Time             `json:"before,omitzero"`
	Retention []domain.RetentionKey `json:"retention,omitempty"`
	Block     domain.BlockID        `json:"block,omitzero"`
}

var errDestruction = errors.New("not a destruction")

// Validate reports an error unless the destruction says what its kind needs and
// nothing that its kind does not take.
func (d Destruction) Validate() error {
	want := Destruction{Command: d.Command, Kind: d.Kind}
	switch d.Kind {
	case DestroySubject:
		want.Ref, want.Scope = d.Ref, d.Scope
	case DestroyClass:
		want.Ref, want.Scope, want.Classes = d.Ref, d.Scope, d.Classes
	case DestroyRange:
		want = d
		want.Retention, want.Block = nil, domain.BlockID{}
	case DestroyRetention:
		want.Retention = d.Retention
	case DestroyBlock:
		want.Block = d.Block
	default:
		return fmt.Errorf("kind %q: %w", d.Kind, errDestruction)
	}
	if !d.complete() || !equal(d, want) {
		return fmt.Errorf("kind %s: a part is missing or too many: %w", d.Kind, errDestruction)
	}
	return nil
}

func (d Destruction) complete() bool {
	if d.Command.IsZero() {
		return false
	}
	switch d.Kind {
	case DestroySubject:
		return d.person()
	case DestroyClass:
		return d.person() && len(d.Classes) > 0
	case DestroyRange:
		return d.person() && len(d.Classes) > 0 && (d.Before.IsZero() || d.From.Before(d.Before))
	case DestroyRetention:
		return len(d.Retention) > 0
	case DestroyBlock:
		return !d.Block.IsZero()
	}
	return false
}

func (d Destruction) person() bool { return !d.Ref.IsZero() && d.Scope.Valid() }

// ofPerson reports whether the destruction is of one person's keys.
func (d Destruction) ofPerson() bool {
	return d.Kind == DestroySubject || d.Kind == DestroyClass || d.Kind == DestroyRange
}

func equal(a, b Destruction) bool {
	return a.Command == b.Command && a.Kind == b.Kind && a.Ref == b.Ref && a.Scope == b.Scope && a.Block == b.Block &&
		a.From.Equal(b.From) && a.Before.Equal(b.Before) &&
		slices.Equal(a.Classes, b.Classes) && slices.Equal(a.Retention, b.Retention)
}

// takes reports whether a bucket lies in the range.
func (d Destruction) takes(b domain.Bucket) bool {
	start := b.Start()
	if !d.From.IsZero() && start.Before(domain.BucketAt(d.From, b.Width()).Start()) {
		return false
	}
	return d.Before.IsZero() || start.Before(domain.BucketAt(d.Before, b.Width()).Start())
}

// A Plan says exactly which keys a destruction takes. It is computed behind the
// fence, where it is the same each time; the ledger persists it before the
// journal line, and Execute does what it says and nothing else.
type Plan struct {
	// Tags are what the journal line names, sorted.
	Tags []domain.Tag `json:"tags"`
	// Keys counts the S, kept B and R that die, those of linked refs included.
	Keys int `json:"keys"`
	// Gens are the subject keys that die; of a linked ref: none here.
	Gens []ClassGen `json:"gens,omitempty"`
	// Last are a whole person's last gens, by class: what its streams are named by.
	Last []ClassGen `json:"last,omitempty"`
	// Buckets are those that open nothing any more: of this person, or, where R
	// dies, of anybody.
	Buckets []domain.RetentionKey `json:"buckets,omitempty"`
	// Kept are the B that outlive their S, Dropped earlier kept B that die.
	Kept    []Place `json:"kept,omitempty"`
	Dropped []Place `json:"dropped,omitempty"`
	// Links are the anonymous refs that die with a whole person.
	Links []seal.Link `json:"links,omitempty"`
	// LinkKeys counts the S of each of them.
	LinkKeys []int `json:"link_keys,omitempty"`
}

// A ClassGen is one gen of one class.
type ClassGen = domain.ClassGen

// A Place is one bucket of one gen of a person's class.
type Place struct {
	domain.RetentionKey
	Gen domain.Gen `json:"gen"`
}

func (p Place) where(l domain.LedgerID, s domain.Scope, ref domain.SubjectRef) domain.Where {
	return domain.Where{Ledger: l, Scope: s, Ref: ref, Class: p.Class, Tier: p.Tier, Bucket: p.Bucket, Gen: p.Gen}
}
