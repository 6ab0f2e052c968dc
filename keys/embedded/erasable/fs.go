package erasable

import "io"

// A File is one open file. WriteAt past the end grows it. An error of WriteAt,
// Sync or Datasync says nothing about how much was done.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Size returns the length in bytes.
	Size() (int64, error)
	// Sync makes contents and metadata durable (fsync).
	Sync() error
	// Datasync makes contents durable, and the length where it grew (fdatasync).
	Datasync() error
	Close() error
}

// An FS is the file system as far as a Tree uses it. Nothing is ever renamed,
// truncated or removed.
type FS interface {
	// Lock takes the directory for this Tree alone until the Closer is closed,
	// or fails with ErrLocked.
	Lock(dir string) (io.Closer, error)
	// Open opens an existing file for reading and writing; an absent one is
	// fs.ErrNotExist.
	Open(path string) (File, error)
	// Create makes a file that must not exist, readable by its owner alone.
	Create(path string) (File, error)
	// SyncDir makes the directory's entries durable.
	SyncDir(dir string) error
}
