package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

func isAbsent(err error) bool { return errors.Is(err, domain.ErrNotFound) }

// A person is an opened document of a person. The scope that binds the bundle
// stands in the state.
func (c *Custodian) person(ctx context.Context, ref domain.SubjectRef) (*opened, keys.Subject, error) {
	p := personPlace(ref, 0)
	var before keyName
	for {
		d, version, err := c.vessels.read(ctx, p)
		if err == nil && d.Closed {
			return nil, keys.Subject{}, domain.ErrNotFound // our own record of its destruction
		}
		if err != nil {
			return nil, keys.Subject{}, c.found(ctx, err)
		}
		s, err := decodeSubject(d.State)
		if err != nil || s.Ref != ref {
			return nil, keys.Subject{}, errRecord
		}
		p.scope = s.Scope
		entries, key, err := c.vessels.open(ctx, p, d.box)
		if errors.Is(err, errNoKey) && d.Key != before {
			before = d.Key // somebody changed it meanwhile
			continue
		}
		if err != nil {
			return nil, keys.Subject{}, inner(err)
		}
		return &opened{vessel: d, at: p, version: version, entries: entries, key: key}, s, nil
	}
}

// Bundle returns a person's entry and keys: two calls.
func (c *Custodian) Bundle(ctx context.Context, ref domain.SubjectRef) (keys.Subject, *seal.Bundle, error) {
	o, s, err := c.person(ctx, ref)
	if err != nil {
		return keys.Subject{}, nil, err
	}
	defer o.zero()
	b, err := decodeBundle(o.entries)
	return s, b, err
}

func decodeBundle(entries []byte) (*seal.Bundle, error) {
	b, err := seal.DecodeBundle(entries)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return b, nil
}

// prepare writes a person's document, behind its Transit key, and returns when
// that was made. A document that an earlier try left is gone on with if it holds
// the same keys: nobody can have changed it then.
func (c *Custodian) prepare(ctx context.Context, s keys.Subject, b *seal.Bundle) (time.Time, error) {
	entries := b.Encode()
	defer clear(entries)
	p := personPlace(s.Ref, s.Scope)
	name := c.newKeyName(p)
	begun := c.clock()
	_, err := c.vessels.create(ctx, p, name, encodeSubject(s), entries)
	if !errors.Is(err, errConflict) {
		return begun, inner(err)
	}
	o, _, err := c.person(ctx, s.Ref)
	if isAbsent(err) {
		return begun, fmt.Errorf("a ref whose keys are being destroyed: %w", domain.ErrUnavailable)
	}
	if err != nil {
		return begun, fmt.Errorf("going on with an enrolment: %w", err)
	}
	defer o.zero()
	if !bytes.Equal(o.entries, entries) || !bytes.Equal(o.State, encodeSubject(s)) {
		return begun, fmt.Errorf("a ref was used twice: %w", ErrDamaged)
	}
	err = c.vessels.replace(ctx, o, name, o.State, entries)
	return begun, inner(err)
}

var errMoved = errors.New("a change must leave ref, scope and directory key alone")

// Change edits an entry with its bundle. Where it takes no key out, the document
// is written again under the same Transit key: three calls; otherwise under a new
// one, and the old one is destroyed.
func (c *Custodian) Change(ctx context.Context, ref domain.SubjectRef, change func(*keys.Subject, *seal.Bundle) error) error {
	release, err := c.changing.take(ctx, ref.String())
	if err != nil {
		return err
	}
	defer release()
	for {
		o, s, err := c.person(ctx, ref)
		if err != nil {
			return err
		}
		err = c.changeOnce(ctx, o, s, change)
		o.zero()
		if !errors.Is(err, errConflict) {
			return inner(err)
		}
	}
}

