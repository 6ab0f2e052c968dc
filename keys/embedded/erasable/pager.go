package erasable

import (
	"errors"
	"fmt"
	"io"
)

// A pager reads the nodes of keys.tree through a bounded cache. It is safe for
// concurrent use.
type pager struct {
	file  File
	path  string
	id    treeID
	cache *cache
}

// read fills raw, pageSize long, from r's page and decrypts it in place.
func (p *pager) read(raw []byte, r ref) ([]byte, error) {
	if r.page > maxPage {
		return nil, p.damaged(r.page)
	}
	n, err := p.file.ReadAt(raw, int64(r.page)*pageSize)
	if n < pageSize && (err == nil || errors.Is(err, io.EOF)) {
		return nil, p.damaged(r.page)
	}
	if n < pageSize {
		return nil, fmt.Errorf("read %s page %d: %w", p.path, r.page, err)
	}
	plain, err := openPage(raw, p.id, r.page, r.key)
	if err != nil {
		return nil, p.damaged(r.page)
	}
	return plain, nil
}

func (p *pager) damaged(page uint64) error {
	return fmt.Errorf("%s page %d: %w", p.path, page, ErrDamaged)
}

// get returns an inner node or leaf, pinned; the caller unpins it.
func (p *pager) get(r ref) (*cached, error) {
	if c := p.cache.get(r); c != nil {
		return c, nil
	}
	raw := p.cache.buffer()
	plain, err := p.read(raw[:pageSize], r)
	if err != nil {
		p.cache.recycle(raw)
		return nil, err
	}
	nd, err := parseNode(plain)
	if err != nil || nd.kind != r.kind {
		p.cache.recycle(raw)
		return nil, p.damaged(r.page)
	}
	return p.cache.put(r, nd), nil
}

// leaf returns the leaf under root in which key belongs, pinned.
func (p *pager) leaf(root ref, key []byte) (*cached, error) {
	c, err := p.get(root)
	for err == nil && c.kind == kindInner {
		next := c.at(c.route(key)).child()
		p.cache.unpin(c)
		c, err = p.get(next)
	}
	return c, err
}

// lookup returns key's value under root, which the caller owns, and whether
// there is one.
func (p *pager) lookup(root ref, key []byte) ([]byte, bool, error) {
	if root.kind == kindNone {
		return nil, false, nil
	}
	c, err := p.leaf(root, key)
	if err != nil {
		return nil, false, err
	}
	defer p.cache.unpin(c)
	i, ok := c.find(key)
	if !ok {
		return nil, false, nil
	}
	v, err := p.value(c.at(i))
	return v, err == nil, err
}

// has reports whether key has a value under root, without reading a large one.
func (p *pager) has(root ref, key []byte) (bool, error) {
	if root.kind == kindNone {
		return false, nil
	}
	c, err := p.leaf(root, key)
	if err != nil {
		return false, err
	}
	defer p.cache.unpin(c)
	_, ok := c.find(key)
	return ok, nil
}

// value returns a copy of a leaf entry's value.
func (p *pager) value(e entry) ([]byte, error) {
	if e.tag == tagLarge {
		return p.largeValue(e)
	}
	return append([]byte{}, e.rest...), nil
}
