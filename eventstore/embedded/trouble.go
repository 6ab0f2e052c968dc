package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

var (
	errClosed             = fmt.Errorf("store is closed: %w", domain.ErrUnavailable)
	errSubscriptionClosed = fmt.Errorf("subscription is closed: %w", domain.ErrUnavailable)
)

// unavailable marks an error that says nothing about what is stored.
func unavailable(err error) error { return fmt.Errorf("%w: %w", domain.ErrUnavailable, err) }

// canceled is the answer to a caller whose context ended.
func canceled(ctx context.Context) error { return unavailable(context.Cause(ctx)) }

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// damaged says what is wrong and where; file may be a directory.
func damaged(file, what string) error {
	return fmt.Errorf("%s in %s: %w", what, file, eventstore.ErrDamaged)
}

// trouble is what the engine reports from the background. Its zero value is
// none. Its methods may be called from any goroutine.
type trouble struct {
	mu sync.Mutex
	// background is the error of the last flush or compaction; a flush or
	// compaction that succeeds clears it, because the engine tries again for ever.
	background error
	// corrupt is the file in which the engine found damage, and stays.
	corrupt string
	// flushed says that a memtable became a file since it was last asked.
	flushed atomic.Bool
}

func (t *trouble) setBackground(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.background = err
}

func (t *trouble) setCorrupt(file string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.corrupt == "" {
		t.corrupt = file
	}
}

func (t *trouble) get() (corrupt string, background error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.corrupt, t.background
}

// engineLog takes what Pebble has to say. Pebble's Fatalf expects the process to
// exit; here it freezes the guard instead, so that nothing more is written or
// acknowledged, and returns.
type engineLog struct {
	logf    func(format string, args ...any)
	guard   *guard
	trouble *trouble
}

func (l engineLog) Infof(string, ...any) {}

func (l engineLog) Errorf(format string, args ...any) { l.logf(format, args...) }

func (l engineLog) Fatalf(format string, args ...any) {
	l.logf(format, args...)
	err := fmt.Errorf(format, args...) //nolint:err113 // the engine's own words
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = fmt.Errorf("%w: %w", err, cause) // the engine's verb hides the cause
		}
	}
	l.guard.freeze(err)
}

func (l engineLog) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			l.trouble.setBackground(err)
			l.logf("store: background work failed and is tried again: %v", err)
		},
		FlushEnd: func(i pebble.FlushInfo) {
			if i.Err == nil {
				l.trouble.setBackground(nil)
				l.trouble.flushed.Store(true)
			}
		},
		CompactionEnd: func(i pebble.CompactionInfo) {
			if i.Err == nil {
				l.trouble.setBackground(nil)
			}
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			l.trouble.setCorrupt(i.Path)
			l.logf("store: damage found in %s", i.Path)
		},
	}
}

// engineError turns an error of the engine into one of the contract. A damaged
// block names its file where the engine said which.
func (s *Store) engineError(err error) error {
	if !pebble.IsCorruptionError(err) {
		return unavailable(err)
	}
	file := s.dir
	if corrupt, _ := s.trouble.get(); corrupt != "" {
		file = corrupt
	}
	return fmt.Errorf("%s: %w: %w", file, eventstore.ErrDamaged, err)
}

// health is nil while appends can be taken; otherwise the answer to all of them,
// which wrote nothing.
func (s *Store) health() error {
	if err := s.guard.failure(); err != nil {
		return s.failed(err)
	}
	corrupt, background := s.trouble.get()
	switch {
	case corrupt != "":
		return damaged(corrupt, "a block")
	case isFull(background):
		return fmt.Errorf("%w: %w", eventstore.ErrFull, background)
	case background != nil:
		return unavailable(background)
	}
	usage, err := s.guard.GetDiskUsage(s.dir)
	if err == nil && usage.AvailBytes < s.opt.Reserve {
		return fmt.Errorf("%s has %d bytes free, %d are kept in reserve: %w", s.dir, usage.AvailBytes, s.opt.Reserve, eventstore.ErrFull)
	}
	return nil
}

// failed is the answer to an append that reaches a frozen store. The store stays
// as it is until it is opened again.
func (s *Store) failed(err error) error {
	if isFull(err) {
		return fmt.Errorf("store takes no more until it is opened again: %w: %w", eventstore.ErrFull, err)
	}
	return fmt.Errorf("store takes no more until it is opened again: %w", unavailable(err))
}
