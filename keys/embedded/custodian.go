package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/embedded/erasable"
)

// Options of Open. The zero value is fit for use.
type Options struct {
	// FS is where the files are; nil is the operating system's.
	FS erasable.FS
	// Wrap, 32 bytes from a passphrase or a credential, encrypts the root where it
	// stands. Losing it loses every key.
	Wrap []byte
	// CacheBytes bounds the decrypted nodes in memory; 0 is 64 MiB.
	CacheBytes int64
}

// A Custodian keeps the keys of one ledger in a directory of its own.
type Custodian struct{ tree *erasable.Tree }

var _ keys.Custodian = (*Custodian)(nil)

// Open opens the custodian in dir, and creates directory and custodian where
// there is none. Errors say what to do: another process has it, the root is
// missing or wrapped, a file is damaged.
func Open(dir string, opt Options) (*Custodian, error) {
	if opt.FS == nil {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the directory of keys: %w", err)
		}
	}
	tree, err := erasable.Open(dir, erasable.Options{FS: opt.FS, Wrap: opt.Wrap, CacheBytes: opt.CacheBytes})
	if err != nil {
		return nil, fmt.Errorf("opening the keys: %w%s", err, remedy(err))
	}
	return &Custodian{tree: tree}, nil
}

func remedy(err error) string {
	switch {
	case errors.Is(err, erasable.ErrLocked):
		return "; stop it, or send the command to it instead of the directory"
	case errors.Is(err, erasable.ErrWrapped):
		return "; give the passphrase or credential that it was wrapped with"
	case errors.Is(err, erasable.ErrDamaged):
		return "; restore " + erasable.RootFile + " and " + erasable.TreeFile + " together from a backup"
	}
	return ""
}

// Close waits for what is under way and releases the directory.
func (c *Custodian) Close() error { return c.tree.Close() }

// Damage says which pages could not be read at Open; nil where all could.
func (c *Custodian) Damage() error { return c.tree.Damage() }

// Stats returns the tree's counts and sizes.
func (c *Custodian) Stats() erasable.Stats { return c.tree.Stats() }

// update runs fn in a write transaction. An error of fn comes back as it is and
// nothing is written; any other means that the outcome is not known.
func (c *Custodian) update(ctx context.Context, fn func(tx) error) error {
	var own error
	err := c.tree.Update(ctx, func(t *erasable.Tx) error {
		own = fn(tx{t})
		return own
	})
	return known(err, own)
}

// view runs fn over one consistent state.
func (c *Custodian) view(ctx context.Context, fn func(tx) error) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	var own error
	err := c.tree.View(func(t *erasable.Tx) error {
		own = fn(tx{t})
		return own
	})
	return known(err, own)
}

func known(err, own error) error {
	if err == nil || (own != nil && errors.Is(err, own)) {
		return err
	}
	return unavailable(err)
}

func unavailable(err error) error {
	if errors.Is(err, domain.ErrUnavailable) || errors.Is(err, erasable.ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w%s", domain.ErrUnavailable, err, remedy(err))
}

// A tx is a transaction whose own failures are domain.ErrUnavailable.
type tx struct{ t *erasable.Tx }

// get returns a copy, which the caller clears where it holds keys.
func (t tx) get(key []byte) ([]byte, bool, error) {
	v, ok, err := t.t.Get(key)
	if err != nil {
		return nil, false, unavailable(err)
	}
	return v, ok, nil
}

func (t tx) put(key, value []byte) error {
	if err := t.t.Put(key, value); err != nil {
		return unavailable(err)
	}
	return nil
}

func (t tx) remove(key []byte) error {
	if err := t.t.Delete(key); err != nil {
		return unavailable(err)
	}
	return nil
}

// errEnough ends a scan whose caller wants no more.
var errEnough = errors.New("enough")

// scan calls each for every record under a prefix until it returns false. key
// is without the prefix; the value is the tree's own.
func (t tx) scan(prefix []byte, each func(key, value []byte) (bool, error)) error {
	err := t.t.Scan(prefix, func(key, value []byte) error {
		more, err := each(key[len(prefix):], value)
		if err == nil && !more {
			err = errEnough
		}
		return err
	})
	switch {
	case err == nil || errors.Is(err, errEnough):
		return nil
	case errors.Is(err, errRecord):
		return err
	}
	return unavailable(err)
}
