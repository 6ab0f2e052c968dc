package embedded

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A logFile is a file of the write-ahead log, or the store's directory. Its first
// failure freezes the guard; a frozen guard's log files succeed in doing nothing.
type logFile struct {
	vfs.File
	guard *guard
	name  string
	isDir bool // synced for tables as well, at any time

	// Set by the engine's log writer, which writes and syncs one at a time.
	written   int64
	attempted atomic.Int64
	synced    atomic.Int64
}

// swallow freezes the guard at an error and hides it, once the store is open.
func (f *logFile) swallow(err error) error {
	if err == nil {
		return nil
	}
	if !f.guard.armed.Load() {
		return err
	}
	f.guard.note(err, !f.isDir)
	return nil
}

// Write implements vfs.File.
func (f *logFile) Write(p []byte) (int, error) {
	if f.guard.failure() != nil {
		return len(p), nil
	}
	f.attempted.Store(f.written + int64(len(p)))
	n, err := f.File.Write(p)
	f.written += int64(n)
	if err = f.swallow(err); err != nil {
		return n, err
	}
	return len(p), nil
}

// Sync implements vfs.File.
func (f *logFile) Sync() error { return f.sync(f.File.Sync) }

// SyncData implements vfs.File.
func (f *logFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *logFile) sync(sync func() error) error {
	if f.guard.failure() != nil {
		return nil
	}
	err := sync()
	if err == nil {
		f.synced.Store(f.written)
	}
	return f.swallow(err)
}

// SyncTo implements vfs.File. It promises nothing, so it moves no mark.
func (f *logFile) SyncTo(length int64) (bool, error) {
	if f.guard.failure() != nil {
		return true, nil
	}
	full, err := f.File.SyncTo(length)
	return full, f.swallow(err)
}

// Preallocate implements vfs.File. It only makes syncs cheaper; a disk without
// room answers at the next write.
func (f *logFile) Preallocate(offset, length int64) error {
	if f.guard.failure() == nil {
		_ = f.File.Preallocate(offset, length)
	}
	return nil
}

// Close implements vfs.File.
func (f *logFile) Close() error { return f.swallow(f.File.Close()) }

// A dataFile is any other file that is written: a frozen guard refuses it.
type dataFile struct {
	vfs.File
	guard *guard
}

// Write implements vfs.File.
func (f *dataFile) Write(p []byte) (int, error) {
	if err := f.guard.refuse(); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	return n, slowly(err)
}

// Sync implements vfs.File.
func (f *dataFile) Sync() error {
	if err := f.guard.refuse(); err != nil {
		return err
	}
	return slowly(f.File.Sync())
}

// SyncData implements vfs.File.
func (f *dataFile) SyncData() error {
	if err := f.guard.refuse(); err != nil {
		return err
	}
	return slowly(f.File.SyncData())
}
