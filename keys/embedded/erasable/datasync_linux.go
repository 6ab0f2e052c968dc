package erasable

import (
	"os"
	"syscall"
)

// Datasync is fdatasync.
func (f osFile) Datasync() error {
	err := uninterrupted(func() error { return syscall.Fdatasync(int(f.Fd())) })
	return os.NewSyscallError("fdatasync", err)
}
