package erasable

import (
	"context"
	"errors"
	"fmt"
	"maps"
)

const (
	maxGroup      = 4096    // Updates in one commit
	maxGroupBytes = 8 << 20 // of keys and values, beyond which none joins
)

// A request is one Update on its way: received by the writer, given its turn,
// run by the caller, answered.
type request struct {
	turn   chan turn  // writer to caller, once
	ran    chan error // caller to writer, once: the function's error
	done   chan error // writer to caller, once: the commit's error
	rewrap bool
	wrap   []byte
}

// A turn is a transaction to run, or why there is none.
type turn struct {
	tx  *Tx
	err error
}

// errPanicked tells the writer that the function did not return.
var errPanicked = errors.New("function did not return")

func newRequest() *request {
	return &request{turn: make(chan turn, 1), ran: make(chan error, 1), done: make(chan error, 1)}
}

func (t *Tree) submit(ctx context.Context, r *request, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case t.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-t.stop:
		return ErrClosed
	}
	turn := <-r.turn
	if turn.err != nil {
		return turn.err
	}
	fnErr := r.run(turn.tx, fn)
	if err := <-r.done; err != nil {
		return err
	}
	return fnErr
}

// run calls fn and tells the writer, also if fn panics.
func (r *request) run(tx *Tx, fn func(*Tx) error) (err error) {
	err = errPanicked
	defer func() {
		tx.end()
		r.ran <- err
	}()
	if err = fn(tx); err == nil {
		err = tx.err
	}
	return err
}

// A group is the Updates of one commit.
type group struct {
	changes map[string]op
	bytes   int
	waiting []*request
	rewrap  *request
}

// write is the writer's goroutine.
func (t *Tree) write() {
	defer close(t.ended)
	for {
		select {
		case r := <-t.requests:
			t.serve(r)
		case <-t.stop:
			return
		}
	}
}

// serve commits r together with all that are waiting to be received.
func (t *Tree) serve(r *request) {
	g := group{changes: map[string]op{}}
	for next := r; next != nil; next = t.another(&g) {
		t.admit(&g, next)
	}
	err := t.finish(&g)
	for _, r := range g.waiting {
		r.done <- err
	}
}

func (t *Tree) another(g *group) *request {
	if len(g.waiting) >= maxGroup || g.bytes >= maxGroupBytes || g.rewrap != nil {
		return nil
	}
	select {
	case r := <-t.requests:
		return r
	default:
		return nil
	}
}

// admit lets a request run on top of the group and, if it succeeds, adds its
// changes. One that failed waits as well if it may have seen changes of others.
func (t *Tree) admit(g *group, r *request) {
	if t.failure != nil { // written by this goroutine alone
		r.turn <- turn{err: t.failure}
		return
	}
	tx := &Tx{p: t.o.pager, root: t.current.root, group: g.changes, own: map[string]op{}}
	r.turn <- turn{tx: tx}
	if err := <-r.ran; err != nil {
		if len(g.changes) == 0 {
			r.done <- nil
			return
		}
		g.waiting = append(g.waiting, r)
		return
	}
	maps.Copy(g.changes, tx.own)
	g.bytes += tx.bytes
	g.waiting = append(g.waiting, r)
	if r.rewrap {
		g.rewrap = r
	}
}

func (t *Tree) finish(g *group) error {
	ops := ascending(g.changes)
	defer func() {
		for _, o := range ops {
			clear(o.value)
		}
	}()
	if g.rewrap == nil && len(ops) == 0 {
		return nil
	}
	old := t.o.roots.wrap
	if g.rewrap != nil {
		t.o.roots.wrap = g.rewrap.wrap
	}
	if err := t.rewrite(ops); err != nil {
		t.o.roots.wrap = old
		return fmt.Errorf("commit to key tree %s: %w", t.o.dir, err)
	}
	if g.rewrap != nil {
		clear(old)
	}
	t.mu.Lock()
	t.stats.Updates += uint64(len(g.waiting))
	t.mu.Unlock()
	return nil
}

// rewrite commits ops. Up to the tree's sync an error leaves everything as it
// was; from there on the Tree takes no more writes, because a sync that failed
// once may succeed the next time without having written.
func (t *Tree) rewrite(ops []op) error {
	w := newRewrite(t.o.pager, &t.o.space)
	now := t.o.roots.now
	root, err := w.run(now.root, ops)
	if err != nil {
		w.drop()
		return err
	}
	if root.kind == kindNone {
		root.key = freshKey()
	}
	if err := t.o.tree.Sync(); err != nil {
		return t.fail(fmt.Errorf("sync %s: %w", t.o.pager.path, err))
	}
	next := slot{seq: now.seq + 1, id: now.id, root: root, wrapped: t.o.roots.wrap != nil}
	if err := t.o.roots.commit(next); err != nil {
		return t.fail(err)
	}
	t.publish(next, w.freed)
	return nil
}

func (t *Tree) fail(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failure = fmt.Errorf("%w: %w", ErrReopen, err)
	return t.failure
}

// publish serves the new version and forgets what nobody can reach any more.
func (t *Tree) publish(s slot, freed []uint64) {
	t.mu.Lock()
	if t.current.readers == 0 {
		clear(t.current.root.key[:])
	}
	t.current = &version{seq: s.seq, root: s.root}
	oldest := t.oldest()
	t.mu.Unlock()

	left, pages := exhume(append(t.graves, grave{seq: s.seq, pages: freed}), oldest)
	t.graves = left
	for _, p := range pages {
		t.o.pager.cache.drop(p)
	}
	t.o.space.release(pages)

	var waiting uint64
	for _, g := range left {
		waiting += uint64(len(g.pages))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Commits++
	t.stats.Pages, t.stats.Free, t.stats.Waiting = t.o.space.pages, t.o.space.free, waiting
}
