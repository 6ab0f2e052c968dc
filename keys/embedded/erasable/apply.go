package erasable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// An op is one key's new fate; value nil deletes.
type op struct {
	key   []byte
	value []byte
}

// A rewrite makes one new version of the tree: new pages only, every changed
// node and all above it under fresh keys. Until commit the tree on disk is as
// before; drop undoes all of it.
type rewrite struct {
	p     *pager
	space *space
	out   output
	fresh map[uint64]bool // pages taken
	freed []uint64        // pages the new version does without
	// pins holds the nodes that drafts alias, in the order of descent.
	pins []*cached
}

func newRewrite(p *pager, s *space) *rewrite {
	return &rewrite{p: p, space: s, out: output{file: p.file, path: p.path}, fresh: map[uint64]bool{}}
}

// run applies ops, which ascend by key, and returns the new root, every page
// below it written, none of them durable yet. Without ops it writes the
// topmost node under a fresh key.
func (w *rewrite) run(root ref, ops []op) (ref, error) {
	defer func() { w.unpin(0) }()
	ds, err := w.top(root, ops)
	for err == nil && len(ds) > 1 {
		ks := kidsOf(ds)
		if err = w.seal(ks); err == nil {
			ds = cut(true, nil, entriesOf(ks))
		}
	}
	if err == nil && len(ds) == 1 {
		ds[0], err = w.collapse(ds[0])
	}
	if err != nil || len(ds) == 0 {
		return ref{}, err
	}
	top := kidsOf(ds)
	if err := w.seal(top); err != nil {
		return ref{}, err
	}
	return top[0].ref, w.out.flush()
}

func (w *rewrite) top(root ref, ops []op) ([]*draft, error) {
	if root.kind == kindNone {
		es, err := w.merge(nil, ops)
		return cut(false, nil, es), err
	}
	return w.apply(kid{ref: root}, ops)
}

// collapse goes down while the topmost node has but one child. The child is
// written anew, so that a root's key is always a fresh one. A child that cannot
// be read stays below: it harms none but itself.
func (w *rewrite) collapse(d *draft) (*draft, error) {
	for d.inner && len(d.es) == 1 {
		if err := w.out.flush(); err != nil {
			return nil, err
		}
		child, err := w.load(kid{ref: d.es[0].child()})
		if err != nil {
			return d, nil //nolint:nilerr // see above
		}
		d = child
	}
	return d, nil
}

// load makes a draft of a node, whose page the new version does without.
func (w *rewrite) load(k kid) (*draft, error) {
	c, err := w.p.get(k.ref)
	if err != nil {
		return nil, err
	}
	w.pins = append(w.pins, c)
	w.freed = append(w.freed, k.ref.page)
	return newDraft(c.kind == kindInner, k.sep, c.entries()), nil
}

// unpin ends the use of all nodes loaded since there were n.
func (w *rewrite) unpin(n int) {
	for _, c := range w.pins[n:] {
		w.p.cache.retire(c)
	}
	w.pins = w.pins[:n]
}

// apply returns what becomes of k under ops: none, one or several drafts.
func (w *rewrite) apply(k kid, ops []op) ([]*draft, error) {
	d, err := w.load(k)
	if err != nil {
		return nil, err
	}
	if !d.inner {
		es, err := w.merge(d.es, ops)
		return cut(false, k.sep, es), err
	}
	below := len(w.pins)
	ks, err := w.descend(d, ops)
	if err != nil {
		return nil, err
	}
	ks = join(ks, w.load)
	if err := w.seal(ks); err != nil {
		return nil, err
	}
	w.unpin(below)
	return cut(true, k.sep, entriesOf(ks)), nil
}

// descend applies to each child of d the ops that belong under it.
func (w *rewrite) descend(d *draft, ops []op) ([]kid, error) {
	var ks []kid
	for i, e := range d.es {
		n := len(ops)
		if i+1 < len(d.es) {
			n, _ = slices.BinarySearchFunc(ops, d.es[i+1].key, func(o op, k []byte) int { return bytes.Compare(o.key, k) })
		}
		k := kid{sep: e.key, ref: e.child()}
		if n == 0 {
			ks = append(ks, k)
			continue
		}
		ds, err := w.apply(k, ops[:n])
		if err != nil {
			return nil, err
		}
		ks, ops = append(ks, kidsOf(ds)...), ops[n:]
	}
	return ks, nil
}

