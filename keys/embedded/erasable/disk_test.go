package erasable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// errInjected is what a disk returns for a fault.
var errInjected = errors.New("injected fault")

type faultMode int

const (
	faultLost faultMode = iota // nothing was done
	faultDone                  // it was done, and an error returned
	faultTorn                  // some sectors of a write were done
)

const sector = 512

// A disk is an FS in memory that knows what is durable, fails on demand, and
// remembers every byte ever written.
type disk struct {
	mu      sync.Mutex
	files   map[string]*diskFile
	locked  bool
	ops     int // writes and syncs so far
	failAt  int // the op that fails; 0: none
	mode    faultMode
	dead    bool   // every op from failAt on fails and does nothing
	onFault func() // called at each fault
	room    int64  // bytes all files may have together; 0: no bound
	log     []logged
	rng     *rand.Rand
}

// logged is one write that was done.
type logged struct {
	file string
	off  int64
	data []byte
}

type diskFile struct {
	d       *disk
	name    string
	seen    []byte // what reads return
	durable []byte // what a crash leaves for certain
	pending []logged
	entry   bool // the directory entry is durable
}

func newDisk(seed uint64) *disk {
	return &disk{files: map[string]*diskFile{}, rng: rand.New(rand.NewPCG(seed, 1))}
}

// fault reports whether this op fails, and how. Called under mu.
func (d *disk) fault() (faultMode, bool) {
	d.ops++
	if d.dead && d.failAt > 0 && d.ops > d.failAt {
		return faultLost, true
	}
	if d.ops != d.failAt {
		return 0, false
	}
	if d.onFault != nil {
		d.onFault()
	}
	return d.mode, true
}

type unlocker struct{ d *disk }

func (u unlocker) Close() error {
	u.d.mu.Lock()
	defer u.d.mu.Unlock()
	u.d.locked = false
	return nil
}

func (d *disk) Lock(string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locked {
		return nil, ErrLocked
	}
	d.locked = true
	return unlocker{d}, nil
}

func (d *disk) Open(path string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[filepath.Base(path)]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return f, nil
}

func (d *disk) Create(path string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := filepath.Base(path)
	if d.files[name] != nil {
		return nil, fs.ErrExist
	}
	mode, fails := d.fault()
	if fails && mode == faultLost {
		return nil, errInjected
	}
	f := &diskFile{d: d, name: name}
	d.files[name] = f
	if fails {
		return nil, errInjected
	}
	return f, nil
}

func (d *disk) SyncDir(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	mode, fails := d.fault()
	if !fails || mode != faultLost {
		for _, f := range d.files {
			f.entry = true
		}
	}
	if fails {
		return errInjected
	}
	return nil
}

// crash loses what is not durable: each sector of each unsynced write may have
// reached the disk or not.
func (d *disk) crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, f := range d.files {
		if !f.entry && d.rng.IntN(2) == 0 {
			delete(d.files, name)
			continue
		}
		for _, w := range f.pending {
			for at := 0; at < len(w.data); at += sector {
				if d.rng.IntN(2) == 0 {
					f.durable = overwrite(f.durable, w.off+int64(at), w.data[at:min(len(w.data), at+sector)])
				}
			}
		}
		f.pending, f.seen, f.entry = nil, slices.Clone(f.durable), true
	}
	d.locked, d.failAt = false, 0
}

// content returns the present bytes of a file.
func (d *disk) content(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.files[name].seen)
}

// copy returns a second disk with the same present contents, all durable.
func (d *disk) copy() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := newDisk(1)
	for name, f := range d.files {
		c.files[name] = &diskFile{d: c, name: name, seen: slices.Clone(f.seen), durable: slices.Clone(f.seen), entry: true}
	}
	return c
}

func overwrite(b []byte, off int64, data []byte) []byte {
	if need := int(off) + len(data); need > len(b) {
		b = append(b, make([]byte, need-len(b))...)
	}
	copy(b[off:], data)
	return b
}

func (f *diskFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if off >= int64(len(f.seen)) {
		return 0, io.EOF
	}
	n := copy(p, f.seen[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.room > 0 && off+int64(len(p)) > max(f.d.room, int64(len(f.seen))) {
		n := max(0, min(f.d.room-off, int64(len(p)))/2)
		f.put(p[:n], off)
		return int(n), &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	mode, fails := f.d.fault()
	if !fails || mode == faultDone {
		f.put(p, off)
	}
	if fails && mode == faultTorn {
		for at := 0; at < len(p); at += sector {
			if f.d.rng.IntN(2) == 0 {
				f.put(p[at:min(len(p), at+sector)], off+int64(at))
			}
		}
	}
	if fails {
		return 0, fmt.Errorf("write %s: %w", f.name, errInjected)
	}
	return len(p), nil
}

func (f *diskFile) put(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	w := logged{file: f.name, off: off, data: slices.Clone(p)}
	f.seen = overwrite(f.seen, off, w.data)
	f.pending = append(f.pending, w)
	f.d.log = append(f.d.log, w)
}

// Sync that is lost behaves as the kernel does: the pages count as clean
// afterwards, reads return them, and only a new write brings them to the disk.
func (f *diskFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	mode, fails := f.d.fault()
	for _, w := range f.pending {
		if !fails || mode == faultDone || (mode == faultTorn && f.d.rng.IntN(2) == 0) {
			f.durable = overwrite(f.durable, w.off, w.data)
		}
	}
	f.pending = nil
	if fails {
		return fmt.Errorf("sync %s: %w", f.name, errInjected)
	}
	return nil
}

func (f *diskFile) Datasync() error { return f.Sync() }

func (f *diskFile) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.seen)), nil
}

func (f *diskFile) Close() error { return nil }
