package keytest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// A Fault says how a call fails.
type Fault int

// The two ways. After either the caller knows nothing.
const (
	// Lost: the call never reached the custodian.
	Lost Fault = iota
	// Unanswered: the call was carried out, and its answer was lost.
	Unanswered
)

// ErrInjected is inside every error that Faulty makes.
var ErrInjected = errors.New("injected fault")

// A Faulty custodian fails calls on demand. The zero plan fails none.
type Faulty struct {
	keys.Custodian

	mu    sync.Mutex // guards what follows
	calls int
	at    int // number of the call that fails, from 1; 0: none
	down  bool
	fault Fault
}

// NewFaulty wraps a custodian.
func NewFaulty(c keys.Custodian) *Faulty { return &Faulty{Custodian: c} }

// FailAt makes the n-th call from now fail, from 1, and only that.
func (f *Faulty) FailAt(n int, how Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.at, f.fault, f.down = 0, n, how, false
}

// Down makes every call fail as lost, until FailAt.
func (f *Faulty) Down() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = true
}

// Calls returns how many calls there were since FailAt.
func (f *Faulty) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// do carries a call out, or not, and answers for it.
func (f *Faulty) do(call func() error) error {
	f.mu.Lock()
	f.calls++
	fails, fault := f.down || f.calls == f.at, f.fault
	if f.down {
		fault = Lost
	}
	f.mu.Unlock()
	if !fails {
		return call()
	}
	if fault == Unanswered {
		_ = call() // the answer is lost, whatever it is
	}
	return fmt.Errorf("%w: %w", domain.ErrUnavailable, ErrInjected)
}

// The custodian's methods.

func (f *Faulty) Lookup(ctx context.Context, key keys.DirectoryKey) (s keys.Subject, err error) {
	err = f.do(func() error { s, err = f.Custodian.Lookup(ctx, key); return err })
	return s, err
}

func (f *Faulty) Enrol(ctx context.Context, s keys.Subject, b *seal.Bundle) (stands keys.Subject, err error) {
	err = f.do(func() error { stands, err = f.Custodian.Enrol(ctx, s, b); return err })
	return stands, err
}

func (f *Faulty) Bundle(ctx context.Context, ref domain.SubjectRef) (s keys.Subject, b *seal.Bundle, err error) {
	err = f.do(func() error { s, b, err = f.Custodian.Bundle(ctx, ref); return err })
	return s, b, err
}

func (f *Faulty) Change(ctx context.Context, ref domain.SubjectRef, change func(*keys.Subject, *seal.Bundle) error) error {
	return f.do(func() error { return f.Custodian.Change(ctx, ref, change) })
}

func (f *Faulty) Remove(ctx context.Context, ref domain.SubjectRef) error {
	return f.do(func() error { return f.Custodian.Remove(ctx, ref) })
}

func (f *Faulty) Subjects(ctx context.Context, each func(keys.Subject) bool) error {
	return f.do(func() error { return f.Custodian.Subjects(ctx, each) })
}

func (f *Faulty) AddBlock(ctx context.Context, id domain.BlockID, issued time.Time, b *seal.Block) error {
	return f.do(func() error { return f.Custodian.AddBlock(ctx, id, issued, b) })
}

func (f *Faulty) Block(ctx context.Context, id domain.BlockID) (b *seal.Block, err error) {
	err = f.do(func() error { b, err = f.Custodian.Block(ctx, id); return err })
	return b, err
}

func (f *Faulty) ChangeBlock(ctx context.Context, id domain.BlockID, change func(*seal.Block) error) error {
	return f.do(func() error { return f.Custodian.ChangeBlock(ctx, id, change) })
}

func (f *Faulty) RemoveBlock(ctx context.Context, id domain.BlockID) error {
	return f.do(func() error { return f.Custodian.RemoveBlock(ctx, id) })
}

func (f *Faulty) EachBlock(ctx context.Context, each func(domain.BlockID, time.Time) bool) error {
	return f.do(func() error { return f.Custodian.EachBlock(ctx, each) })
}

func (f *Faulty) Retention(ctx context.Context, k domain.RetentionKey) (rec keys.RetentionRecord, key seal.Secret, err error) {
	err = f.do(func() error { rec, key, err = f.Custodian.Retention(ctx, k); return err })
	return rec, key, err
}

func (f *Faulty) IssueRetention(ctx context.Context, k domain.RetentionKey, due time.Time) (rec keys.RetentionRecord, key seal.Secret, err error) {
	err = f.do(func() error { rec, key, err = f.Custodian.IssueRetention(ctx, k, due); return err })
	return rec, key, err
}

func (f *Faulty) SetDue(ctx context.Context, k domain.RetentionKey, due time.Time) error {
	return f.do(func() error { return f.Custodian.SetDue(ctx, k, due) })
}

func (f *Faulty) DestroyRetention(ctx context.Context, ks []domain.RetentionKey, journal uint64) error {
	return f.do(func() error { return f.Custodian.DestroyRetention(ctx, ks, journal) })
}

func (f *Faulty) EachRetention(ctx context.Context, each func(keys.RetentionRecord) bool) error {
	return f.do(func() error { return f.Custodian.EachRetention(ctx, each) })
}

func (f *Faulty) Document(ctx context.Context, name string) (value []byte, v keys.Version, err error) {
	err = f.do(func() error { value, v, err = f.Custodian.Document(ctx, name); return err })
	return value, v, err
}

func (f *Faulty) PutDocument(ctx context.Context, name string, from keys.Version, value []byte) (v keys.Version, err error) {
	err = f.do(func() error { v, err = f.Custodian.PutDocument(ctx, name, from, value); return err })
	return v, err
}

func (f *Faulty) RemoveDocument(ctx context.Context, name string, from keys.Version) error {
	return f.do(func() error { return f.Custodian.RemoveDocument(ctx, name, from) })
}

func (f *Faulty) EachDocument(ctx context.Context, prefix string, each func(string, []byte) bool) error {
	return f.do(func() error { return f.Custodian.EachDocument(ctx, prefix, each) })
}

func (f *Faulty) Material(ctx context.Context) (m keys.Material, err error) {
	err = f.do(func() error { m, err = f.Custodian.Material(ctx); return err })
	return m, err
}

func (f *Faulty) Sign(ctx context.Context, use keys.SigningUse, message []byte) (id string, signature []byte, err error) {
	err = f.do(func() error { id, signature, err = f.Custodian.Sign(ctx, use, message); return err })
	return id, signature, err
}

func (f *Faulty) PublicKeys(ctx context.Context) (all []keys.PublicKey, err error) {
	err = f.do(func() error { all, err = f.Custodian.PublicKeys(ctx); return err })
	return all, err
}