func (c *Custodian) changeOnce(ctx context.Context, o *opened, before keys.Subject, change func(*keys.Subject, *seal.Bundle) error) error {
	b, err := decodeBundle(o.entries)
	if err != nil {
		return err
	}
	defer b.Zero()
	s := before
	if err := change(&s, b); err != nil {
		return err
	}
	if s.Ref != before.Ref || s.Scope != before.Scope || s.Directory != before.Directory {
		return errMoved
	}
	entries, state := b.Encode(), encodeSubject(s)
	defer clear(entries)
	switch {
	case bytes.Equal(entries, o.entries) && bytes.Equal(state, o.State):
		return c.again(ctx, o, s)
	case takesOut(o.entries, b):
		err = c.takeOut(ctx, o, state, entries)
	default:
		err = c.vessels.rewrite(ctx, o, state, entries)
	}
	if err != nil {
		return err
	}
	if bytes.Equal(encodeSubject(before), state) {
		return nil
	}
	return c.copyFence(ctx, s.Ref, s.Directory)
}

// takeOut writes under a new Transit key and destroys the old one.
func (c *Custodian) takeOut(ctx context.Context, o *opened, state, entries []byte) error {
	if err := c.mayDestroy(); err != nil {
		return err
	}
	if err := c.vessels.replace(ctx, o, c.newKeyName(o.at), state, entries); err != nil {
		return err
	}
	return c.vessels.settle(ctx, o)
}

// again finishes what an earlier call may have left: this one found everything
// as it wants it. A gateway cannot destroy, so it leaves that to the eraser.
func (c *Custodian) again(ctx context.Context, o *opened, s keys.Subject) error {
	if c.mayDestroy() != nil {
		return nil
	}
	if err := c.vessels.settle(ctx, o); err != nil {
		return err
	}
	return c.copyFence(ctx, s.Ref, s.Directory)
}

// takesOut reports whether a key of the encoded bundle is not in b any more.
func takesOut(entries []byte, b *seal.Bundle) bool {
	before, err := seal.DecodeBundle(entries)
	if err != nil {
		return true
	}
	defer before.Zero()
	have := map[seal.Secret]bool{}
	defer clear(have)
	for _, k := range b.Subjects {
		have[k.Key] = true
	}
	for _, k := range b.Kept {
		have[k.Key] = true
	}
	for _, k := range before.Subjects {
		if !have[k.Key] {
			return true
		}
	}
	for _, k := range before.Kept {
		if !have[k.Key] {
			return true
		}
	}
	return false
}

// copyFence brings the directory's copy of a person's state to what the document
// says. The table is read first: whoever changes the document afterwards comes
// here, too, and either sees this write or makes it fail.
func (c *Custodian) copyFence(ctx context.Context, ref domain.SubjectRef, key keys.DirectoryKey) error {
	_, err := c.tables.update(ctx, c.directory(key), c.tables.must, func(t table, _ uint64) (bool, error) {
		raw, ok := t[string(key[:])]
		if !ok {
			return false, nil
		}
		s, err := decodeSubject(raw)
		if err != nil || s.Ref != ref {
			return false, err
		}
		d, _, err := c.vessels.read(ctx, personPlace(ref, s.Scope))
		if errors.Is(err, errAbsent) || d.Closed {
			return false, nil
		}
		if err != nil || bytes.Equal(d.State, raw) {
			return false, inner(err)
		}
		t[string(key[:])] = d.State
		return true, nil
	})
	return err
}

// Remove destroys an entry and its bundle: the document is closed, the entry
// leaves the directory, the Transit keys are destroyed, and last the document is
// forgotten, which until then tells the next call where to go on.
func (c *Custodian) Remove(ctx context.Context, ref domain.SubjectRef) error {
	if err := c.mayDestroy(); err != nil {
		return err
	}
	p := personPlace(ref, 0)
	d, err := c.vessels.shut(ctx, p)
	if err != nil {
		if err = c.found(ctx, err); isAbsent(err) {
			return nil
		}
		return err
	}
	s, err := decodeSubject(d.State)
	if err != nil {
		return err
	}
	err = c.tables.remove(ctx, c.directory(s.Directory), c.tables.must, func(t table, _ uint64) (bool, error) {
		raw, ok := t[string(s.Directory[:])]
		if !ok {
			return false, nil
		}
		stands, err := decodeSubject(raw)
		if err != nil || stands.Ref != ref {
			return false, err
		}
		delete(t, string(s.Directory[:]))
		return true, nil
	})
	if err != nil {
		return err
	}
	return c.vessels.discard(ctx, p, d)
}
