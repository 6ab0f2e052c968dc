package tlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"filippo.io/torchwood"
	merkle "golang.org/x/mod/sumdb/tlog"

	"github.com/lethe-ledger/lethe/domain"
)

// A Log appends leaf entries to the bundles in one directory. One process writes
// it at a time. It is safe for concurrent use.
type Log struct {
	dir        string
	files      Files
	checkpoint domain.Stream

	mu   sync.Mutex
	head head
	tail []byte // the entries of the last bundle, unless it is full
}

// Open opens the leaves of ledger in dir. files is OS{}, save in tests of faults.
func Open(dir string, ledger domain.LedgerID, files Files) (*Log, error) {
	l := &Log{dir: dir, files: files, checkpoint: domain.StreamsOf(ledger).Checkpoint()}
	return l, l.Reload(context.Background())
}

// Size is how many leaves the head covers.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head.Size
}

// Last says which event the log has reached.
func (l *Log) Last() (domain.Position, domain.EventID, domain.Stream, domain.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head.Position, l.head.Event, l.head.Stream, l.head.Revision
}

// Reload reads head and last bundle back. Entries behind the head were written
// by a process that ended before it could say so; they are written again.
func (l *Log) Reload(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := l.readHead()
	if err != nil {
		return err
	}
	tail, err := l.bundle(h.Size/torchwood.TileWidth, int(h.Size%torchwood.TileWidth))
	if err != nil {
		return err
	}
	l.head, l.tail = h, tail
	return nil
}

// entrySize is a leaf with its length before it.
const entrySize = 2 + LeafSize

// path is where bundle n with w entries stands; a full one has no width in it.
func (l *Log) path(n int64, w int) string {
	return filepath.Join(l.dir, filepath.FromSlash(torchwood.TilePath(merkle.Tile{H: torchwood.TileHeight, L: -1, N: n, W: w})))
}

// bundle reads the first w entries of bundle n. Where the partial one is gone,
// the full one stands for it.
func (l *Log) bundle(n int64, w int) ([]byte, error) {
	if w == 0 {
		return nil, nil
	}
	b, err := l.files.Read(l.path(n, w))
	if errors.Is(err, fs.ErrNotExist) {
		b, err = l.files.Read(l.path(n, torchwood.TileWidth))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("bundle %d of %d entries is missing: %w", n, w, ErrDamaged)
	case err != nil:
		return nil, fmt.Errorf("reading bundle %d: %w: %w", n, domain.ErrUnavailable, err)
	case len(b) < w*entrySize || len(b)%entrySize != 0:
		return nil, fmt.Errorf("bundle %d has %d bytes: %w", n, len(b), ErrDamaged)
	}
	return b[:w*entrySize], nil
}

// Append writes the leaves of events and then the head. A written head is the
// point from which they count.
func (l *Log) Append(ctx context.Context, events []domain.Recorded) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(events) == 0 {
		return nil
	}
	if err := l.alone(); err != nil {
		return err
	}
	next, tail := l.head, append([]byte(nil), l.tail...)
	for i := range events {
		if !l.covers(&events[i]) {
			continue
		}
		leaf := LeafOf(events[i].Sealed)
		var err error
		if tail, err = torchwood.AppendTileEntry(tail, leaf[:]); err != nil {
			return fmt.Errorf("leaf %d: %w", next.Size, err)
		}
		if next.Size++; next.Size%torchwood.TileWidth == 0 {
			if err := l.write(ctx, next.Size, tail); err != nil {
				return err
			}
			tail = tail[:0]
		}
	}
	if len(tail) > 0 && next.Size != l.head.Size {
		if err := l.write(ctx, next.Size, tail); err != nil {
			return err
		}
	}
	e := &events[len(events)-1]
	next.Position, next.Event, next.Stream, next.Revision = e.Position, e.ID(), e.Stream(), e.Revision
	if err := l.writeHead(next); err != nil {
		return err
	}
	old := l.head
	l.head, l.tail = next, tail
	return l.tidy(old.Size, next.Size)
}

// alone reports ErrActive if the stored head is not the one last read or moved.
func (l *Log) alone() error {
	h, err := l.readHead()
	if err != nil {
		return err
	}
	if h != l.head {
		return fmt.Errorf("head of %d leaves, expected %d: %w", h.Size, l.head.Size, ErrActive)
	}
	return nil
}

func (l *Log) covers(e *domain.Recorded) bool {
	return e.Type().Ours() && e.Stream() != l.checkpoint
}

// write stores the bundle that ends with leaf size-1.
func (l *Log) write(ctx context.Context, size int64, entries []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n := (size - 1) / torchwood.TileWidth
	name := l.path(n, len(entries)/entrySize)
	if err := l.files.Replace(name, entries); err != nil {
		return fmt.Errorf("writing bundle %d: %w: %w", n, domain.ErrUnavailable, err)
	}
	return nil
}

// tidy removes the partial bundle that the head no longer needs.
func (l *Log) tidy(old, size int64) error {
	w := int(old % torchwood.TileWidth)
	if w == 0 || old == size {
		return nil
	}
	name := l.path(old/torchwood.TileWidth, w)
	if size/torchwood.TileWidth > old/torchwood.TileWidth {
		name = filepath.Dir(name) // the bundle is full: all of its partial ones
	}
	if err := l.files.Remove(name); err != nil {
		return fmt.Errorf("removing a partial bundle: %w: %w", domain.ErrUnavailable, err)
	}
	return nil
}
