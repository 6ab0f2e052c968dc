package erasable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// Names within the directory.
const (
	RootFile = "keys.root"
	TreeFile = "keys.tree"
)

// An opening gathers what Open has acquired, so that a failure gives it back.
type opening struct {
	fs     FS
	dir    string
	lock   io.Closer
	roots  roots
	tree   File
	pager  *pager
	space  space
	damage []error
}

// run takes the lock, finds the state to serve, checks it, and only then wipes
// the other slot.
func (o *opening) run(opt Options) error {
	var err error
	if o.lock, err = o.fs.Lock(o.dir); err != nil {
		return err
	}
	o.roots = roots{path: filepath.Join(o.dir, RootFile), wrap: opt.Wrap}
	if err := o.files(); err != nil {
		return err
	}
	if err := o.roots.choose(); err != nil {
		return err
	}
	o.pager = &pager{
		file: o.tree, path: filepath.Join(o.dir, TreeFile),
		id: o.roots.now.id, cache: newCache(opt.CacheBytes),
	}
	if err := o.survey(); err != nil {
		return err
	}
	// Also where both files were there: the Open that created them may have
	// failed before their names were durable.
	if err := o.fs.SyncDir(o.dir); err != nil {
		return err
	}
	return o.roots.settle()
}

func (o *opening) close() error {
	var errs []error
	if o.tree != nil {
		errs = append(errs, o.tree.Close())
	}
	if o.roots.file != nil {
		errs = append(errs, o.roots.file.Close())
	}
	if o.lock != nil {
		errs = append(errs, o.lock.Close())
	}
	return errors.Join(errs...)
}

// files opens both files. They are created, root first, only where neither is
// there, or where that was begun and not finished.
func (o *opening) files() error {
	var err error
	if o.roots.file, err = o.existing(RootFile); err != nil {
		return err
	}
	if o.tree, err = o.existing(TreeFile); err != nil {
		return err
	}
	switch {
	case o.roots.file != nil && o.tree != nil:
		return nil
	case o.tree != nil:
		return fmt.Errorf("%s: %w", o.roots.path, ErrNoRoot)
	case o.roots.file != nil:
		return o.finish()
	}
	if o.roots.file, err = o.fs.Create(o.roots.path); err != nil {
		return err
	}
	return o.create()
}

// existing opens a file; an absent one is nil.
func (o *opening) existing(name string) (File, error) {
	f, err := o.fs.Open(filepath.Join(o.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

func (o *opening) finish() error {
	begun, err := o.roots.unfinished()
	if err != nil {
		return err
	}
	if !begun {
		return fmt.Errorf("%s is missing: %w", filepath.Join(o.dir, TreeFile), ErrDamaged)
	}
	return o.create()
}

// create makes keys.root durable before keys.tree exists, so that a tree
// without a root is always a loss and never a beginning.
func (o *opening) create() error {
	if err := o.roots.create(); err != nil {
		return err
	}
	if err := o.fs.SyncDir(o.dir); err != nil {
		return err
	}
	var err error
	if o.tree, err = o.fs.Create(filepath.Join(o.dir, TreeFile)); err != nil {
		return err
	}
	return o.tree.Sync()
}

// survey walks the tree to find the pages in use. Damage below the topmost node
// does not keep the rest from being served; but then no page is used again, as
// it may belong to what a restored page would bring back, and where the other
// slot is valid, too, a person should look before it is wiped.
func (o *opening) survey() error {
	size, err := o.tree.Size()
	if err != nil {
		return fmt.Errorf("size of %s: %w", o.pager.path, err)
	}
	o.space.grow(uint64(size+pageSize-1) / pageSize)
	root := o.roots.now.root
	if root.kind == kindNone {
		return nil
	}
	top, err := o.pager.get(root)
	if err != nil {
		return err
	}
	o.pager.cache.unpin(top)
	o.visit(root)
	o.space.frozen = len(o.damage) > 0
	if o.roots.both && o.space.frozen {
		return errors.Join(o.damage...)
	}
	return nil
}

func (o *opening) visit(r ref) {
	if !o.space.claim(r.page) {
		o.damage = append(o.damage, o.pager.damaged(r.page))
		return
	}
	if r.kind == kindLeaf {
		return // nothing below
	}
	c, err := o.pager.get(r)
	if err != nil {
		o.damage = append(o.damage, err)
		return
	}
	defer o.pager.cache.unpin(c)
	for i := range c.n {
		e := c.at(i)
		switch {
		case c.kind == kindInner:
			o.visit(e.child())
		case e.tag == tagLarge:
			o.visitChunks(e)
		}
	}
}

func (o *opening) visitChunks(e entry) {
	n, first := e.large()
	err := o.pager.eachChunk(first, n, func(r ref, _ []byte) error {
		if !o.space.claim(r.page) {
			return o.pager.damaged(r.page)
		}
		return nil
	})
	if err != nil {
		o.damage = append(o.damage, err)
	}
}
