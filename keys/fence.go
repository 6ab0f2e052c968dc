package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// stopped holds what a destruction in progress stops and no entry of the
// custodian says: anonymous refs linked to a person who is being erased, and
// blocks. It is of this process; Fence fills it again after a restart.
type stopped struct {
	mu     *sync.RWMutex // guards the rest
	refs   map[domain.SubjectRef]domain.CommandID
	blocks map[domain.BlockID]domain.CommandID
}

func newStopped() stopped {
	return stopped{
		mu: &sync.RWMutex{}, refs: map[domain.SubjectRef]domain.CommandID{}, blocks: map[domain.BlockID]domain.CommandID{},
	}
}

func (s stopped) has(ref domain.SubjectRef, block domain.BlockID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !s.refs[ref].IsZero() || !s.blocks[block].IsZero()
}

func (s stopped) addLinks(c domain.CommandID, links []seal.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range links {
		s.refs[l.Ref] = c
	}
}

func (s stopped) addRef(c domain.CommandID, ref domain.SubjectRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refs[ref] = c
}

func (s stopped) addBlock(c domain.CommandID, id domain.BlockID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocks[id] = c
}

// release ends what a command stopped.
func (s stopped) release(c domain.CommandID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref, by := range s.refs {
		if by == c {
			delete(s.refs, ref)
		}
	}
	for id, by := range s.blocks {
		if by == c {
			delete(s.blocks, id)
		}
	}
}

// Fence begins a destruction: from its return on nothing that it takes is
// issued, sealed or opened here. The ledger calls it again, for every
// destruction in progress, before it serves: a part of the fence lives in this
// process.
//
// Errors: domain.ErrFenced if another command's destruction of the same person
// is in progress, domain.ErrNotFound if there is no such person,
// domain.ErrClock and domain.ErrNotDue for retention keys that are not to die
// now, domain.ErrUnavailable. A person whose ref the journal names is fine.
func (r *Ring) Fence(ctx context.Context, d Destruction) error {
	err := d.Validate()
	if err == nil {
		err = r.fence(ctx, d)
	}
	if err != nil {
		return fmt.Errorf("fencing for %s: %w", d.Command, err)
	}
	return nil
}

func (r *Ring) fence(ctx context.Context, d Destruction) error {
	switch d.Kind {
	case DestroySubject, DestroyClass, DestroyRange:
		return r.fencePerson(ctx, d)
	case DestroyBlock:
		r.stopped.addBlock(d.Command, d.Block)
		r.purgeBlock(d.Block)
	case DestroyRetention:
		if err := r.mayExpire(ctx, d.Retention); err != nil {
			return err
		}
		r.purgeRetention(d.Retention)
	}
	return nil
}

// fencePerson sets the fence in the entry. From its commit on the custodian's
// answers carry it; what was derived before is purged behind it.
func (r *Ring) fencePerson(ctx context.Context, d Destruction) error {
	var links []seal.Link
	var directory DirectoryKey
	err := r.Custodian.Change(ctx, d.Ref, func(s *Subject, b *seal.Bundle) error {
		directory = s.Directory
		if s.Scope != d.Scope {
			return fmt.Errorf("scope %s is not the person's", d.Scope)
		}
		if !s.Fence.Command.IsZero() && s.Fence.Command != d.Command {
			return fmt.Errorf("%w: command %s is not done", domain.ErrFenced, s.Fence.Command)
		}
		s.Fence = Fence{Command: d.Command}
		if d.Kind != DestroySubject {
			s.Fence.Classes = slices.Clone(d.Classes)
		} else {
			links = slices.Clone(b.Links)
		}
		return nil
	})
	if errors.Is(err, domain.ErrNotFound) && r.refDead(d.Ref) {
		err = nil // destroyed before
	}
	if err != nil {
		return err
	}
	r.stopped.addLinks(d.Command, links)
	r.purgePerson(d, links)
	r.purgeEntry(directory)
	return nil
}

