package erasable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sort"
)

// A nodeKind says what a page holds. A parent notes the kind of each child, so
// that leaves without large values need not be read to find the used pages.
type nodeKind byte

const (
	kindNone      nodeKind = 0
	kindInner     nodeKind = 1
	kindLeaf      nodeKind = 2 // every value stands in the leaf
	kindLeafLarge nodeKind = 3 // at least one value stands in a chain of pages
	kindChunk     nodeKind = 4 // a part of a large value
)

// A ref is all it takes to read a node: where it is, what, and its key.
type ref struct {
	page uint64
	kind nodeKind
	key  nodeKey
}

const refSize = 8 + 32

func (r ref) append(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, r.page), r.key[:]...)
}

// refOf reads what append wrote; b is at least refSize long.
func refOf(kind nodeKind, b []byte) ref {
	return ref{page: binary.BigEndian.Uint64(b), kind: kind, key: nodeKey(b[8:refSize])}
}

// An inner node or leaf, plainSize bytes, filled up with zeros:
//
//	0  kind, one zero byte
//	2  n: number of entries u16
//	4  n+1 offsets u16, ascending: of each entry, and of the end
//	…  entries: tag ‖ u16(len key) ‖ key ‖ rest
//
// Entries ascend by key. In an inner node the tag is the child's kind, the key
// a lower bound of all keys below, and the rest its ref. In a leaf the rest is
// the value (tag 0), or u32(length) ‖ ref of the first chunk (tag 1).
const (
	nodeHeader  = 4
	entryHeader = 3
	tagInline   = 0
	tagLarge    = 1
	largeSize   = 4 + refSize
)

// errNode: the plaintext is no node. It was authenticated, so this is a fault
// of the program, or a page under a key that its author chose.
var errNode = errors.New("not a node")

// An entry is a view into a node's plaintext, or one that will be encoded.
type entry struct {
	tag  byte
	key  []byte
	rest []byte
}

// size is what the entry takes in a node, its offset included.
func (e entry) size() int { return 2 + entryHeader + len(e.key) + len(e.rest) }

// child reads an inner entry.
func (e entry) child() ref { return refOf(nodeKind(e.tag), e.rest) }

// large reads a leaf entry of tagLarge: the length and the first chunk.
func (e entry) large() (int, ref) {
	return int(binary.BigEndian.Uint32(e.rest)), refOf(kindChunk, e.rest[4:])
}

// A node is a plaintext that parseNode has found sound.
type node struct {
	kind nodeKind
	n    int
	buf  []byte
}

// parseNode checks every offset, length and order once, so that reading the
// node afterwards cannot leave the buffer. It never panics.
func parseNode(b []byte) (node, error) {
	if len(b) != plainSize || b[1] != 0 {
		return node{}, errNode
	}
	nd := node{kind: nodeKind(b[0]), n: int(binary.BigEndian.Uint16(b[2:])), buf: b}
	if nd.kind < kindInner || nd.kind > kindLeafLarge || nd.n == 0 {
		return node{}, errNode
	}
	start := nodeHeader + 2*(nd.n+1)
	if start > len(b) || nd.offset(0) != start {
		return node{}, errNode
	}
	var last []byte
	for i := range nd.n {
		e, ok := nd.parseEntry(i)
		if !ok || (i > 0 && bytes.Compare(last, e.key) >= 0) {
			return node{}, errNode
		}
		last = e.key
	}
	return nd, nil
}

func (nd node) offset(i int) int {
	return int(binary.BigEndian.Uint16(nd.buf[nodeHeader+2*i:]))
}

func (nd node) parseEntry(i int) (entry, bool) {
	lo, hi := nd.offset(i), nd.offset(i+1)
	if hi > len(nd.buf) || hi-lo < entryHeader {
		return entry{}, false
	}
	klen := int(binary.BigEndian.Uint16(nd.buf[lo+1:]))
	if klen > MaxKey || klen > hi-lo-entryHeader {
		return entry{}, false
	}
	e := nd.at(i)
	return e, nd.sound(e)
}

// sound reports whether tag and rest fit the kind of node.
func (nd node) sound(e entry) bool {
	if nd.kind == kindInner {
		k := nodeKind(e.tag)
		return len(e.rest) == refSize && k >= kindInner && k <= kindLeafLarge
	}
	if e.tag == tagLarge {
		return nd.kind == kindLeafLarge && len(e.rest) == largeSize &&
			binary.BigEndian.Uint32(e.rest) <= MaxValue
	}
	return e.tag == tagInline
}

// at returns entry i; its slices alias the node.
func (nd node) at(i int) entry {
	b := nd.buf[nd.offset(i):nd.offset(i+1)]
	k := entryHeader + int(binary.BigEndian.Uint16(b[1:]))
	return entry{tag: b[0], key: b[entryHeader:k:k], rest: b[k:len(b):len(b)]}
}

// find returns the first entry whose key is not below key, and whether it is key.
func (nd node) find(key []byte) (int, bool) {
	i := sort.Search(nd.n, func(i int) bool { return bytes.Compare(nd.at(i).key, key) >= 0 })
	return i, i < nd.n && bytes.Equal(nd.at(i).key, key)
}

// route returns the child of an inner node under which key belongs.
func (nd node) route(key []byte) int {
	i, exact := nd.find(key)
	if exact || i == 0 {
		return i
	}
	return i - 1
}

// entries returns all entries; they alias the node.
func (nd node) entries() []entry {
	es := make([]entry, nd.n)
	for i := range es {
		es[i] = nd.at(i)
	}
	return es
}

// encodeNode writes entries, which must fit, over the zeroed buf.
func encodeNode(buf []byte, kind nodeKind, es []entry) node {
	buf[0] = byte(kind)
	binary.BigEndian.PutUint16(buf[2:], uint16(len(es)))
	at := nodeHeader + 2*(len(es)+1)
	for i, e := range es {
		binary.BigEndian.PutUint16(buf[nodeHeader+2*i:], uint16(at))
		buf[at] = e.tag
		binary.BigEndian.PutUint16(buf[at+1:], uint16(len(e.key)))
		at += entryHeader
		at += copy(buf[at:], e.key)
		at += copy(buf[at:], e.rest)
	}
	binary.BigEndian.PutUint16(buf[nodeHeader+2*len(es):], uint16(at))
	return node{kind: kind, n: len(es), buf: buf}
}
