package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// filesOf returns the largest files of a store first.
func filesOf(t *testing.T, dir string, is func(string) bool) (out []string) {
	t.Helper()
	size := map[string]int64{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && is(path) {
			out, size[path] = append(out, path), info.Size()
		}
		return err
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("%d files, %v", len(out), err)
	}
	slices.SortFunc(out, func(a, b string) int { return int(size[b] - size[a]) })
	return out
}

func flip(t *testing.T, file string, at int64) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x40
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// readsDamaged opens a store and reads it whole, and returns the first error. It
// fails if fewer than want events came without one.
func readsDamaged(t *testing.T, dir string, want int) error {
	t.Helper()
	s, err := Open(dir, Options{Clock: time.Now, Logf: t.Logf})
	if err != nil {
		return err
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Log(err)
		}
	}()
	n := 0
	for _, err := range s.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			return err
		}
		n++
	}
	if n != want {
		t.Errorf("%d events without an error, %d were stored", n, want)
	}
	return nil
}

// TestDamage flips one bit, or takes a file away, and asks that the store says so
// and names the file or the directory.
func TestDamage(t *testing.T) {
	const events = 400
	for _, d := range []struct {
		name string
		hurt func(t *testing.T, dir string)
	}{
		{"a bit in a table", func(t *testing.T, dir string) { flip(t, filesOf(t, dir, isTable)[0], 100_000) }},
		{"a bit in another block", func(t *testing.T, dir string) { flip(t, filesOf(t, dir, isTable)[0], 40_000) }},
		{"a bit in the manifest", func(t *testing.T, dir string) { flip(t, newest(filesOf(t, dir, isManifestFile)), 30) }},
		{"a bit in the mark", func(t *testing.T, dir string) { flip(t, filepath.Join(dir, markFile), 7) }},
		{"a table gone", func(t *testing.T, dir string) {
			if err := os.Remove(filesOf(t, dir, isTable)[0]); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(d.name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, dir, Options{})
			newLoad().run(s, 4, 1_000, events/4, nil)
			mustClose(t, s)
			if err := readsDamaged(t, dir, events); err != nil {
				t.Fatal(err)
			}
			d.hurt(t, dir)
			err := readsDamaged(t, dir, events)
			if !errors.Is(err, eventstore.ErrDamaged) || !strings.Contains(err.Error(), dir) {
				t.Fatalf("%v", err)
			}
		})
	}
}

func isManifestFile(name string) bool { return strings.HasPrefix(filepath.Base(name), "MANIFEST-") }

// TestDamagedLog flips bits in the write-ahead log of a process that was killed:
// what was acknowledged is not dropped as if it had never been written.
func TestDamagedLog(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	const events = 100
	newLoad().run(s, 4, 1_000, events/4, nil)
	killed := t.TempDir()
	if err := os.CopyFS(killed+"/whole", os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if err := firstOf(os.CopyFS(killed+"/sound", os.DirFS(killed+"/whole")), readsDamaged(t, killed+"/sound", events)); err != nil {
		t.Fatal(err)
	}
	for _, place := range []int64{20, 5_000, 40_000, 60_000} {
		hurt := filepath.Join(killed, fmt.Sprint("hurt", place))
		if err := os.CopyFS(hurt, os.DirFS(killed+"/whole")); err != nil {
			t.Fatal(err)
		}
		flip(t, filesOf(t, hurt, isWAL)[0], place)
		err := readsDamaged(t, hurt, events)
		if !errors.Is(err, eventstore.ErrDamaged) || !strings.Contains(err.Error(), hurt) {
			t.Errorf("bit at %d: %v", place, err)
		}
	}
}

// TestLostEnd takes the end of the log away, as a manifest cut short does.
func TestLostEnd(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	newLoad().run(s, 1, 100, 10, nil)
	if err := s.db.DeleteRange(logKey(8), logKey(11), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if err := readsDamaged(t, dir, 7); !errors.Is(err, eventstore.ErrDamaged) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("%v", err)
	}
}

// TestHole takes an event out of the log behind the store's back: its stream still
// names it.
func TestHole(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	defer mustClose(t, s)
	newLoad().run(s, 1, 100, 10, nil)
	if err := s.db.Delete(logKey(5), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	for _, err := range s.ReadStream(t.Context(), "lethe.test.writer-0", 0, eventstore.Forward, 0) {
		if errors.Is(err, eventstore.ErrDamaged) {
			return
		}
	}
	t.Fatal("nobody noticed")
}

// newest is the file with the highest number, which is the one in use.
func newest(files []string) string { return slices.Max(files) }
