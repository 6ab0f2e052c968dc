package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files are the few file operations by which generations come to serve. OS is
// the one for use.
type Files interface {
	// Replace writes a file beside, syncs it and renames it over name.
	Replace(name string, data []byte) error
	// Sync makes a file or a directory durable.
	Sync(name string) error
	Remove(name string) error
	Rename(from, to string) error
}

// OS works on the operating system's files.
type OS struct{}

// Replace implements Files.
func (o OS) Replace(name string, data []byte) error {
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	if err := o.Sync(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// Sync implements Files.
func (OS) Sync(name string) error {
	f, err := os.Open(name) //nolint:gosec // a name of this package's making
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Remove implements Files. What is not there is removed.
func (OS) Remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Rename implements Files.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// catalogue says which generation of each view serves.
type catalogue struct {
	V     int            `json:"v"`
	Views map[string]int `json:"views"`
}

func (e *Engine) catalogueName() string { return filepath.Join(e.dir, "catalogue.json") }

func (e *Engine) readCatalogue() (catalogue, error) {
	b, err := os.ReadFile(e.catalogueName())
	if errors.Is(err, fs.ErrNotExist) {
		return catalogue{V: 1, Views: map[string]int{}}, nil
	}
	if err != nil {
		return catalogue{}, fmt.Errorf("reading the catalogue of views: %w", unavailable(err))
	}
	c := catalogue{}
	if err := json.Unmarshal(b, &c); err != nil || c.V != 1 || c.Views == nil {
		return catalogue{}, fmt.Errorf("catalogue %s: %w", e.catalogueName(), ErrDamaged)
	}
	return c, nil
}

// writeCatalogue is the commit point of a swap: from its rename on, the generations that
// it names serve.
func (e *Engine) writeCatalogue(c catalogue) error {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encoding the catalogue of views: %w", err)
	}
	if err := e.files.Replace(e.catalogueName(), append(b, '\n')); err != nil {
		return fmt.Errorf("writing the catalogue of views: %w", unavailable(err))
	}
	if err := e.files.Sync(e.dir); err != nil {
		return fmt.Errorf("syncing %s: %w", e.dir, unavailable(err))
	}
	return nil
}
