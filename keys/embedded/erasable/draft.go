package erasable

import (
	"bytes"
	"slices"
)

const (
	nodeRoom  = plainSize - nodeHeader - 2 // for entries, each with its offset
	splitFill = nodeRoom * 9 / 10          // aim of each part of a split
	smallNode = nodeRoom / 4               // below, a neighbour takes the node in
)

// A draft is an inner node or leaf in the making: it has no page and no key
// yet. Its first entry's key, in an inner node, is its sep.
type draft struct {
	inner bool
	sep   []byte // lower bound of all keys below, above all keys before
	es    []entry
	size  int
}

func newDraft(inner bool, sep []byte, es []entry) *draft {
	d := &draft{inner: inner, sep: sep, es: es}
	for _, e := range es {
		d.size += e.size()
	}
	if inner {
		d.size += len(sep) - len(es[0].key)
		es[0].key = sep
	}
	return d
}

func (d *draft) kind() nodeKind {
	if d.inner {
		return kindInner
	}
	for _, e := range d.es {
		if e.tag == tagLarge {
			return kindLeafLarge
		}
	}
	return kindLeaf
}

// cut makes of entries the fewest drafts that hold them, about equally full.
// The first begins at sep. No entries make no draft.
func cut(inner bool, sep []byte, es []entry) []*draft {
	if len(es) == 0 {
		return nil
	}
	d := newDraft(inner, sep, es)
	if d.size <= nodeRoom {
		return []*draft{d}
	}
	parts := (d.size + splitFill - 1) / splitFill
	aim := d.size / parts
	var ds []*draft
	from, size := 0, 0
	for i, e := range es {
		if i > from && (size >= aim || size+e.size() > nodeRoom) {
			ds = append(ds, newDraft(inner, sep, es[from:i:i]))
			sep, from, size = bound(inner, es[i-1].key, e.key), i, 0
		}
		size += e.size()
	}
	return append(ds, newDraft(inner, sep, es[from:]))
}

// bound returns a key above before and not above first: in a leaf the shortest
// prefix of first that will do.
func bound(inner bool, before, first []byte) []byte {
	if inner {
		return bytes.Clone(first)
	}
	n := 0
	for n < len(before) && before[n] == first[n] {
		n++
	}
	return bytes.Clone(first[:n+1])
}

// A kid is a child of the inner node in the making: a draft, or a node that
// stays as it is.
type kid struct {
	sep []byte
	ref ref
	d   *draft
}

func (k kid) small() bool { return k.d != nil && k.d.size < smallNode }

func kidsOf(ds []*draft) []kid {
	ks := make([]kid, len(ds))
	for i, d := range ds {
		ks[i] = kid{sep: d.sep, d: d}
	}
	return ks
}

// join puts every small draft together with a neighbour, where load can read
// it; a damaged neighbour is left alone, so that it harms none but itself.
func join(ks []kid, load func(kid) (*draft, error)) []kid {
	for i := 0; i < len(ks) && len(ks) > 1; i++ {
		if !ks[i].small() {
			continue
		}
		at := max(i-1, 0)
		pair := ks[at : at+2]
		if !loaded(pair, load) {
			continue
		}
		es := slices.Concat(pair[0].d.es, pair[1].d.es)
		ds := kidsOf(cut(pair[0].d.inner, pair[0].sep, es))
		ks = slices.Replace(ks, at, at+2, ds...)
		if i = at + 1; len(ds) == 1 {
			i = at - 1 // it may still be small
		}
	}
	return ks
}

// loaded makes drafts of both kids of a pair.
func loaded(pair []kid, load func(kid) (*draft, error)) bool {
	for i, k := range pair {
		if k.d != nil {
			continue
		}
		d, err := load(k)
		if err != nil {
			return false
		}
		pair[i].d = d
	}
	return true
}
