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

// A Faulty custodian fails calls on demand; FailAt and Down say which.
type Faulty struct {
	keys.Custodian // the methods that can fail

	mu    sync.Mutex // guards what follows
	calls int
	at    int // number of the call that fails, from 1; 0: none
	down  bool
	fault Fault
}

// NewFaulty wraps a custodian.
func NewFaulty(c keys.Custodian) *Faulty {
	f := &Faulty{}
	f.Custodian = &failing{Custodian: c, do: f.do}
	return f
}

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

// A failing custodian has each of its calls carried out by do.
type failing struct {
	keys.Custodian
	do func(call func() error) error
}

func (f *failing) Lookup(ctx context.Context, key keys.DirectoryKey) (s keys.Subject, err error) {
	err = f.do(func() error { s, err = f.Custodian.Lookup(ctx, key); return err })
	return s, err
}

func (f *failing) Enrol(ctx context.Context, s keys.Subject, b *seal.Bundle) (stands keys.Subject, err error) {
	err = f.do(func() error { stands, err = f.Custodian.Enrol(ctx, s, b); return err })
	return stands, err
}

func (f *failing) Bundle(ctx context.Context, ref domain.SubjectRef) (s keys.Subject, b *seal.Bundle, err error) {
	err = f.do(func() error { s, b, err = f.Custodian.Bundle(ctx, ref); return err })
	return s, b, err
}

func (f *failing) Change(ctx context.Context, ref domain.SubjectRef, change func(*keys.Subject, *seal.Bundle) error) error {
	return f.do(func() error { return f.Custodian.Change(ctx, ref, change) })
}

func (f *failing) Remove(ctx context.Context, ref domain.SubjectRef) error {
	return f.do(func() error { return f.Custodian.Remove(ctx, ref) })
}

func (f *failing) Subjects(ctx context.Context, each func(keys.Subject) bool) error {
	return f.do(func() error { return f.Custodian.Subjects(ctx, each) })
}

func (f *failing) AddBlock(ctx context.Context, id domain.BlockID, issued time.Time, b *seal.Block) error {
	return f.do(func() error { return f.Custodian.AddBlock(ctx, id, issued, b) })
}

func (f *failing) Block(ctx context.Context, id domain.BlockID) (b *seal.Block, err error) {
	err = f.do(func() error { b, err = f.Custodian.Block(ctx, id); return err })
	return b, err
}

func (f *failing) ChangeBlock(ctx context.Context, id domain.BlockID, change func(*seal.Block) error) error {
	return f.do(func() error { return f.Custodian.ChangeBlock(ctx, id, change) })
}

func (f *failing) RemoveBlock(ctx context.Context, id domain.BlockID) error {
	return f.do(func() error { return f.Custodian.RemoveBlock(ctx, id) })
}

func (f *failing) EachBlock(ctx context.Context, each func(domain.BlockID, time.Time) bool) error {
	return f.do(func() error { return f.Custodian.EachBlock(ctx, each) })
}

func (f *failing) Retention(ctx context.Context, k domain.RetentionKey) (rec keys.RetentionRecord, key seal.Secret, err error) {
	err = f.do(func() error { rec, key, err = f.Custodian.Retention(ctx, k); return err })
	return rec, key, err
}

func (f *failing) IssueRetention(ctx context.Context, k domain.RetentionKey, due time.Time) (rec keys.RetentionRecord, key seal.Secret, err error) {
	err = f.do(func() error { rec, key, err = f.Custodian.IssueRetention(ctx, k, due); return err })
	return rec, key, err
}

func (f *failing) SetDue(ctx context.Context, k domain.RetentionKey, due time.Time) error {
	return f.do(func() error { return f.Custodian.SetDue(ctx, k, due) })
}

func (f *failing) DestroyRetention(ctx context.Context, ks []domain.RetentionKey, journal uint64) error {
	return f.do(func() error { return f.Custodian.DestroyRetention(ctx, ks, journal) })
}

func (f *failing) EachRetention(ctx context.Context, each func(keys.RetentionRecord) bool) error {
	return f.do(func() error { return f.Custodian.EachRetention(ctx, each) })
}

func (f *failing) Document(ctx context.Context, name string) (value []byte, v keys.Version, err error) {
	err = f.do(func() error { value, v, err = f.Custodian.Document(ctx, name); return err })
	return value, v, err
}

func (f *failing) PutDocument(ctx context.Context, name string, from keys.Version, value []byte) (v keys.Version, err error) {
	err = f.do(func() error { v, err = f.Custodian.PutDocument(ctx, name, from, value); return err })
	return v, err
}

func (f *failing) RemoveDocument(ctx context.Context, name string, from keys.Version) error {
	return f.do(func() error { return f.Custodian.RemoveDocument(ctx, name, from) })
}

func (f *failing) EachDocument(ctx context.Context, prefix string, each func(string, []byte) bool) error {
	return f.do(func() error { return f.Custodian.EachDocument(ctx, prefix, each) })
}

func (f *failing) Material(ctx context.Context) (m keys.Material, err error) {
	err = f.do(func() error { m, err = f.Custodian.Material(ctx); return err })
	return m, err
}

func (f *failing) Sign(ctx context.Context, use keys.SigningUse, message []byte) (id string, signature []byte, err error) {
	err = f.do(func() error { id, signature, err = f.Custodian.Sign(ctx, use, message); return err })
	return id, signature, err
}

func (f *failing) PublicKeys(ctx context.Context) (all []keys.PublicKey, err error) {
	err = f.do(func() error { all, err = f.Custodian.PublicKeys(ctx); return err })
	return all, err
}
