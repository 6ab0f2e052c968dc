package embedded

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A guard stands between the engine and the file system, because Pebble panics
// with locks held when its write-ahead log cannot be written, synced, closed or
// created, and goes on after a failed manifest. So the first failure in the log
// freezes the guard: from then on the log's files take everything and write
// nothing, every other file refuses to be written, and what is on disk stays as
// it was. The store asks for failure after each sync and acknowledges nothing
// once there is one.
type guard struct {
	vfs.FS
	dir string

	// armed is set once the store is open: before, errors reach the engine's Open.
	armed atomic.Bool

	// shared counts who else may rotate the log beside the committer's group.
	shared atomic.Int32

	mu sync.Mutex // guards what follows, which is set once
	// err is the first failure.
	err error
	// unwritten says that the failure was met by the one group that was on its way
	// into the log, so that nothing of this group is behind the last sync.
	unwritten bool

	// tail is the log file that was created last; written by the engine's log
	// writer, which has one at a time, read by the committer after a freeze.
	tail atomic.Pointer[logFile]
}

func newGuard(fs vfs.FS, dir string) *guard {
	return &guard{FS: fs, dir: dir}
}

// freeze notes the first failure.
func (g *guard) freeze(err error) { g.note(err, false) }

func (g *guard) note(err error, inLog bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err, g.unwritten = err, inLog && g.shared.Load() == 0
	}
}

func (g *guard) groupUnwritten() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.unwritten
}

// failure is the error that froze the guard, or nil.
func (g *guard) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// backoff is how long a failed write in the background holds up the engine,
// which tries again at once and for ever.
const backoff = 20 * time.Millisecond

// refuse is asked before anything but the log is changed.
func (g *guard) refuse() error {
	err := g.failure()
	if err != nil {
		time.Sleep(backoff)
	}
	return err
}

func slowly(err error) error {
	if err != nil {
		time.Sleep(backoff)
	}
	return err
}

// isLog tells the files of the write-ahead log, which are alone in ending so; a
// backup's are elsewhere.
func (g *guard) isLog(name string) bool {
	return strings.HasSuffix(name, ".log") && g.PathDir(name) == g.PathDir(g.PathJoin(g.dir, "x"))
}

// Create implements vfs.FS.
func (g *guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if g.isLog(name) {
		return g.createLog(name, func() (vfs.File, error) { return g.FS.Create(name, c) })
	}
	return g.data(func() (vfs.File, error) { return g.FS.Create(name, c) })
}

// ReuseForWrite implements vfs.FS.
func (g *guard) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if g.isLog(newname) {
		return g.createLog(newname, func() (vfs.File, error) { return g.FS.ReuseForWrite(oldname, newname, c) })
	}
	return g.data(func() (vfs.File, error) { return g.FS.ReuseForWrite(oldname, newname, c) })
}

// OpenReadWrite implements vfs.FS.
func (g *guard) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return g.data(func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, opts...) })
}

// OpenDir implements vfs.FS. A new log file is created with a sync of the store's
// directory, so a failure there is one of the log.
func (g *guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil || name != g.dir {
		return f, err
	}
	return &logFile{File: f, guard: g, isDir: true}, nil
}

// Remove implements vfs.FS.
func (g *guard) Remove(name string) error {
	if err := g.refuse(); err != nil {
		return err
	}
	return g.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (g *guard) RemoveAll(name string) error {
	if err := g.refuse(); err != nil {
		return err
	}
	return g.FS.RemoveAll(name)
}

// Rename implements vfs.FS.
func (g *guard) Rename(oldname, newname string) error {
	if err := g.refuse(); err != nil {
		return err
	}
	return slowly(g.FS.Rename(oldname, newname))
}

// Unwrap implements vfs.FS.
func (g *guard) Unwrap() vfs.FS { return g.FS }

func (g *guard) data(open func() (vfs.File, error)) (vfs.File, error) {
	if err := g.refuse(); err != nil {
		return nil, err
	}
	f, err := open()
	if err != nil {
		return nil, slowly(err)
	}
	return &dataFile{File: f, guard: g}, nil
}

// createLog makes the next log file. When it cannot be made, the engine gets one
// in memory that never grows, because it would panic at an error.
func (g *guard) createLog(name string, create func() (vfs.File, error)) (vfs.File, error) {
	if g.failure() == nil {
		f, err := create()
		if err == nil {
			l := &logFile{File: f, guard: g, name: name}
			g.tail.Store(l)
			return l, nil
		}
		if !g.armed.Load() {
			return nil, err
		}
		g.note(err, true)
	}
	f, err := vfs.NewMem().Create("nowhere", vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &logFile{File: f, guard: g}, nil
}

// discardTail overwrites what was written to the last log file after its last
// successful sync, so that the next Open does not find it. With at most one
// batch unsynced, that is the batch whose sync failed, and nothing else.
func (g *guard) discardTail() error {
	l := g.tail.Load()
	if l == nil {
		return nil
	}
	synced, attempted := l.synced.Load(), l.attempted.Load()
	f, err := g.FS.OpenReadWrite(l.name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err := overwrite(f, synced, attempted); err != nil {
		return firstOf(err, f.Close())
	}
	return f.Close()
}

// overwrite zeroes f from synced to attempted, without making it longer.
func overwrite(f vfs.File, synced, attempted int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if n := min(attempted, info.Size()) - synced; n > 0 {
		if _, err := f.WriteAt(make([]byte, n), synced); err != nil {
			return err
		}
	}
	return f.Sync()
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
