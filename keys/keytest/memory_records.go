package keytest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

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
