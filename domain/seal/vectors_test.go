package seal_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Vectors freeze the stored formats (docs/FORMAT.md). The flag writes those that
// are missing; nothing changes one that is there.
var addVectors = flag.Bool("add-vectors", false, "write vectors that are missing; existing ones never change")

const vectorDir = "../../testdata/vectors"

// A book is one file of vectors by name.
type book[V any] struct {
	path    string
	add     bool
	About   string                     `json:"about"`
	Vectors map[string]json.RawMessage `json:"vectors"`
	seen    map[string]bool
}

var errFrozen = errors.New("an existing vector would change: a format in use cannot; make a new version beside it")

func readBook[V any](path, about string, add bool) (*book[V], error) {
	b := &book[V]{path: path, add: add, About: about, Vectors: map[string]json.RawMessage{}, seen: map[string]bool{}}
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && add {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	return b, json.Unmarshal(raw, b)
}

// settle compares a vector with what the code makes of it now, and returns what
// is stored. keep copies what is random from the stored to the fresh one.
func (b *book[V]) settle(name string, fresh V, keep func(stored V, fresh *V)) (V, error) {
	b.seen[name] = true
	raw, ok := b.Vectors[name]
	if !ok && !b.add {
		return fresh, fmt.Errorf("vector %s is missing: add it with -add-vectors", name)
	}
	if !ok {
		return fresh, b.put(name, fresh)
	}
	var stored V
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&stored); err != nil {
		return stored, fmt.Errorf("vector %s: %w", name, err)
	}
	if keep != nil {
		keep(stored, &fresh)
	}
	have, err := json.Marshal(stored)
	want, err2 := json.Marshal(fresh)
	if err := errors.Join(err, err2); err != nil {
		return stored, err
	}
	if !bytes.Equal(have, want) {
		return stored, fmt.Errorf("vector %s: %w\nstored %s\nnow    %s", name, errFrozen, have, want)
	}
	return stored, nil
}

func (b *book[V]) put(name string, fresh V) error {
	raw, err := json.Marshal(fresh)
	if err != nil {
		return err
	}
	b.Vectors[name] = raw
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(b); err != nil {
		return err
	}
	return os.WriteFile(b.path, out.Bytes(), 0o644) //nolint:gosec // a public test file
}

// unread returns the vectors that nothing looked at.
func (b *book[V]) unread() (names []string) {
	for name := range b.Vectors {
		if !b.seen[name] {
			names = append(names, name)
		}
	}
	return names
}

// openBook returns the function that settles the vectors of a file.
func openBook[V any](t *testing.T, file, about string) func(name string, fresh V, keep func(stored V, fresh *V)) V {
	t.Helper()
	b, err := readBook[V](filepath.Join(vectorDir, file), about, *addVectors)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if names := b.unread(); len(names) > 0 {
			t.Errorf("%s: nothing reads %v", file, names)
		}
	})
	return func(name string, fresh V, keep func(stored V, fresh *V)) V {
		t.Helper()
		v, err := b.settle(name, fresh, keep)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		return v
	}
}

// eachStored gives every vector of a file to a fuzz target as a seed.
func eachStored[V any](f *testing.F, file string, each func(V)) {
	f.Helper()
	b, err := readBook[V](filepath.Join(vectorDir, file), "", false)
	if err != nil {
		f.Fatal(err)
	}
	for name, raw := range b.Vectors {
		var v V
		if err := json.Unmarshal(raw, &v); err != nil {
			f.Fatalf("%s %s: %v", file, name, err)
		}
		each(v)
	}
}

// hexBytes are bytes that stand in a vector in hex.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// TestVectorsAreFrozen proves that the tool above adds, and never changes.
func TestVectorsAreFrozen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v.json")
	settle := func(name, value string, add bool) error {
		b, err := readBook[string](path, "about", add)
		if err != nil {
			return err
		}
		_, err = b.settle(name, value, nil)
		return err
	}
	if err := settle("a", "1", false); err == nil {
		t.Error("a missing file was accepted")
	}
	if err := errors.Join(settle("a", "1", true), settle("b", "2", true), settle("a", "1", false)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, add := range []bool{true, false} {
		if err := settle("a", "changed", add); !errors.Is(err, errFrozen) {
			t.Errorf("add=%v: a changed vector gave %v", add, err)
		}
	}
	if err := settle("c", "3", false); err == nil {
		t.Error("a missing vector was accepted")
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file changed (%v)", err)
	}
	b, err := readBook[string](path, "about", false)
	if err != nil || len(b.unread()) != 2 {
		t.Errorf("unread: %v, %v", b.unread(), err)
	}
}
