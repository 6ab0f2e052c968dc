package erasable

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Options of Open. The zero value is the operating system's files, a root that
// stands bare in keys.root, and a cache of 64 MiB.
type Options struct {
	// FS is where the files are; nil is OS.
	FS FS
	// Wrap, 32 bytes, encrypts the root in keys.root; losing it loses the tree.
	// A root that stands bare is wrapped before Open returns. Open keeps a copy.
	// Open with nil on a wrapped root fails with ErrWrapped.
	Wrap []byte
	// CacheBytes bounds the decrypted nodes kept; 0 is 64 MiB. Nodes in use by
	// a transaction stay beyond it.
	CacheBytes int64
}

const defaultCache = 64 << 20

// A Tree is an open key tree. It is safe for concurrent use.
type Tree struct {
	o        opening // files, pager, space: the writer's, but for the pager
	requests chan *request
	stop     chan struct{} // closed by Close
	ended    chan struct{} // closed by the writer as it ends
	closing  sync.Once
	closeErr error
	views    sync.WaitGroup
	graves   []grave // the writer's

	mu      sync.Mutex // guards what follows
	current *version
	held    map[*version]struct{} // versions with readers
	closed  bool
	failure error // of a commit that failed half-way
	stats   Stats
}

// Open opens the key tree in dir, an existing directory, and creates it where
// there is none. It fails with ErrLocked, ErrNoRoot, ErrWrapped or ErrDamaged;
// then nothing was changed. Damage that leaves the topmost node readable does
// not fail Open: see Damage. The caller closes the Tree.
func Open(dir string, opt Options) (*Tree, error) {
	if opt.Wrap != nil && len(opt.Wrap) != len(nodeKey{}) {
		return nil, fmt.Errorf("open key tree %s: wrapping key is not %d bytes", dir, len(nodeKey{}))
	}
	opt.Wrap = append([]byte(nil), opt.Wrap...)
	if opt.FS == nil {
		opt.FS = OS{}
	}
	if opt.CacheBytes == 0 {
		opt.CacheBytes = defaultCache
	}
	t := &Tree{
		o:        opening{fs: opt.FS, dir: dir},
		requests: make(chan *request),
		stop:     make(chan struct{}),
		ended:    make(chan struct{}),
		held:     map[*version]struct{}{},
	}
	if err := t.start(opt); err != nil {
		return nil, errors.Join(fmt.Errorf("open key tree %s: %w", dir, err), t.o.close())
	}
	go t.write()
	return t, nil
}

func (t *Tree) start(opt Options) error {
	if err := t.o.run(opt); err != nil {
		return err
	}
	t.current = &version{seq: t.o.roots.now.seq, root: t.o.roots.now.root}
	t.stats.Pages, t.stats.Free = t.o.space.pages, t.o.space.free
	if opt.Wrap != nil && !t.o.roots.now.wrapped {
		return t.rewrite(nil)
	}
	return nil
}

// Close waits for running transactions, then releases files and lock. It
// refuses Updates that have not begun. It must not be called within one.
func (t *Tree) Close() error {
	t.closing.Do(func() {
		t.mu.Lock()
		t.closed = true
		t.mu.Unlock()
		close(t.stop)
		<-t.ended
		t.views.Wait()
		t.o.pager.cache.dropAll()
		clear(t.o.roots.wrap)
		clear(t.current.root.key[:])
		t.closeErr = t.o.close()
	})
	return t.closeErr
}

// View calls fn with the last acknowledged state, which stays the same until fn
// returns, whatever is committed meanwhile: also a key deleted meanwhile is
// still there for fn. So keep it short. Its error is returned as it is.
func (t *Tree) View(fn func(*Tx) error) error {
	v, err := t.hold()
	if err != nil {
		return err
	}
	defer t.letGo(v)
	tx := &Tx{p: t.o.pager, root: v.root}
	defer tx.end()
	return fn(tx)
}

func (t *Tree) hold() (*version, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	t.views.Add(1)
	v := t.current
	v.readers++
	t.held[v] = struct{}{}
	return v, nil
}

func (t *Tree) letGo(v *version) {
	defer t.views.Done()
	t.mu.Lock()
	defer t.mu.Unlock()
	if v.readers--; v.readers > 0 {
		return
	}
	delete(t.held, v)
	if v != t.current {
		clear(v.root.key[:])
	}
}

// oldest returns the earliest version that somebody can still read.
func (t *Tree) oldest() uint64 {
	seq := t.current.seq
	for v := range t.held {
		seq = min(seq, v.seq)
	}
	return seq
}

// Update calls fn, on the caller's goroutine, with the state after all Updates
// before it, and returns when its changes are durable and what they replaced is
// unreadable; all or none of them. Updates that wait together share a commit:
// three syncs for all of them. If fn fails, its own changes are dropped and its
// error is returned as it is; but where fn saw changes of others in the same
// commit, only once these are durable.
//
// ctx is heeded until fn begins. fn must not call Update, Rewrap or Close. A
// full disk is an error that leaves everything as it was. After ErrReopen it is
// unknown whether the changes were made.
func (t *Tree) Update(ctx context.Context, fn func(*Tx) error) error {
	return t.submit(ctx, newRequest(), fn)
}

// Rewrap wraps the root under another 32-byte key, nil for none, and writes the
// topmost node under a fresh key, so that the old wrapping key opens nothing
// that is written from now on.
func (t *Tree) Rewrap(ctx context.Context, wrap []byte) error {
	if wrap != nil && len(wrap) != len(nodeKey{}) {
		return fmt.Errorf("rewrap key tree: wrapping key is not %d bytes", len(nodeKey{}))
	}
	r := newRequest()
	r.rewrap, r.wrap = true, append([]byte(nil), wrap...)
	return t.submit(ctx, r, func(*Tx) error { return nil })
}

// Damage returns what Open could not read, naming file and page; nil if
// nothing. While there is damage keys.tree only grows.
func (t *Tree) Damage() error { return errors.Join(t.o.damage...) }

// Stats are counts since Open, and sizes.
type Stats struct {
	Seq     uint64 // of the current root; rises by one a commit
	Commits uint64
	Updates uint64 // acknowledged
	Pages   uint64 // 4096 bytes each: length of keys.tree
	Free    uint64 // pages that may be written again
	Waiting uint64 // pages that only older Views can reach
	Cached  int    // decrypted nodes held
	Hits    uint64 // of the cache
	Misses  uint64
	Damaged int // pages that Open could not read
	Failed  bool
}

// Stats returns counts and sizes as of the last commit.
func (t *Tree) Stats() Stats {
	t.mu.Lock()
	s := t.stats
	s.Seq, s.Failed = t.current.seq, t.failure != nil
	t.mu.Unlock()
	s.Cached, s.Hits, s.Misses = t.o.pager.cache.count()
	s.Damaged = len(t.o.damage)
	return s
}
