package lethe

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore/outbox"
)

// A gapFile is DIR/gaps: the gaps that are owed. It has its room on the disk from
// the start and is written in place, so that a full disk takes it, however long a gap
// lasts: two slots, each a checksum, a number, a length and JSON, written in turn.
// The higher number that is whole counts. It belongs to one goroutine at a time.
type gapFile struct {
	file  *os.File
	seq   uint64
	debts []fileDebt
}

// A fileDebt is a gap that is owed. Nothing in it is about a person.
type fileDebt struct {
	outbox.Debt `json:"gap"`
	// Tried is the process that last tried to note it; zero if none did.
	Tried domain.WriterID `json:"tried,omitzero"`
}

// Sizes of the file: a slot holds as many gaps as an outbox does, of the longest
// names.
const (
	gapSlot   = 128 << 10
	gapHeader = sha256.Size + 8 + 4
	maxGaps   = 256
)

// errGapFile says that nothing can be read from either slot.
var errGapFile = errors.New("it is damaged: move it away once the gap was noted elsewhere; what it owed is not known any more")

// openGapFile opens the file of a data directory, which it makes if there is none.
func openGapFile(dir string) (*gapFile, error) {
	path := filepath.Join(dir, "gaps")
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeGapFile(dir, path); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	g := &gapFile{file: f}
	if err := g.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", path, err), f.Close())
	}
	return g, nil
}

// makeGapFile writes an empty file whole before it has its name.
func makeGapFile(dir, path string) error {
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 2*gapSlot))
	g := &gapFile{file: f}
	if err = errors.Join(err, g.save(nil), g.save(nil), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (g *gapFile) load() error {
	found := false
	slot := make([]byte, gapSlot)
	for i := range int64(2) {
		if _, err := g.file.ReadAt(slot, i*gapSlot); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(slot[gapHeader-4:])
		if n > gapSlot-gapHeader {
			continue
		}
		sum := sha256.Sum256(slot[sha256.Size : gapHeader+n])
		seq := binary.BigEndian.Uint64(slot[sha256.Size:])
		if !bytes.Equal(sum[:], slot[:sha256.Size]) || found && seq < g.seq {
			continue
		}
		var debts []fileDebt
		if err := json.Unmarshal(slot[gapHeader:gapHeader+n], &debts); err != nil {
			return err
		}
		g.seq, g.debts, found = seq, debts, true
	}
	if !found {
		return errGapFile
	}
	return nil
}

// save writes what is owed into the slot that does not count. COMMIT POINT of a gap
// that is owed.
func (g *gapFile) save(debts []fileDebt) error {
	body, err := json.Marshal(debts)
	if err != nil {
		return err
	}
	if len(debts) > maxGaps || len(body) > gapSlot-gapHeader {
		return fmt.Errorf("%d gaps are owed: %w", len(debts), outbox.ErrFull)
	}
	slot := make([]byte, gapHeader, gapHeader+len(body))
	binary.BigEndian.PutUint64(slot[sha256.Size:], g.seq+1)
	binary.BigEndian.PutUint32(slot[gapHeader-4:], uint32(len(body))) //nolint:gosec // below a slot
	slot = append(slot, body...)
	sum := sha256.Sum256(slot[sha256.Size:])
	copy(slot, sum[:])
	if _, err := g.file.WriteAt(slot, int64((g.seq+1)%2)*gapSlot); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(g.file.Fd())); err != nil {
		return err
	}
	g.seq, g.debts = g.seq+1, debts
	return nil
}

func (g *gapFile) known() (debts []outbox.Debt) {
	for _, d := range g.debts {
		debts = append(debts, d.Debt)
	}
	return debts
}

// put keeps a debt in place of what was kept under its id.
func (g *gapFile) put(d fileDebt) error {
	debts := slices.Clone(g.debts)
	if at := g.index(d.ID); at >= 0 {
		debts[at] = d
	} else {
		debts = append(debts, d)
	}
	if err := g.save(debts); err != nil {
		return fmt.Errorf("keeping a gap of pool %s: %w", d.Pool, err)
	}
	return nil
}

// forget takes a debt out, if it is there.
func (g *gapFile) forget(id domain.EventID) error {
	at := g.index(id)
	if at < 0 {
		return nil
	}
	if err := g.save(slices.Delete(slices.Clone(g.debts), at, at+1)); err != nil {
		return fmt.Errorf("forgetting a gap that is noted: %w", err)
	}
	return nil
}

func (g *gapFile) index(id domain.EventID) int {
	return slices.IndexFunc(g.debts, func(d fileDebt) bool { return d.ID == id })
}

func (g *gapFile) close() error { return g.file.Close() }
