package keytest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// A Memory holds custodians by name. They forget as ordinary memory does, which
// is not at all for whoever reads it: for tests only.
type Memory struct {
	mu     sync.Mutex // guards places
	places map[string]*memory
}

// NewMemory returns an empty one.
func NewMemory() *Memory { return &Memory{places: map[string]*memory{}} }

// Open opens the custodian of a name. What was there before Close is there.
func (m *Memory) Open(place string) (keys.Custodian, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.places[place] == nil {
		m.places[place] = newMemory()
	}
	return &memoryHandle{memory: m.places[place]}, nil
}

type memory struct {
	mu        sync.Mutex // guards all
	directory map[keys.DirectoryKey]domain.SubjectRef
	subjects  map[domain.SubjectRef]memorySubject
	blocks    map[domain.BlockID]memoryBlock
	retention map[domain.RetentionKey]memoryRetention
	documents map[string]memoryDocument
	version   keys.Version
	material  keys.Material
	signing   map[keys.SigningUse]ed25519.PrivateKey
}

type memorySubject struct {
	subject keys.Subject
	bundle  []byte
}

type memoryBlock struct {
	issued  time.Time
	entries []byte
}

type memoryRetention struct {
	record keys.RetentionRecord
	key    seal.Secret
}

type memoryDocument struct {
	version keys.Version
	value   []byte
}

func newMemory() *memory {
	m := &memory{
		directory: map[keys.DirectoryKey]domain.SubjectRef{}, subjects: map[domain.SubjectRef]memorySubject{},
		blocks: map[domain.BlockID]memoryBlock{}, retention: map[domain.RetentionKey]memoryRetention{},
		documents: map[string]memoryDocument{}, signing: map[keys.SigningUse]ed25519.PrivateKey{},
	}
	var integrity [32]byte
	for _, b := range [][]byte{m.material.Pepper[:], m.material.DeadTag[:], integrity[:]} {
		_, _ = rand.Read(b) // never fails, see crypto/rand
	}
	m.material.Current, m.material.Integrity = 1, map[byte][32]byte{1: integrity}
	for _, use := range []keys.SigningUse{keys.SignReceipt, keys.SignJournal, keys.SignCheckpoint} {
		seed := make([]byte, ed25519.SeedSize)
		_, _ = rand.Read(seed)
		m.signing[use] = ed25519.NewKeyFromSeed(seed)
	}
	return m
}

// A memoryHandle is one opening of a memory.
type memoryHandle struct {
	*memory
	closed bool
}

var errClosed = fmt.Errorf("the custodian is closed: %w", domain.ErrUnavailable)

// do runs fn alone.
func (h *memoryHandle) do(ctx context.Context, fn func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", domain.ErrUnavailable, err)
	}
	return fn()
}

func (h *memoryHandle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	return nil
}

func (h *memoryHandle) Lookup(ctx context.Context, key keys.DirectoryKey) (s keys.Subject, err error) {
	err = h.do(ctx, func() error {
		ref, ok := h.directory[key]
		if !ok {
			return domain.ErrNotFound
		}
		s = h.subjects[ref].subject
		return nil
	})
	return s, err
}

func (h *memoryHandle) Enrol(ctx context.Context, s keys.Subject, b *seal.Bundle) (stands keys.Subject, err error) {
	err = h.do(ctx, func() error {
		if ref, ok := h.directory[s.Directory]; ok {
			stands = h.subjects[ref].subject
			return nil
		}
		stands = s
		h.directory[s.Directory] = s.Ref
		h.subjects[s.Ref] = memorySubject{subject: s, bundle: b.Encode()}
		return nil
	})
	return stands, err
}

func (h *memoryHandle) Bundle(ctx context.Context, ref domain.SubjectRef) (s keys.Subject, b *seal.Bundle, err error) {
	err = h.do(ctx, func() error {
		m, ok := h.subjects[ref]
		if !ok {
			return domain.ErrNotFound
		}
		s = m.subject
		b, err = seal.DecodeBundle(m.bundle)
		return err
	})
	return s, b, err
}

