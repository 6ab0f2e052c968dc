package erasable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// roots is keys.root: two slots, one current, the other free and wiped. The
// writer owns it.
type roots struct {
	file File
	path string
	wrap []byte // nil: the root stands bare
	now  slot
	free int64 // index of the free slot
	// both: the other slot is valid, too. Its commit was cut off before it was
	// wiped, so it may be the only one of the two that reached the disk.
	both bool
}

// choose reads both slots and takes the higher valid one. It changes nothing.
func (r *roots) choose() error {
	var found [2]bool
	var wrapped error
	for i := range found {
		b, err := r.raw(int64(i))
		if err != nil {
			return err
		}
		s, err := decodeSlot(b, r.wrap)
		clear(b)
		switch {
		case errors.Is(err, errNoSlot):
		case errors.Is(err, ErrWrapped):
			wrapped = err
		case err != nil:
			return fmt.Errorf("read %s: %w", r.path, err)
		default:
			if found[i] = true; r.now.seq < s.seq {
				r.now, r.free = s, 1-int64(i)
			}
		}
	}
	if r.both = found[0] && found[1]; found[0] || found[1] {
		return nil
	}
	if wrapped != nil {
		return fmt.Errorf("%s: %w", r.path, wrapped)
	}
	return fmt.Errorf("%s: %w", r.path, ErrNoRoot)
}

// raw reads slot i; what is past the end reads as zeros.
func (r *roots) raw(i int64) ([]byte, error) {
	b := make([]byte, slotSize)
	if _, err := r.file.ReadAt(b, i*slotSize); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", r.path, err)
	}
	return b, nil
}

// settle makes the chosen slot durable and wipes the other. After a failed
// fsync a slot may read as written and yet be only in memory; so where both
// are valid the chosen one is written again before the other goes.
func (r *roots) settle() error {
	if r.both {
		if err := r.put(1-r.free, r.now); err != nil {
			return err
		}
	}
	return r.wipe(r.free)
}

// commit puts s into the free slot and wipes the old one. After an error the
// state on disk is either.
func (r *roots) commit(s slot) error {
	if err := r.put(r.free, s); err != nil {
		return err
	}
	// The commit point: from here every Open finds the new state.
	if err := r.wipe(1 - r.free); err != nil {
		return err
	}
	r.now, r.free = s, 1-r.free
	return nil
}

func (r *roots) put(i int64, s slot) error {
	b, err := s.encode(r.wrap)
	if err != nil {
		return err
	}
	defer clear(b)
	return r.write(i, b)
}

func (r *roots) wipe(i int64) error {
	b := make([]byte, slotSize)
	random(b)
	return r.write(i, b)
}

func (r *roots) write(i int64, b []byte) error {
	if _, err := r.file.WriteAt(b, i*slotSize); err != nil {
		return fmt.Errorf("write %s slot %d: %w", r.path, i, err)
	}
	if err := r.file.Datasync(); err != nil {
		return fmt.Errorf("sync %s slot %d: %w", r.path, i, err)
	}
	return nil
}

// create lays out both slots: the first an empty tree, the second zeros, which
// is how unfinished knows that no Tree was ever opened here.
func (r *roots) create() error {
	if err := r.write(1, make([]byte, slotSize)); err != nil {
		return err
	}
	s := slot{seq: 1, root: ref{key: freshKey()}}
	random(s.id[:])
	if err := r.put(0, s); err != nil {
		return err
	}
	if err := r.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", r.path, err)
	}
	return nil
}

// unfinished reports whether the file was being created and nothing was ever
// stored: the second slot is written at the end of the first Open.
func (r *roots) unfinished() (bool, error) {
	second, err := r.raw(1)
	if err != nil {
		return false, err
	}
	if !bytes.Equal(second, make([]byte, slotSize)) {
		return false, nil
	}
	first, err := r.raw(0)
	if err != nil {
		return false, err
	}
	s, err := decodeSlot(first, r.wrap)
	return errors.Is(err, errNoSlot) || s.seq == 1, nil
}
