package vault

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// A place is where something sealed stands, and what binds it to there.
type place struct {
	path  string
	kind  byte // of the Transit key
	scope domain.Scope
	owner [16]byte
}

func personPlace(ref domain.SubjectRef, s domain.Scope) place {
	return place{path: "persons/" + ref.String(), kind: ofPerson, scope: s, owner: ref}
}

func blockPlace(id domain.BlockID) place {
	return place{path: "blocks/" + id.String(), kind: ofBlock, scope: domain.Erasable, owner: id}
}

func documentPlace(id documentID) place {
	return place{path: "documents/" + id.String(), kind: ofDocument, scope: domain.Obligated, owner: id}
}

// fixedPlace is one that a ledger has once; its owner comes from the path.
func fixedPlace(path string) place {
	sum := sha256.Sum256([]byte(path))
	return place{path: path, kind: ofLedger, scope: domain.Obligated, owner: [16]byte(sum[:16])}
}

// A box is something sealed as FORMAT §4 seals a bundle, under a data key that
// one Transit key unwraps. Its id is used once: sealed again, it gets another.
type box struct {
	Key     keyName         `json:"key"`
	Wrapped string          `json:"wrapped"`
	ID      domain.BundleID `json:"id"`
	Sealed  []byte          `json:"sealed"`
}

// A vessel is a document with a box. It changes by compare-and-set in its place;
// where something in it is to be destroyed, it is sealed anew under a new Transit
// key, and the old one is named as doomed until it is destroyed.
type vessel struct {
	Version int    `json:"version"`
	State   []byte `json:"state,omitempty"` // what is not secret
	box
	Doomed []keyName `json:"doomed,omitempty"`
	// Closed is our own record that the whole is being destroyed: nothing is
	// sealed in here any more, and the Transit keys may be gone.
	Closed bool `json:"closed,omitempty"`
}

const vesselVersion = 1

// vessels reads and writes them.
type vessels struct {
	store
	transit transit
	clock   func() time.Time
}

// timely refuses to write what stands on a Transit key that was made more than
// enrolWithin ago: the sweep takes old keys that nothing names, and a process may
// have been frozen in between. Calling again begins with a new key.
func (v vessels) timely(name keyName) error {
	made, err := name.made()
	if err == nil && v.clock().Sub(made) > enrolWithin {
		err = fmt.Errorf("its transit key was made too long ago: %w", domain.ErrUnavailable)
	}
	return err
}

// MaxSealed is how much one document holds. Vault stores no entry above 1 MiB, in
// which it stands as base64.
const MaxSealed = 700 << 10

// ErrTooLarge says that something does not fit into a document; it is no outage.
var ErrTooLarge = errors.New("larger than what a document in vault holds")

// seal puts entries into a box under a data key. Errors: ErrTooLarge.
func (v vessels) seal(p place, key dataKey, entries []byte) (box, error) {
	if len(entries) > MaxSealed {
		return box{}, fmt.Errorf("%d bytes: %w", len(entries), ErrTooLarge)
	}
	b := box{Key: key.name, Wrapped: key.wrapped, ID: domain.New[domain.BundleID]()}
	var err error
	b.Sealed, err = seal.SealEntries(key.plain, v.ledger, p.scope, p.owner, b.ID, entries)
	return b, err
}

// open reads what is in a box, with its data key; the caller clears both.
// Errors: errNoKey.
func (v vessels) open(ctx context.Context, p place, b box) ([]byte, dataKey, error) {
	plain, err := v.transit.unwrap(ctx, b.Key, b.Wrapped)
	if err != nil {
		return nil, dataKey{}, err
	}
	key := dataKey{name: b.Key, plain: plain, wrapped: b.Wrapped}
	entries, err := seal.OpenEntries(plain, v.ledger, p.scope, p.owner, b.ID, b.Sealed)
	if err != nil {
		plain.Zero()
		return nil, dataKey{}, fmt.Errorf("%w: %v", ErrDamaged, err) //nolint:errorlint // it must not read as a tampered event
	}
	return entries, key, nil
}

