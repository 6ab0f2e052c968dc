package embedded

import (
	"path/filepath"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A fault says which operations of a faultFS fail, with what, and whether they
// are done nevertheless.
type fault struct {
	op   string // create, write, sync, rename
	path func(name string) bool
	err  error
	done bool
}

// A faultFS is a file system with at most one fault, which can be set and
// cleared while it is used.
type faultFS struct {
	vfs.FS
	mu    sync.Mutex
	fault *fault
	met   int
	block chan struct{} // syncs of the log wait for it, if it is not nil
	avail uint64        // free bytes, if not 0
}

func (f *faultFS) set(x *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.met = x, 0
}

func (f *faultFS) hold(c chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.block = c
}

func (f *faultFS) free(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.avail = n
}

func (f *faultFS) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.met
}

// do runs an operation unless the fault is against it.
func (f *faultFS) do(op, name string, run func() error) error {
	f.mu.Lock()
	x := f.fault
	hit := x != nil && x.op == op && x.path(name)
	if hit {
		f.met++
	}
	f.mu.Unlock()
	if !hit {
		return run()
	}
	if x.done {
		_ = run()
	}
	return x.err
}

func (f *faultFS) open(op, name string, open func() (vfs.File, error)) (file vfs.File, err error) {
	err = f.do(op, name, func() error {
		file, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f, name: name}, nil
}

func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open("create", name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *faultFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open("create", newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f *faultFS) OpenDir(name string) (vfs.File, error) {
	return f.open("opendir", name, func() (vfs.File, error) { return f.FS.OpenDir(name) })
}

func (f *faultFS) Rename(oldname, newname string) error {
	return f.do("rename", newname, func() error { return f.FS.Rename(oldname, newname) })
}

func (f *faultFS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.avail != 0 {
		return vfs.DiskUsage{AvailBytes: f.avail}, nil
	}
	return f.FS.GetDiskUsage(path)
}

func (f *faultFS) Unwrap() vfs.FS { return f.FS }

type faultFile struct {
	vfs.File
	fs   *faultFS
	name string
}

func (f *faultFile) Write(p []byte) (n int, err error) {
	err = f.fs.do("write", f.name, func() error {
		n, err = f.File.Write(p)
		return err
	})
	return n, err
}

func (f *faultFile) Sync() error { return f.sync(f.File.Sync) }

func (f *faultFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *faultFile) sync(run func() error) error {
	f.fs.mu.Lock()
	block := f.fs.block
	f.fs.mu.Unlock()
	if block != nil && isWAL(f.name) {
		<-block
	}
	return f.fs.do("sync", f.name, run)
}

// SyncTo is a hint; without it every sync is one that a fault can meet.
func (f *faultFile) SyncTo(int64) (bool, error) { return false, nil }

func isWAL(name string) bool      { return strings.HasSuffix(name, ".log") }
func isTable(name string) bool    { return strings.HasSuffix(name, ".sst") }
func isManifest(name string) bool { return strings.Contains(name, "MANIFEST") }
func isDir(name string) bool      { return !strings.Contains(filepath.Base(name), ".") && !isManifest(name) }