// merge returns a leaf's entries after ops.
func (w *rewrite) merge(old []entry, ops []op) ([]entry, error) {
	es := make([]entry, 0, len(old)+len(ops))
	for _, o := range ops {
		n, found := slices.BinarySearchFunc(old, o.key, func(e entry, k []byte) int { return bytes.Compare(e.key, k) })
		es, old = append(es, old[:n]...), old[n:]
		if found {
			w.bury(old[0])
			old = old[1:]
		}
		if o.value == nil {
			continue
		}
		e, err := w.entry(o)
		if err != nil {
			return nil, err
		}
		es = append(es, e)
	}
	return append(es, old...), nil
}

// bury frees the chunks of a leaf entry that goes. The error is dropped on
// purpose: a damaged chunk must not keep anybody from deleting the value. What
// lies behind it cannot be found and stays taken until the next Open.
func (w *rewrite) bury(e entry) {
	if e.tag != tagLarge {
		return
	}
	n, first := e.large()
	_ = w.p.eachChunk(first, n, func(r ref, _ []byte) error {
		w.freed = append(w.freed, r.page)
		return nil
	})
}

// entry makes the leaf entry of a value, writing its chunks if it is large.
func (w *rewrite) entry(o op) (entry, error) {
	if len(o.key)+len(o.value) <= maxInline {
		return entry{tag: tagInline, key: o.key, rest: o.value}, nil
	}
	var next ref
	buf := make([]byte, plainSize)
	defer clear(buf)
	for i := chunks(len(o.value)) - 1; i >= 0; i-- {
		clear(buf)
		data := o.value[i*chunkData : min(len(o.value), (i+1)*chunkData)]
		encodeChunk(buf, chunk{next: next, data: data})
		r, err := w.write(buf, kindChunk)
		if err != nil {
			return entry{}, err
		}
		next = r
	}
	rest := binary.BigEndian.AppendUint32(make([]byte, 0, largeSize), uint32(len(o.value)))
	return entry{tag: tagLarge, key: o.key, rest: next.append(rest)}, nil
}

// seal writes every draft among ks and puts its ref in its place.
func (w *rewrite) seal(ks []kid) error {
	for i := range ks {
		d := ks[i].d
		if d == nil {
			continue
		}
		nd := encodeNode(w.p.cache.buffer()[:plainSize], d.kind(), d.es)
		r, err := w.write(nd.buf, nd.kind)
		if err != nil {
			w.p.cache.recycle(nd.buf)
			return err
		}
		w.p.cache.unpin(w.p.cache.put(r, nd))
		ks[i].ref, ks[i].d = r, nil
	}
	return nil
}

func entriesOf(ks []kid) []entry {
	es := make([]entry, len(ks))
	for i, k := range ks {
		es[i] = entry{tag: byte(k.ref.kind), key: k.sep, rest: k.ref.append(make([]byte, 0, refSize))}
	}
	return es
}

// write encrypts plain under a fresh key onto a page of its own.
func (w *rewrite) write(plain []byte, kind nodeKind) (ref, error) {
	r := ref{page: w.space.take(), kind: kind, key: freshKey()}
	w.fresh[r.page] = true
	if err := w.out.next(r.page); err != nil {
		return ref{}, err
	}
	w.out.buf = sealPage(w.out.buf, plain, w.p.id, r.page, r.key)
	return r, nil
}

// drop gives back all that run took. The tree is as before.
func (w *rewrite) drop() {
	pages := make([]uint64, 0, len(w.fresh))
	for page := range w.fresh {
		w.p.cache.drop(page)
		pages = append(pages, page)
	}
	w.space.release(pages)
}

// maxOutput is how many bytes of neighbouring pages are written at once.
const maxOutput = 1 << 20

// An output gathers neighbouring pages into one write.
type output struct {
	file File
	path string
	at   uint64 // page of the first byte of buf
	buf  []byte
}

// next makes page the one that is appended to buf now.
func (o *output) next(page uint64) error {
	if len(o.buf) > 0 && (o.at+uint64(len(o.buf)/pageSize) != page || len(o.buf) >= maxOutput) {
		if err := o.flush(); err != nil {
			return err
		}
	}
	if len(o.buf) == 0 {
		o.at = page
	}
	return nil
}

func (o *output) flush() error {
	if len(o.buf) == 0 {
		return nil
	}
	_, err := o.file.WriteAt(o.buf, int64(o.at)*pageSize)
	o.buf = o.buf[:0]
	if err != nil {
		return fmt.Errorf("write %s page %d: %w", o.path, o.at, err)
	}
	return nil
}
