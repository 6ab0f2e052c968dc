package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// Lookup finds the entry of a directory key.
func (c *Custodian) Lookup(ctx context.Context, key keys.DirectoryKey) (s keys.Subject, err error) {
	err = c.view(ctx, func(t tx) error {
		var ok bool
		if s, ok, err = t.entryOf(key); err == nil && !ok {
			err = domain.ErrNotFound
		}
		return err
	})
	return s, err
}

// Enrol adds an entry with its bundle, unless there is one.
func (c *Custodian) Enrol(ctx context.Context, s keys.Subject, b *seal.Bundle) (keys.Subject, error) {
	record := encodeSubject(s, b)
	defer clear(record)
	stands := s
	err := c.update(ctx, func(t tx) error {
		first, ok, err := t.entryOf(s.Directory)
		if err != nil {
			return err
		}
		if ok {
			stands = first
			return nil
		}
		stands = s
		if err := t.put(keyOf(prefixDirectory, s.Directory[:]), s.Ref[:]); err != nil {
			return err
		}
		return t.put(keyOf(prefixSubject, s.Ref[:]), record)
	})
	return stands, err
}

// Bundle returns a person's entry and keys.
func (c *Custodian) Bundle(ctx context.Context, ref domain.SubjectRef) (s keys.Subject, b *seal.Bundle, err error) {
	err = c.view(ctx, func(t tx) error {
		s, b, _, err = t.bundle(ref)
		return err
	})
	return s, b, err
}

var errMoved = errors.New("a change must leave ref, scope and directory key alone")

// Change edits an entry with its bundle in one commit.
func (c *Custodian) Change(ctx context.Context, ref domain.SubjectRef, change func(*keys.Subject, *seal.Bundle) error) error {
	return c.update(ctx, func(t tx) error {
		s, b, raw, err := t.bundle(ref)
		if err != nil {
			return err
		}
		defer clear(raw)
		defer b.Zero()
		before := s
		if err := change(&s, b); err != nil {
			return err
		}
		if s.Ref != before.Ref || s.Scope != before.Scope || s.Directory != before.Directory {
			return errMoved
		}
		record := encodeSubject(s, b)
		defer clear(record)
		if bytes.Equal(record, raw) {
			return nil
		}
		return t.put(keyOf(prefixSubject, ref[:]), record)
	})
}

// Remove destroys an entry and its bundle. While an entry is there its directory
// key leads to it and to no other.
func (c *Custodian) Remove(ctx context.Context, ref domain.SubjectRef) error {
	return c.update(ctx, func(t tx) error {
		s, ok, err := t.subject(ref)
		if err != nil || !ok {
			return err
		}
		if err := t.remove(keyOf(prefixDirectory, s.Directory[:])); err != nil {
			return err
		}
		return t.remove(keyOf(prefixSubject, ref[:]))
	})
}

// Subjects calls each for every entry.
func (c *Custodian) Subjects(ctx context.Context, each func(keys.Subject) bool) error {
	return c.view(ctx, func(t tx) error {
		return t.scan([]byte{prefixSubject}, func(key, value []byte) (bool, error) {
			if len(key) != len(domain.SubjectRef{}) {
				return false, errRecord
			}
			s, _, err := decodeSubject(domain.SubjectRef(key), value)
			return err == nil && each(s), err
		})
	})
}

// entryOf finds the entry that a directory key leads to.
func (t tx) entryOf(key keys.DirectoryKey) (keys.Subject, bool, error) {
	ref, ok, err := t.get(keyOf(prefixDirectory, key[:]))
	if err != nil || !ok {
		return keys.Subject{}, false, err
	}
	if len(ref) != len(domain.SubjectRef{}) {
		return keys.Subject{}, false, errRecord
	}
	s, ok, err := t.subject(domain.SubjectRef(ref))
	if err == nil && !ok {
		err = fmt.Errorf("an entry of the directory leads nowhere: %w", errRecord)
	}
	return s, ok, err
}

func (t tx) subject(ref domain.SubjectRef) (keys.Subject, bool, error) {
	raw, ok, err := t.get(keyOf(prefixSubject, ref[:]))
	if err != nil || !ok {
		return keys.Subject{}, false, err
	}
	defer clear(raw)
	s, _, err := decodeSubject(ref, raw)
	return s, err == nil, err
}

// bundle returns an entry with its keys and the record itself.
func (t tx) bundle(ref domain.SubjectRef) (keys.Subject, *seal.Bundle, []byte, error) {
	raw, ok, err := t.get(keyOf(prefixSubject, ref[:]))
	if err != nil {
		return keys.Subject{}, nil, nil, err
	}
	if !ok {
		return keys.Subject{}, nil, nil, domain.ErrNotFound
	}
	s, entries, err := decodeSubject(ref, raw)
	if err != nil {
		return keys.Subject{}, nil, nil, err
	}
	b, err := seal.DecodeBundle(entries)
	if err != nil {
		return keys.Subject{}, nil, nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return s, b, raw, nil
}