func (h *memoryHandle) Change(ctx context.Context, ref domain.SubjectRef, change func(*keys.Subject, *seal.Bundle) error) error {
	return h.do(ctx, func() error {
		m, ok := h.subjects[ref]
		if !ok {
			return domain.ErrNotFound
		}
		b, err := seal.DecodeBundle(m.bundle)
		if err != nil {
			return err
		}
		s := m.subject
		if err := change(&s, b); err != nil {
			return err
		}
		if s.Ref != ref || s.Scope != m.subject.Scope || s.Directory != m.subject.Directory {
			return errors.New("a change must leave ref, scope and directory key alone")
		}
		h.subjects[ref] = memorySubject{subject: s, bundle: b.Encode()}
		return nil
	})
}

func (h *memoryHandle) Remove(ctx context.Context, ref domain.SubjectRef) error {
	return h.do(ctx, func() error {
		if key := h.subjects[ref].subject.Directory; h.directory[key] == ref {
			delete(h.directory, key)
		}
		delete(h.subjects, ref)
		return nil
	})
}

func (h *memoryHandle) Subjects(ctx context.Context, each func(keys.Subject) bool) error {
	return h.do(ctx, func() error {
		for _, m := range h.subjects {
			if !each(m.subject) {
				return nil
			}
		}
		return nil
	})
}

func (h *memoryHandle) AddBlock(ctx context.Context, id domain.BlockID, issued time.Time, b *seal.Block) error {
	return h.do(ctx, func() error {
		if _, ok := h.blocks[id]; !ok {
			h.blocks[id] = memoryBlock{issued: issued, entries: b.Encode()}
		}
		return nil
	})
}

func (h *memoryHandle) Block(ctx context.Context, id domain.BlockID) (b *seal.Block, err error) {
	err = h.do(ctx, func() error {
		m, ok := h.blocks[id]
		if !ok {
			return domain.ErrNotFound
		}
		b, err = seal.DecodeBlock(m.entries)
		return err
	})
	return b, err
}

func (h *memoryHandle) ChangeBlock(ctx context.Context, id domain.BlockID, change func(*seal.Block) error) error {
	return h.do(ctx, func() error {
		m, ok := h.blocks[id]
		if !ok {
			return domain.ErrNotFound
		}
		b, err := seal.DecodeBlock(m.entries)
		if err != nil {
			return err
		}
		if err := change(b); err != nil {
			return err
		}
		h.blocks[id] = memoryBlock{issued: m.issued, entries: b.Encode()}
		return nil
	})
}

func (h *memoryHandle) RemoveBlock(ctx context.Context, id domain.BlockID) error {
	return h.do(ctx, func() error {
		delete(h.blocks, id)
		return nil
	})
}

func (h *memoryHandle) EachBlock(ctx context.Context, each func(domain.BlockID, time.Time) bool) error {
	return h.do(ctx, func() error {
		for id, m := range h.blocks {
			if !each(id, m.issued) {
				return nil
			}
		}
		return nil
	})
}

func (h *memoryHandle) Retention(ctx context.Context, k domain.RetentionKey) (rec keys.RetentionRecord, key seal.Secret, err error) {
	err = h.do(ctx, func() error {
		m, ok := h.retention[k]
		if !ok {
			return domain.ErrNotFound
		}
		rec, key = m.record, m.key
		return nil
	})
	return rec, key, err
}

func (h *memoryHandle) IssueRetention(ctx context.Context, k domain.RetentionKey, due time.Time) (rec keys.RetentionRecord, key seal.Secret, err error) {
	err = h.do(ctx, func() error {
		m, ok := h.retention[k]
		if !ok {
			m.record = keys.RetentionRecord{RetentionKey: k, Due: due.UTC()}
			_, _ = rand.Read(m.key[:]) // never fails, see crypto/rand
			h.retention[k] = m
		}
		rec, key = m.record, m.key
		return nil
	})
	return rec, key, err
}

