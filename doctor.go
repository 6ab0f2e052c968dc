package lethe

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Magic numbers of file systems that keep old blocks where overwriting does not
// reach (statfs(2)).
const (
	btrfsMagic    = 0x9123683E
	zfsMagic      = 0x2FC12FC1
	bcachefsMagic = 0xCA451A4E
	overlayMagic  = 0x794C7630
	tmpfsMagic    = 0x01021994
)

// examine looks at where the data lies.
func (l *Lethe) examine(add func(level, subject, message string)) {
	for _, dir := range []string{l.cfg.Data, filepath.Dir(l.cfg.Journal.Path)} {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			add("error", "disk", fmt.Sprintf("%s cannot be examined: %v.", dir, err))
			continue
		}
		if word := copyOnWrite(int64(fs.Type)); word != "" { //nolint:unconvert // its type differs between machines
			add("warning", "disk", fmt.Sprintf("%s lies on %s, which keeps old blocks: a destroyed root key may be found in its snapshots or free space. Use ext4 or XFS without data journalling on a disk that erases.", dir, word))
		}
	}
	if inside(l.cfg.Data, l.cfg.Journal.Path) {
		add("warning", "journal", "The erasure journal lies in the data directory: whoever restores that directory restores the journal with it, and erased data comes back unseen. Move it with journal.path.")
	}
	add("note", "disk", "An SSD may keep remapped cells, and any snapshot or backup of the keys made before an erasure still opens what was erased until the backup is gone.")
}

func copyOnWrite(magic int64) string {
	switch magic {
	case btrfsMagic:
		return "btrfs"
	case zfsMagic:
		return "ZFS"
	case bcachefsMagic:
		return "bcachefs"
	case overlayMagic:
		return "an overlay"
	case tmpfsMagic:
		return "memory (tmpfs); it is gone with a restart"
	}
	return ""
}

func inside(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && !strings.HasPrefix(rel, "..")
}
