//go:build unix && !linux

package erasable

// Datasync is Sync where the system has nothing lighter.
func (f osFile) Datasync() error { return f.Sync() }
