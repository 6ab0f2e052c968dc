package embedded

import (
	"encoding/binary"

	"github.com/lethe-ledger/lethe/domain"
)

// The first byte of a key says what it is.
const (
	kindIndex   = 'i'
	kindLog     = 'l'
	kindMeta    = 'm'
	kindNumber  = 'n'
	kindName    = 'N'
	kindPending = 'p'
	kindState   = 's'
)

const (
	logKeySize   = 1 + 8
	indexKeySize = 1 + 8 + 8
)

// A streamNumber stands for a stream's name inside the store; 0 is none.
type streamNumber uint64

func appendLogKey(b []byte, position uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, kindLog), position)
}

func logKey(position uint64) []byte { return appendLogKey(make([]byte, 0, logKeySize), position) }

// logKeyPosition reads a key that an iterator bounded to the log gave.
func logKeyPosition(key []byte) (uint64, bool) {
	if len(key) != logKeySize || key[0] != kindLog {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), true
}

func appendIndexKey(b []byte, n streamNumber, r domain.Revision) []byte {
	b = binary.BigEndian.AppendUint64(append(b, kindIndex), uint64(n))
	return binary.BigEndian.AppendUint64(b, uint64(r)) //nolint:gosec // revisions in the index are never negative
}

func indexKey(n streamNumber, r domain.Revision) []byte {
	return appendIndexKey(make([]byte, 0, indexKeySize), n, r)
}

// indexKeyRevision reads a key that an iterator bounded to one stream gave.
func indexKeyRevision(key []byte) (domain.Revision, bool) {
	if len(key) != indexKeySize || key[0] != kindIndex {
		return 0, false
	}
	r := domain.Revision(binary.BigEndian.Uint64(key[9:])) //nolint:gosec // checked below
	return r, r >= 0
}

func numbered(kind byte, n streamNumber) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 9), kind), uint64(n))
}

func nameKey(n streamNumber) []byte    { return numbered(kindName, n) }
func stateKey(n streamNumber) []byte   { return numbered(kindState, n) }
func pendingKey(n streamNumber) []byte { return numbered(kindPending, n) }

func keyNumber(key []byte) (streamNumber, bool) {
	if len(key) != 9 {
		return 0, false
	}
	return streamNumber(binary.BigEndian.Uint64(key[1:])), true
}

func numberKey(name domain.Stream) []byte {
	return append(append(make([]byte, 0, 1+len(name)), kindNumber), name...)
}

func formatKey() []byte { return []byte{kindMeta, 'f'} }
