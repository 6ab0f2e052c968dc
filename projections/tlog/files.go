package tlog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Files are the file operations of a Log. OS is the one for use.
type Files interface {
	// Replace makes name hold data, durably: all of it or, after a crash, what was
	// there before. It makes missing directories.
	Replace(name string, data []byte) error
	// Read reports fs.ErrNotExist where there is no such file.
	Read(name string) ([]byte, error)
	// Remove removes a file or a whole directory; what is not there is removed.
	Remove(name string) error
}

// OS works on the operating system's files.
type OS struct{}

// Read implements Files.
func (OS) Read(name string) ([]byte, error) { return os.ReadFile(name) } //nolint:gosec // a name of this package's making

// Remove implements Files.
func (OS) Remove(name string) error { return os.RemoveAll(name) }

// Replace implements Files. The rename is the commit point.
func (o OS) Replace(name string, data []byte) error {
	dir := filepath.Dir(name)
	if err := o.mkdir(dir); err != nil {
		return err
	}
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // as Read
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		return err
	}
	return syncDir(dir)
}

// mkdir makes a directory and those above it, and syncs where each one is named.
func (o OS) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	switch {
	case err == nil:
		return syncDir(filepath.Dir(dir))
	case errors.Is(err, fs.ErrExist):
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := o.mkdir(filepath.Dir(dir)); err != nil {
		return err
	}
	return o.mkdir(dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir) //nolint:gosec // as Read
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
