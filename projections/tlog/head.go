package tlog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/lethe-ledger/lethe/domain"
)

// Errors of the log of leaves.
var (
	// ErrDamaged: stored entries or the head are not what was written.
	ErrDamaged = errors.New("log of leaves is damaged")
	// ErrActive: somebody else moved the head; nothing was covered.
	ErrActive = errors.New("another writer is active on the log of leaves")
	// ErrDiffers: the event log holds an event whose leaf is not among the stored
	// ones in its place.
	ErrDiffers = errors.New("event log and leaves differ")
)

// A head says how many leaves there are and which event was seen last. Sum is
// hex SHA-256 of the head's JSON with an empty sum.
type head struct {
	V        int             `json:"v"`
	Size     int64           `json:"size"`
	Position domain.Position `json:"position"`
	Event    domain.EventID  `json:"event"`
	Stream   domain.Stream   `json:"stream"`
	Revision domain.Revision `json:"revision"`
	Sum      string          `json:"sum"`
}

func (l *Log) headName() string { return filepath.Join(l.dir, "head.json") }

func (h head) encode() ([]byte, error) {
	h.V, h.Sum = 1, ""
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encoding the head: %w", err)
	}
	sum := sha256.Sum256(b)
	h.Sum = hex.EncodeToString(sum[:])
	if b, err = json.Marshal(h); err != nil {
		return nil, fmt.Errorf("encoding the head: %w", err)
	}
	return append(b, '\n'), nil
}

// readHead returns the zero head where none was ever written.
func (l *Log) readHead() (head, error) {
	b, err := l.files.Read(l.headName())
	if errors.Is(err, fs.ErrNotExist) {
		return head{}, nil
	}
	if err != nil {
		return head{}, fmt.Errorf("reading %s: %w: %w", l.headName(), domain.ErrUnavailable, err)
	}
	h := head{}
	if err := json.Unmarshal(b, &h); err != nil {
		return head{}, fmt.Errorf("%s: %w", l.headName(), ErrDamaged)
	}
	if want, err := h.encode(); err != nil || string(want) != string(b) {
		return head{}, fmt.Errorf("%s: %w", l.headName(), ErrDamaged)
	}
	h.V, h.Sum = 0, ""
	return h, nil
}

func (l *Log) writeHead(h head) error {
	b, err := h.encode()
	if err != nil {
		return err
	}
	if err := l.files.Replace(l.headName(), b); err != nil {
		return fmt.Errorf("writing %s: %w: %w", l.headName(), domain.ErrUnavailable, err)
	}
	return nil
}
