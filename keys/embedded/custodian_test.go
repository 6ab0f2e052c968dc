package embedded_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/embedded"
	"github.com/lethe-ledger/lethe/keys/embedded/erasable"
	"github.com/lethe-ledger/lethe/keys/keytest"
)

// unsynced leaves syncing out, which a suite that never loses power does not
// need; the tree's own tests cut it at every sync.
type unsynced struct{ erasable.OS }

func (u unsynced) Open(path string) (erasable.File, error) { return unsyncedFile(u.OS.Open(path)) }

func (u unsynced) Create(path string) (erasable.File, error) {
	return unsyncedFile(u.OS.Create(path))
}

func (unsynced) SyncDir(string) error { return nil }

type lazyFile struct{ erasable.File }

func unsyncedFile(f erasable.File, err error) (erasable.File, error) { return lazyFile{f}, err }

func (lazyFile) Sync() error     { return nil }
func (lazyFile) Datasync() error { return nil }

func TestContract(t *testing.T) {
	keytest.Run(t, func(place string) (keys.Custodian, error) {
		return embedded.Open(place, embedded.Options{FS: unsynced{}})
	})
}

// TestOpenRefuses: every way in which opening fails names the directory and
// says what to do.
func TestOpenRefuses(t *testing.T) {
	wrap := make([]byte, 32)
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  error
		says  string
	}{
		"in use": {func(t *testing.T, dir string) {
			other, err := embedded.Open(dir, embedded.Options{Wrap: wrap})
			must(t, err)
			t.Cleanup(func() { must(t, other.Close()) })
		}, erasable.ErrLocked, "stop it"},
		"no root": {func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, erasable.RootFile)))
		}, erasable.ErrNoRoot, "backup"},
		"wrapped": {func(*testing.T, string) {}, erasable.ErrWrapped, "passphrase"},
		"no tree": {func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, erasable.TreeFile)))
		}, erasable.ErrDamaged, "backup"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			first, err := embedded.Open(dir, embedded.Options{Wrap: wrap})
			must(t, err)
			_, err = first.Material(context.Background())
			must(t, err)
			must(t, first.Close())
			c.spoil(t, dir)
			var key []byte
			if name != "wrapped" {
				key = wrap
			}
			_, err = embedded.Open(dir, embedded.Options{Wrap: key})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
				t.Fatalf("error %v, want %v with %q and the directory", err, c.want, c.says)
			}
		})
	}
}

// TestTooLarge: what does not fit is refused, and not taken for an outage.
func TestTooLarge(t *testing.T) {
	c, err := embedded.Open(t.TempDir(), embedded.Options{FS: unsynced{}})
	must(t, err)
	defer func() { must(t, c.Close()) }()
	_, err = c.PutDocument(context.Background(), "large", 0, make([]byte, erasable.MaxValue))
	if !errors.Is(err, erasable.ErrTooLarge) || errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("error %v, want %v", err, erasable.ErrTooLarge)
	}
	_, err = c.PutDocument(context.Background(), strings.Repeat("n", erasable.MaxKey), 0, nil)
	if !errors.Is(err, erasable.ErrTooLarge) {
		t.Fatalf("error %v, want %v", err, erasable.ErrTooLarge)
	}
}
