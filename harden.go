package lethe

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// HardenProcess keeps memory off the disk: no core file is written, whatever
// kills the process, and no other process of the same user may read its memory.
// It is called before anything listens.
func HardenProcess() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core files: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding core files: %w", err)
	}
	return nil
}