func (h *memoryHandle) SetDue(ctx context.Context, k domain.RetentionKey, due time.Time) error {
	return h.do(ctx, func() error {
		m, ok := h.retention[k]
		if !ok {
			return domain.ErrNotFound
		}
		if !m.record.Destroyed && due.Before(m.record.Due) {
			m.record.Due = due.UTC()
			h.retention[k] = m
		}
		return nil
	})
}

func (h *memoryHandle) DestroyRetention(ctx context.Context, ks []domain.RetentionKey, journal uint64) error {
	return h.do(ctx, func() error {
		for _, k := range ks {
			m := h.retention[k]
			if m.record.Destroyed {
				continue
			}
			m.record.RetentionKey, m.record.Destroyed, m.record.Journal, m.key = k, true, journal, seal.Secret{}
			h.retention[k] = m
		}
		return nil
	})
}

func (h *memoryHandle) EachRetention(ctx context.Context, each func(keys.RetentionRecord) bool) error {
	return h.do(ctx, func() error {
		all := slices.SortedFunc(maps.Values(h.retention), func(a, b memoryRetention) int {
			return compareKeys(a.record.RetentionKey, b.record.RetentionKey)
		})
		for _, m := range all {
			if !each(m.record) {
				return nil
			}
		}
		return nil
	})
}

func compareKeys(a, b domain.RetentionKey) int {
	return slices.Compare([]string{string(a.Class), string(a.Tier), string(a.Bucket)}, []string{string(b.Class), string(b.Tier), string(b.Bucket)})
}

func (h *memoryHandle) Document(ctx context.Context, name string) (value []byte, v keys.Version, err error) {
	err = h.do(ctx, func() error {
		d, ok := h.documents[name]
		if !ok {
			return domain.ErrNotFound
		}
		value, v = slices.Clone(d.value), d.version
		return nil
	})
	return value, v, err
}

func (h *memoryHandle) PutDocument(ctx context.Context, name string, from keys.Version, value []byte) (v keys.Version, err error) {
	err = h.do(ctx, func() error {
		if h.documents[name].version != from {
			return domain.ErrConflict
		}
		h.version++
		v = h.version
		h.documents[name] = memoryDocument{version: v, value: slices.Clone(value)}
		return nil
	})
	return v, err
}

func (h *memoryHandle) RemoveDocument(ctx context.Context, name string, from keys.Version) error {
	return h.do(ctx, func() error {
		d, ok := h.documents[name]
		if ok && d.version != from {
			return domain.ErrConflict
		}
		delete(h.documents, name)
		return nil
	})
}

func (h *memoryHandle) EachDocument(ctx context.Context, prefix string, each func(string, []byte) bool) error {
	return h.do(ctx, func() error {
		for _, name := range slices.Sorted(maps.Keys(h.documents)) {
			if strings.HasPrefix(name, prefix) && !each(name, slices.Clone(h.documents[name].value)) {
				return nil
			}
		}
		return nil
	})
}

func (h *memoryHandle) Material(ctx context.Context) (m keys.Material, err error) {
	err = h.do(ctx, func() error {
		m = h.material
		m.Integrity = maps.Clone(h.material.Integrity)
		return nil
	})
	return m, err
}

func (h *memoryHandle) Sign(ctx context.Context, use keys.SigningUse, message []byte) (id string, signature []byte, err error) {
	err = h.do(ctx, func() error {
		key, ok := h.signing[use]
		if !ok {
			return domain.ErrNotFound
		}
		id, signature = string(use)+"-1", ed25519.Sign(key, message)
		return nil
	})
	return id, signature, err
}

func (h *memoryHandle) PublicKeys(ctx context.Context) (all []keys.PublicKey, err error) {
	err = h.do(ctx, func() error {
		for _, use := range slices.Sorted(maps.Keys(h.signing)) {
			public, _ := h.signing[use].Public().(ed25519.PublicKey)
			all = append(all, keys.PublicKey{ID: string(use) + "-1", Use: use, Key: public})
		}
		return nil
	})
	return all, err
}
