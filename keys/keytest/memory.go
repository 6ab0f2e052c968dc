package keytest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
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
