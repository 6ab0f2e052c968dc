package erasable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"syscall"
	"testing"
)

// A step is one Update of the script: what it puts, and what it deletes.
type step struct {
	puts map[string]string
	dels []string
}

// script makes a tree of two levels, changes and deletes in it, with large
// values, until it is small again.
func script() []step {
	value := func(n, size int) string { return string(bytes.Repeat([]byte{byte(n)}, size)) }
	first := step{puts: map[string]string{}}
	for i := range 60 {
		first.puts[fmt.Sprintf("key%02d", i)] = value(i, 300)
	}
	steps := []step{
		first,
		{puts: map[string]string{"key07": value(99, 20), "large": value(1, 3*chunkData)}},
		{dels: []string{"key11", "key12"}, puts: map[string]string{"key111": value(5, 300)}},
		{puts: map[string]string{"large": value(2, 9000)}, dels: []string{"key59"}},
		{},
	}
	for i := range 50 {
		steps[4].dels = append(steps[4].dels, fmt.Sprintf("key%02d", i))
	}
	return append(steps, step{dels: []string{"large"}})
}

func (s step) run(tree *Tree) error {
	return tree.Update(context.Background(), func(tx *Tx) error {
		for k, v := range s.puts {
			if err := tx.Put([]byte(k), []byte(v)); err != nil {
				return err
			}
		}
		for _, k := range s.dels {
			if err := tx.Delete([]byte(k)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s step) after(model map[string]string) map[string]string {
	next := maps.Clone(model)
	maps.Copy(next, s.puts)
	for _, k := range s.dels {
		delete(next, k)
	}
	return next
}

// playScript plays the script on a disk with faults, reopening as a caller
// must, with a power cut where cut is set, and fails t where the tree is neither
// as before nor as after the step that failed. It returns how many faults it
// met, and the writes and syncs up to the end of the script.
func playScript(t *testing.T, d *disk, cut bool) (faults, ops int) {
	t.Helper()
	reopen := func() *Tree {
		for {
			if cut {
				again := d.failAt
				d.crash()
				d.failAt = again
			}
			tree, err := Open("dir", Options{FS: d})
			if err == nil {
				return tree
			}
			if faults++; !errors.Is(err, errInjected) {
				t.Fatalf("Open: %v", err)
			}
		}
	}
	tree := reopen()
	model := map[string]string{}
	for i, s := range script() {
		next := s.after(model)
		err := s.run(tree)
		for err != nil {
			if faults++; !errors.Is(err, errInjected) {
				t.Fatalf("step %d: %v", i, err)
			}
			if errors.Is(err, ErrReopen) {
				if err := put(tree, "x", nil); !errors.Is(err, ErrReopen) {
					t.Fatalf("step %d: write after a commit failed half-way: %v", i, err)
				}
				mustHold(t, tree, model) // what was acknowledged is still served
				mustClose(t, tree)
				tree = reopen()
				got := contents(t, tree)
				if !maps.Equal(got, model) && !maps.Equal(got, next) {
					t.Fatalf("step %d: neither before (%s) nor after (%s)", i, diff(got, model), diff(got, next))
				}
				model = got
			} else {
				mustHold(t, tree, model)
			}
			mustBeSound(t, tree)
			err = s.run(tree)
		}
		mustHold(t, tree, next)
		mustBeSound(t, tree)
		model = next
	}
	mustClose(t, tree)
	ops = d.ops
	d.crash()
	tree = mustOpen(t, d)
	mustHold(t, tree, model)
	mustClose(t, tree)
	return faults, ops
}

// Every write and sync of the script fails once: lost, done but unanswered, and
// torn; followed by a mere reopening and by a power cut. Then the same with a
// second fault soon after, which hits the recovery.
func TestFaultAtEveryWriteAndSync(t *testing.T) {
	faults, ops := playScript(t, newDisk(1), false)
	if faults != 0 {
		t.Fatalf("%d faults without one", faults)
	}
	for mode := faultLost; mode <= faultTorn; mode++ {
		for _, cut := range []bool{false, true} {
			t.Run(fmt.Sprintf("mode %d, power cut %v", mode, cut), func(t *testing.T) {
				for k := 1; k <= ops; k++ {
					d := newDisk(uint64(k))
					d.failAt, d.mode = k, mode
					if faults, _ := playScript(t, d, cut); faults != 1 {
						t.Fatalf("op %d of %d: met %d faults", k, ops, faults)
					}
				}
			})
		}
	}
}

func TestSecondFaultDuringRecovery(t *testing.T) {
	_, ops := playScript(t, newDisk(1), false)
	met := 0
	for k := 1; k <= ops; k++ {
		for gap := 1; gap <= 4; gap++ {
			for seed := range uint64(3) {
				d := newDisk(seed)
				twice := &twoFaults{disk: d, second: gap}
				d.failAt, d.mode = k, faultMode(seed)
				met = max(met, playTwice(t, twice))
			}
		}
	}
	if met < 2 {
		t.Fatal("no run met a second fault")
	}
}

// twoFaults arms a second fault once the first was met.
type twoFaults struct {
	*disk
	second int
}

func playTwice(t *testing.T, d *twoFaults) int {
	t.Helper()
	first := d.failAt
	d.onFault = func() {
		if d.failAt == first {
			d.failAt = first + d.second
		}
	}
	faults, _ := playScript(t, d.disk, true)
	return faults
}

// A power cut at every op, without any error before it: whatever was not synced
// may be gone or not.
func TestPowerCutAtEveryOp(t *testing.T) {
	_, ops := playScript(t, newDisk(1), false)
	for k := 1; k <= ops; k++ {
		for seed := range uint64(4) {
			d := newDisk(seed)
			d.failAt, d.mode, d.dead = k, faultMode(seed%3), true
			cutOnce(t, d)
		}
	}
}

// cutOnce plays the script until the disk is dead, cuts the power, and compares.
func cutOnce(t *testing.T, d *disk) {
	t.Helper()
	model := map[string]string{}
	next := model
	if tree, err := Open("dir", Options{FS: d}); err == nil {
		for _, s := range script() {
			next = s.after(model)
			if s.run(tree) != nil {
				break
			}
			model = next
		}
		mustClose(t, tree)
	}
	d.crash()
	tree := mustOpen(t, d)
	if got := contents(t, tree); !maps.Equal(got, model) && !maps.Equal(got, next) {
		t.Fatalf("neither before (%s) nor after (%s)", diff(got, model), diff(got, next))
	}
	mustBeSound(t, tree)
	mustClose(t, tree)
}

func TestFullDisk(t *testing.T) {
	d := newDisk(1)
	tree := mustOpen(t, d)
	defer func() { mustClose(t, tree) }()
	model := map[string]string{}
	d.room = 40 * pageSize
	full := 0
	for i := range 300 {
		k, v := fmt.Sprintf("key%03d", i), string(bytes.Repeat([]byte{byte(i)}, 900))
		err := put(tree, k, []byte(v))
		if err == nil {
			model[k] = v
			continue
		}
		if full++; !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrReopen) {
			t.Fatalf("a full disk gives %v", err)
		}
		mustHold(t, tree, model)
		mustBeSound(t, tree)
		if full == 5 {
			break
		}
	}
	if full != 5 {
		t.Fatal("the disk was never full")
	}
	must(t, del(tree, "key000")) // pages of earlier versions are there to be used
	delete(model, "key000")
	d.room = 0
	must(t, put(tree, "later", []byte("fits")))
	model["later"] = "fits"
	mustHold(t, tree, model)
	mustClose(t, tree)
	tree = mustOpen(t, d)
	mustHold(t, tree, model)
	mustBeSound(t, tree)
}
