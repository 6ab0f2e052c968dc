package erasable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
)

// grown returns a disk with a closed tree of n keys.
func grown(t *testing.T, n int) (*disk, map[string]string) {
	t.Helper()
	d := newDisk(1)
	tree := mustOpen(t, d)
	model := map[string]string{}
	must(t, tree.Update(context.Background(), func(tx *Tx) error {
		for i := range n {
			k, v := fmt.Sprintf("key%04d", i), fmt.Sprintf("value %d %s", i, bytes.Repeat([]byte{'.'}, 300))
			model[k] = v
			must(t, tx.Put([]byte(k), []byte(v)))
		}
		return nil
	}))
	mustClose(t, tree)
	return d, model
}

// damage flips one bit of a file.
func (d *disk) damage(name string, off int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range [][]byte{d.files[name].seen, d.files[name].durable} {
		b[off] ^= 1
	}
}

// Each page damaged in turn: what lies in it is an error that names it, all
// else is served, writes go on, and no page that a repair would need is reused.
func TestDamagedPage(t *testing.T) {
	whole, model := grown(t, 1500)
	pages := int64(len(whole.content(TreeFile)) / pageSize)
	refused, partial := 0, 0
	for page := range pages {
		d := whole.copy()
		d.damage(TreeFile, page*pageSize+100)
		tree, err := Open("dir", Options{FS: d})
		if err != nil {
			if refused++; !errors.Is(err, ErrDamaged) || !bytes.Contains([]byte(err.Error()), fmt.Appendf(nil, "keys.tree page %d", page)) {
				t.Fatalf("page %d: %v", page, err)
			}
			continue
		}
		lost := 0
		for k, v := range model {
			must(t, tree.View(func(tx *Tx) error {
				got, ok, err := tx.Get([]byte(k))
				if errors.Is(err, ErrDamaged) {
					lost++
				} else if err != nil || !ok || string(got) != v {
					t.Fatalf("page %d: %q: %v %v", page, k, ok, err)
				}
				return nil
			}))
		}
		if lost == 0 {
			t.Fatalf("page %d: nothing is lost", page)
		}
		partial++
		repairable(t, d, tree, page, lost, model)
	}
	if refused != 1 || partial != int(pages)-1 {
		t.Fatalf("of %d pages %d refused, %d partial", pages, refused, partial)
	}
}

// repairable writes beside the damage, in one commit with updates that meet it,
// then undoes it: everything is there.
func repairable(t *testing.T, d *disk, tree *Tree, page int64, lost int, model map[string]string) {
	t.Helper()
	done, failed := 0, 0
	for k, v := range model {
		switch err := put(tree, k, []byte(v)); {
		case err == nil:
			done++
		case errors.Is(err, ErrDamaged):
			failed++
		default:
			t.Fatalf("page %d: put: %v", page, err)
		}
		if done > 20 && failed > 0 {
			break
		}
	}
	if failed == 0 || (done == 0) != (lost == len(model)) {
		t.Fatalf("page %d: %d puts done, %d failed, %d keys lost", page, done, failed, lost)
	}
	mustClose(t, tree)
	d.damage(TreeFile, page*pageSize+100)
	again := mustOpen(t, d)
	mustHold(t, again, model)
	mustClose(t, again)
}

func TestRootMissingOrDamaged(t *testing.T) {
	whole, model := grown(t, 50)
	t.Run("missing", func(t *testing.T) {
		d := whole.copy()
		delete(d.files, RootFile)
		mustRefuse(t, d, ErrNoRoot)
		if d.files[RootFile] != nil || len(d.log) > 0 {
			t.Fatal("a root was created beside a tree that is there")
		}
	})
	t.Run("empty", func(t *testing.T) {
		d := whole.copy()
		d.files[RootFile].seen = nil
		mustRefuse(t, d, ErrNoRoot)
	})
	t.Run("damaged", func(t *testing.T) {
		hurt := 0
		for i := range int64(2 * slotSize / 64) {
			d := whole.copy()
			d.damage(RootFile, i*64)
			if tree, err := Open("dir", Options{FS: d}); err == nil {
				mustHold(t, tree, model)
				mustClose(t, tree)
				continue
			}
			hurt++
			mustRefuse(t, d, ErrNoRoot)
		}
		if hurt != slotSize/64 {
			t.Fatalf("%d damaged bytes were noticed, want those of one slot", hurt)
		}
	})
	t.Run("tree missing", func(t *testing.T) {
		d := whole.copy()
		delete(d.files, TreeFile)
		mustRefuse(t, d, ErrDamaged)
	})
	t.Run("tree cut short", func(t *testing.T) {
		d := whole.copy()
		d.files[TreeFile].seen = nil
		mustRefuse(t, d, ErrDamaged)
	})
}

func mustRefuse(t *testing.T, d *disk, want error) {
	t.Helper()
	root := d.files[RootFile]
	var before []byte
	if root != nil {
		before = bytes.Clone(root.seen)
	}
	tree, err := Open("dir", Options{FS: d})
	if err == nil {
		mustClose(t, tree)
	}
	if !errors.Is(err, want) {
		t.Fatalf("Open: %v, want %v", err, want)
	}
	if root != nil && !bytes.Equal(before, root.seen) {
		t.Fatal("keys.root was changed by an Open that failed")
	}
}