// read reads a document. Errors: errAbsent. A closed one is no error here.
func (v vessels) read(ctx context.Context, p place) (d vessel, version uint64, err error) {
	version, err = v.store.read(ctx, p.path, &d)
	if err == nil && d.Version != vesselVersion {
		err = errRecord
	}
	return d, version, err
}

// An opened vessel is one with what is in it.
type opened struct {
	vessel
	at      place
	version uint64
	entries []byte
	key     dataKey
}

// zero clears the keys.
func (o *opened) zero() {
	clear(o.entries)
	o.key.plain.Zero()
}

// fetch reads and opens a document: two calls. Where the key went meanwhile it
// begins anew with what stands then. Errors: errAbsent, also for a closed one.
func (v vessels) fetch(ctx context.Context, p place) (*opened, error) {
	var before keyName
	for {
		d, version, err := v.read(ctx, p)
		if err != nil {
			return nil, err
		}
		if d.Closed {
			return nil, errAbsent
		}
		entries, key, err := v.open(ctx, p, d.box)
		if errors.Is(err, errNoKey) && d.Key != before {
			before = d.Key
			continue
		}
		if err != nil {
			return nil, inner(err)
		}
		return &opened{vessel: d, at: p, version: version, entries: entries, key: key}, nil
	}
}

// create makes a document where there is none: three calls. Errors: errConflict
// where there is one.
func (v vessels) create(ctx context.Context, p place, name keyName, state, entries []byte) (version uint64, err error) {
	key, err := v.transit.issue(ctx, name)
	if err != nil {
		return 0, err
	}
	defer key.plain.Zero()
	d := vessel{Version: vesselVersion, State: state}
	if d.box, err = v.seal(p, key, entries); err != nil {
		return 0, err
	}
	if err := v.timely(name); err != nil {
		return 0, err
	}
	return v.write(ctx, p.path, 0, d)
}

// rewrite puts other contents into a document, under the same key. Errors:
// errConflict.
func (v vessels) rewrite(ctx context.Context, o *opened, state, entries []byte) (err error) {
	next := o.vessel
	next.State = state
	if next.box, err = v.seal(o.at, o.key, entries); err != nil {
		return err
	}
	version, err := v.write(ctx, o.at.path, o.version, next)
	if err != nil {
		return err
	}
	o.vessel, o.version = next, version
	return nil
}

// replace is rewrite under a new key. The old one is doomed, and destroyed by
// settle. Errors: errConflict.
func (v vessels) replace(ctx context.Context, o *opened, name keyName, state, entries []byte) error {
	key, err := v.transit.issue(ctx, name)
	if err != nil {
		return err
	}
	old := o.key
	defer old.plain.Zero()
	o.Doomed = append(slices.Clone(o.Doomed), old.name)
	o.key = key
	if err := v.timely(name); err != nil {
		return err
	}
	return v.rewrite(ctx, o, state, entries)
}

// settle destroys what a document names as doomed and takes it off the list.
func (v vessels) settle(ctx context.Context, o *opened) error {
	if len(o.Doomed) == 0 {
		return nil
	}
	if err := v.transit.destroy(ctx, o.Doomed...); err != nil {
		return err
	}
	next := o.vessel
	next.Doomed = nil
	_, err := v.write(ctx, o.at.path, o.version, next)
	if errors.Is(err, errConflict) {
		return nil // whoever wrote has the list, and settles it
	}
	return err
}

// shut closes a document, so that nothing more is put into it and nothing read,
// and returns it as it stands then. It is idempotent. Errors: errAbsent.
func (v vessels) shut(ctx context.Context, p place) (vessel, error) {
	for {
		d, version, err := v.read(ctx, p)
		if err != nil || d.Closed {
			return d, err
		}
		closed := vessel{Version: vesselVersion, State: d.State, Doomed: append(slices.Clone(d.Doomed), d.Key), Closed: true}
		_, err = v.write(ctx, p.path, version, closed)
		if errors.Is(err, errConflict) {
			continue
		}
		return closed, err
	}
}

// discard destroys the keys of a closed document, and then the document.
func (v vessels) discard(ctx context.Context, p place, d vessel) error {
	if err := v.transit.destroy(ctx, d.Doomed...); err != nil {
		return err
	}
	return inner(v.forget(ctx, p.path))
}
