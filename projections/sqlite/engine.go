package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
)

// ErrDamaged says that a file is not what was written. The remedy is to remove
// the views directory and rebuild.
var ErrDamaged = errors.New("view file is damaged")

// Engine keeps generations in one directory. It is safe for concurrent use.
type Engine struct {
	dir   string
	files Files
	// mu protects the catalogue and the choice of generation numbers.
	mu sync.Mutex
}

var _ projections.Engine = (*Engine)(nil)

// New makes an engine over dir, which it creates. files is OS{}, save in tests
// of faults.
func New(dir string, files Files) (*Engine, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of views: %w", unavailable(err))
	}
	return &Engine{dir: dir, files: files}, nil
}

func (e *Engine) path(view string, gen int) string {
	return filepath.Join(e.dir, fmt.Sprintf("%s.%d.db", view, gen))
}

// Open implements projections.Engine.
func (e *Engine) Open(ctx context.Context, view projections.View) (projections.Generation, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.readCatalogue()
	if err != nil {
		return nil, err
	}
	number, known := c.Views[view.Name()]
	if err := e.removeLeftovers(view.Name(), number); err != nil {
		return nil, err
	}
	if known {
		if _, err := os.Stat(e.path(view.Name(), number)); err != nil {
			return nil, fmt.Errorf("generation %d of view %s: %w: %w", number, view.Name(), ErrDamaged, err)
		}
		return openFile(ctx, e.path(view.Name(), number), number, serving, view)
	}
	return e.first(ctx, c, view)
}

// first makes generation 1 and names it in the catalogue.
func (e *Engine) first(ctx context.Context, c catalogue, view projections.View) (projections.Generation, error) {
	g, err := openFile(ctx, e.path(view.Name(), 1), 1, serving, view)
	if err != nil {
		return nil, err
	}
	c.Views[view.Name()] = 1
	if err := e.writeCatalogue(c); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// Create implements projections.Engine.
func (e *Engine) Create(ctx context.Context, view projections.View) (projections.Generation, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.readCatalogue()
	if err != nil {
		return nil, err
	}
	numbers, err := e.numbers(view.Name())
	if err != nil {
		return nil, err
	}
	next := max(c.Views[view.Name()], slices.Max(append(numbers, 0))) + 1
	return openFile(ctx, e.path(view.Name(), next), next, building, view)
}

// Swap implements projections.Engine.
func (e *Engine) Swap(
	ctx context.Context, views map[string]projections.View, next map[string]projections.Generation,
) (map[string]projections.Generation, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.readCatalogue()
	if err != nil {
		return nil, err
	}
	for name, g := range next {
		if err := e.settle(name, g); err != nil {
			return nil, err
		}
		c.Views[name] = g.Number()
	}
	if err := e.files.Sync(e.dir); err != nil {
		return nil, fmt.Errorf("syncing %s: %w", e.dir, unavailable(err))
	}
	opened, err := e.reopen(ctx, views, next)
	if err != nil {
		return nil, err
	}
	if err := e.writeCatalogue(c); err != nil {
		return nil, errors.Join(err, closeAll(opened))
	}
	return opened, nil
}

// settle closes a generation that was built without a journal and makes it
// durable as a whole.
func (e *Engine) settle(view string, g projections.Generation) error {
	if err := g.Close(); err != nil {
		return fmt.Errorf("closing generation %d of view %s: %w", g.Number(), view, err)
	}
	if err := e.files.Sync(e.path(view, g.Number())); err != nil {
		return fmt.Errorf("syncing generation %d of view %s: %w", g.Number(), view, unavailable(err))
	}
	return nil
}

func (e *Engine) reopen(
	ctx context.Context, views map[string]projections.View, next map[string]projections.Generation,
) (map[string]projections.Generation, error) {
	opened := map[string]projections.Generation{}
	for name, g := range next {
		o, err := openFile(ctx, e.path(name, g.Number()), g.Number(), serving, views[name])
		if err != nil {
			return nil, errors.Join(err, closeAll(opened))
		}
		opened[name] = o
	}
	return opened, nil
}

func closeAll(gens map[string]projections.Generation) error {
	var errs []error
	for _, g := range gens {
		errs = append(errs, g.Close())
	}
	return errors.Join(errs...)
}

// Drop implements projections.Engine.
func (e *Engine) Drop(view string, g projections.Generation) error {
	return errors.Join(g.Close(), e.remove(e.path(view, g.Number())))
}

func (e *Engine) remove(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := e.files.Remove(path + suffix); err != nil {
			return fmt.Errorf("removing %s: %w", path+suffix, unavailable(err))
		}
	}
	return nil
}

// SetAside implements projections.Engine.
func (e *Engine) SetAside(view string, g projections.Generation) (string, error) {
	if err := g.Close(); err != nil {
		return "", fmt.Errorf("closing generation %d of view %s: %w", g.Number(), view, err)
	}
	from := e.path(view, g.Number())
	to := strings.TrimSuffix(from, ".db") + ".refused.db"
	if err := e.files.Rename(from, to); err != nil {
		return "", fmt.Errorf("setting %s aside: %w", from, unavailable(err))
	}
	return to, nil
}

var fileForm = regexp.MustCompile(`^([a-z]+)\.(\d+)\.(refused\.)?db(-wal|-shm|-journal)?$`)

// each calls f with every file of a view.
func (e *Engine) each(view string, f func(path string, number int, refused bool) error) error {
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		return fmt.Errorf("reading the directory of views: %w", unavailable(err))
	}
	for _, entry := range entries {
		m := fileForm.FindStringSubmatch(entry.Name())
		if m == nil || m[1] != view {
			continue
		}
		n, err := strconv.Atoi(m[2])
		if err != nil {
			continue
		}
		if err := f(filepath.Join(e.dir, entry.Name()), n, m[3] != ""); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) numbers(view string) (list []int, err error) {
	err = e.each(view, func(_ string, n int, _ bool) error { list = append(list, n); return nil })
	return list, err
}

// removeLeftovers removes what was being built when a process ended. What was
// refused stays for whoever looks into it.
func (e *Engine) removeLeftovers(view string, serves int) error {
	return e.each(view, func(path string, n int, refused bool) error {
		if n == serves || refused {
			return nil
		}
		if err := e.files.Remove(path); err != nil {
			return fmt.Errorf("removing %s: %w", path, unavailable(err))
		}
		return nil
	})
}

// Export makes a file of its own for a replay, with all views in it. A file that
// exists is refused.
func Export(ctx context.Context, path string, views []projections.View) (projections.Generation, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator's own choice
	if err != nil {
		return nil, fmt.Errorf("replay file: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("replay file: %w", err)
	}
	return openFile(ctx, path, 1, building, views...)
}

// unavailable marks an error of the file system as an outage.
func unavailable(err error) error { return fmt.Errorf("%w: %w", domain.ErrUnavailable, err) }
