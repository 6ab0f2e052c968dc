package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/lethe-ledger/lethe/domain"
)

// A journalFile is the copy of the journal outside of the data directory, one
// line after the other. It belongs to its Journal, under that one's lock.
type journalFile struct {
	path   string
	f      *os.File
	lines  [][]byte // as found; nil once taken
	have   uint64   // lines on disk
	hashes []domain.JournalHash
	// apart: the file says otherwise than the log, and is not written to.
	apart bool
}

// openJournalFile reads the file, or makes it. What a crash left behind the last
// newline was never acknowledged and is cut off.
func openJournalFile(path string) (*journalFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the journal's folder: %w", err)
	}
	j := &journalFile{path: path}
	return j, j.open()
}

func (j *journalFile) open() (err error) {
	if j.f, err = os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("opening the erasure journal: %w", err)
	}
	if err := j.read(); err != nil {
		return errors.Join(err, j.f.Close())
	}
	return nil
}

// reread begins anew with what the file holds now.
func (j *journalFile) reread() error {
	if err := j.f.Close(); err != nil {
		return fmt.Errorf("opening the erasure journal anew: %w", err)
	}
	j.hashes, j.apart = nil, false
	return j.open()
}

// replace puts other lines in the file's place, whose hashes are known already. The
// file stays beside them, named after the last line of it.
func (j *journalFile) replace(lines [][]byte, last string) error {
	var all []byte
	for _, raw := range lines {
		all = append(append(all, raw...), '\n')
	}
	next := j.path + ".next"
	if err := writeSynced(next, all); err != nil {
		return fmt.Errorf("writing the erasure journal anew: %w", err)
	}
	if err := errors.Join(os.Rename(j.path, j.path+".forked-"+last[:16]), os.Rename(next, j.path), j.f.Close()); err != nil {
		return fmt.Errorf("writing the erasure journal anew: %w", err)
	}
	j.apart = false
	if err := j.open(); err != nil {
		return err
	}
	j.lines = nil
	return nil
}

func writeSynced(path string, all []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(all)
	return errors.Join(err, f.Sync(), f.Close())
}

func (j *journalFile) read() error {
	all, err := io.ReadAll(j.f)
	if err != nil {
		return fmt.Errorf("reading the erasure journal: %w", err)
	}
	whole := bytes.LastIndexByte(all, '\n') + 1
	if err := j.f.Truncate(int64(whole)); err != nil {
		return fmt.Errorf("cutting an unfinished line off the erasure journal: %w", err)
	}
	if _, err := j.f.Seek(int64(whole), io.SeekStart); err != nil {
		return fmt.Errorf("reading the erasure journal: %w", err)
	}
	j.lines = nil
	if whole > 0 {
		j.lines = bytes.Split(all[:whole-1], []byte{'\n'})
	}
	j.have = uint64(len(j.lines))
	return syncFolder(j.path)
}

// syncFolder makes the file's name durable.
func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("opening the journal's folder: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (j *journalFile) takeLines() [][]byte {
	lines := j.lines
	j.lines = nil
	return lines
}

// append makes line seq durable; a line that is there already stays, and nothing is
// written to a file that is apart.
func (j *journalFile) append(seq uint64, raw []byte) error {
	if seq >= j.have && !j.apart {
		if _, err := j.f.Write(append(bytes.Clone(raw), '\n')); err != nil {
			return fmt.Errorf("writing journal line %d: %w", seq, err)
		}
		if err := j.f.Sync(); err != nil {
			return fmt.Errorf("writing journal line %d: %w", seq, err)
		}
		j.have = seq + 1
	}
	j.hashes = append(j.hashes, domain.HashJournalLine(raw))
	return nil
}

func (j *journalFile) close() error { return j.f.Close() }
