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
	f      *os.File
	lines  [][]byte // as found; nil once taken
	have   uint64   // lines on disk
	hashes []domain.JournalHash
}

// openJournalFile reads the file, or makes it. What a crash left behind the last
// newline was never acknowledged and is cut off.
func openJournalFile(path string) (*journalFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the journal's folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the erasure journal: %w", err)
	}
	j := &journalFile{f: f}
	if err := j.read(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

func (j *journalFile) read(path string) error {
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
	if whole > 0 {
		j.lines = bytes.Split(all[:whole-1], []byte{'\n'})
	}
	j.have = uint64(len(j.lines))
	return syncFolder(path)
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

// append makes line seq durable; a line that is there already stays.
func (j *journalFile) append(seq uint64, raw []byte) error {
	if seq >= j.have {
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
