package erasable

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	tree, err := Open(dir, Options{})
	must(t, err)
	if again, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second Open: %v, %v", again, err)
	}
	must(t, put(tree, "k", []byte("v")))
	mustClose(t, tree)
	mustClose(t, tree)
	tree, err = Open(dir, Options{})
	must(t, err)
	mustHold(t, tree, map[string]string{"k": "v"})
	mustClose(t, tree)
	for _, name := range []string{RootFile, TreeFile} {
		st, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if st.Mode().Perm() != 0o600 {
			t.Fatalf("%s has mode %v", name, st.Mode())
		}
	}
}

func TestWrappedRoot(t *testing.T) {
	d := newDisk(1)
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	open := func(wrap []byte) (*Tree, error) { return Open("dir", Options{FS: d, Wrap: wrap}) }
	tree := mustOpen(t, d)
	must(t, put(tree, "k", []byte("v")))
	mustClose(t, tree)

	tree, err := open(key) // bare until now
	must(t, err)
	if root := tree.current.root.key; bytes.Contains(d.content(RootFile), root[:]) {
		t.Fatal("the root stands bare in keys.root")
	}
	mustHold(t, tree, map[string]string{"k": "v"})
	mustClose(t, tree)
	for _, wrong := range [][]byte{nil, other} {
		if _, err := open(wrong); !errors.Is(err, ErrWrapped) {
			t.Fatalf("Open with the wrong key: %v", err)
		}
	}
	tree, err = open(key)
	must(t, err)
	before := tree.current.root.key
	must(t, tree.Rewrap(context.Background(), other))
	if tree.current.root.key == before {
		t.Fatal("the root is the same under the new wrapping key")
	}
	must(t, put(tree, "k2", []byte("v2")))
	mustClose(t, tree)
	if _, err := open(key); !errors.Is(err, ErrWrapped) {
		t.Fatalf("Open with the old key: %v", err)
	}
	tree, err = open(other)
	must(t, err)
	mustHold(t, tree, map[string]string{"k": "v", "k2": "v2"})
	must(t, tree.Rewrap(context.Background(), nil))
	mustClose(t, tree)
	tree = mustOpen(t, d)
	mustHold(t, tree, map[string]string{"k": "v", "k2": "v2"})
	mustClose(t, tree)
}

func TestWrapMustBe32Bytes(t *testing.T) {
	if _, err := Open("dir", Options{FS: newDisk(1), Wrap: make([]byte, 16)}); err == nil {
		t.Fatal("a short wrapping key was taken")
	}
}
