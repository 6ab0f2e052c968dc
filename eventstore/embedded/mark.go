package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The mark is a file beside the engine's that says how far the log reached:
//
//	u64 position ‖ u32 CRC-32C of it
//
// Pebble takes damage at the end of its manifest for a write that was cut short
// and opens an older state without a word. A log that ends before its mark tells.
// The mark is written after memtables were flushed and when the store is opened
// and closed; in between the write-ahead log has its own checks.
const markFile = "position.mark"

func encodeMark(position uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, position)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

var errMark = errors.New("malformed mark")

func parseMark(b []byte) (uint64, error) {
	if len(b) != 12 || string(encodeMark(binary.BigEndian.Uint64(b))) != string(b) {
		return 0, errMark
	}
	return binary.BigEndian.Uint64(b), nil
}

// readMark returns the marked position, 0 where there is no mark yet.
func (s *Store) readMark() (_ uint64, err error) {
	name := s.guard.PathJoin(s.dir, markFile)
	f, err := s.guard.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, unavailable(err)
	}
	defer func() { err = firstOf(err, f.Close()) }()
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, unavailable(err)
	}
	position, err := parseMark(b)
	if err != nil {
		return 0, damaged(name, "the mark")
	}
	return position, nil
}

// checkMark asks that the log, which ends at last, reaches its mark.
func (s *Store) checkMark(last uint64) error {
	marked, err := s.readMark()
	if err != nil {
		return err
	}
	if last < marked {
		return damaged(s.dir, fmt.Sprintf("log ends at position %d and reached %d: the end", last, marked))
	}
	return nil
}

// writeMark replaces the mark, whole or not at all.
func (s *Store) writeMark(position uint64) error {
	name := s.guard.PathJoin(s.dir, markFile)
	f, err := s.guard.Create(name+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(encodeMark(position))
	if err := firstOf(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return s.guard.Rename(name+".new", name)
}

// noteMark is writeMark for when the store works without it, too.
func (s *Store) noteMark() {
	if err := s.writeMark(s.end()); err != nil {
		s.opt.Logf("store: write the mark: %v", err)
	}
}