// mayExpire refuses what is not due, and everything while the clock may lie. A
// key that is destroyed already is fine.
func (r *Ring) mayExpire(ctx context.Context, ks []domain.RetentionKey) error {
	if err := r.ClockTrusted(); err != nil {
		return fmt.Errorf("%w: %w", domain.ErrClock, err)
	}
	now := r.Clock()
	for _, k := range ks {
		rec, key, err := r.Custodian.Retention(ctx, k)
		key.Zero()
		if errors.Is(err, domain.ErrNotFound) {
			continue // it gets a record, so that it never will be
		}
		if err != nil {
			return err
		}
		if !rec.Destroyed && now.Before(r.dueOf(rec)) {
			return fmt.Errorf("retention key %s is due only later: %w", k, domain.ErrNotDue)
		}
	}
	return nil
}

// Unfence ends a destruction: what it fenced is collected again, under the next
// gen. It does nothing if the fence is another command's, or gone.
func (r *Ring) Unfence(ctx context.Context, d Destruction) error {
	if d.ofPerson() {
		var directory DirectoryKey
		err := r.Custodian.Change(ctx, d.Ref, func(s *Subject, _ *seal.Bundle) error {
			directory = s.Directory
			if s.Fence.Command == d.Command {
				s.Fence = Fence{}
			}
			return nil
		})
		if err != nil && !errors.Is(err, domain.ErrNotFound) {
			return fmt.Errorf("ending the fence of %s: %w", d.Command, err)
		}
		r.purgeEntry(directory)
	}
	r.stopped.release(d.Command)
	return nil
}

// purgePerson drops what was derived for the person's classes, and for linked
// refs.
func (r *Ring) purgePerson(d Destruction, links []seal.Link) {
	hit := func(c domain.Class) bool { return d.Kind == DestroySubject || slices.Contains(d.Classes, c) }
	r.purgeRef(d.Ref, hit)
	for _, l := range links {
		r.purgeRef(l.Ref, func(domain.Class) bool { return true })
	}
}

func (r *Ring) purgeRef(ref domain.SubjectRef, hit func(domain.Class) bool) {
	r.handles.purgeAt(place{ref: ref}, func(p place, h *handle) bool { return p.ref == ref && hit(p.class) && h.retire() })
	r.openings.purgeAt(domain.Where{Ref: ref}, func(w domain.Where, o *opening) bool { return w.Ref == ref && hit(w.Class) && o.zero() })
}

// purgeEntry drops an entry whose fence changed. One whose ref is dead needs no
// purge: lookup checks that each time.
func (r *Ring) purgeEntry(key DirectoryKey) {
	r.entries.purgeAt(key, func(k DirectoryKey, _ Subject) bool { return k == key })
}

func (r *Ring) purgeBlock(id domain.BlockID) {
	r.handles.purge(func(_ place, h *handle) bool { return h.block == id && h.retire() })
	r.openings.purge(func(_ domain.Where, o *opening) bool { return o.block == id && o.zero() })
}

// purgeRetention drops what stands on retention keys. Sealing handles that
// somebody still has are not made to refuse: their person is not fenced, and
// what they seal from now on opens nowhere.
func (r *Ring) purgeRetention(ks []domain.RetentionKey) {
	doomed := make(map[domain.RetentionKey]bool, len(ks))
	for _, k := range ks {
		doomed[k] = true
	}
	r.handles.purge(func(p place, _ *handle) bool { return doomed[p.retention()] })
	r.openings.purge(func(w domain.Where, o *opening) bool { return doomed[w.RetentionKey()] && o.zero() })
}

// purgeAll drops everything derived.
func (r *Ring) purgeAll() {
	r.handles.purge(func(_ place, h *handle) bool { return h.retire() })
	r.openings.purge(func(_ domain.Where, o *opening) bool { return o.zero() })
	r.entries.purge(func(DirectoryKey, Subject) bool { return true })
}
