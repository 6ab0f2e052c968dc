package erasable

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
)

// Whatever the bytes, parseNode gives an error or a node that can be read
// throughout, and that encodes to the same entries.
func FuzzNode(f *testing.F) {
	page := func(kind nodeKind, es ...entry) []byte {
		return encodeNode(make([]byte, plainSize), kind, es).buf
	}
	r := ref{page: 7, kind: kindLeaf, key: nodeKey{1}}
	f.Add(page(kindLeaf, entry{key: []byte("a"), rest: []byte("1")}, entry{key: []byte("b")}))
	f.Add(page(kindLeafLarge, entry{tag: tagLarge, key: []byte("a"), rest: r.append([]byte{0, 0, 9, 9})}))
	f.Add(page(kindInner, entry{tag: byte(kindLeaf), rest: r.append(nil)}, entry{tag: byte(kindLeaf), key: []byte("m"), rest: r.append(nil)}))
	f.Fuzz(func(t *testing.T, short []byte) {
		b := make([]byte, plainSize)
		copy(b, short)
		nd, err := parseNode(b)
		if err != nil {
			return
		}
		es := nd.entries()
		for i, e := range es {
			if at, ok := nd.find(e.key); !ok || at != i {
				t.Fatalf("entry %d is found at %d, %v", i, at, ok)
			}
			if nd.kind == kindInner {
				e.child()
			} else if e.tag == tagLarge {
				e.large()
			}
		}
		again, err := parseNode(encodeNode(make([]byte, plainSize), nd.kind, es).buf)
		if err != nil || again.n != nd.n {
			t.Fatalf("encoded anew: %v", err)
		}
	})
}

func FuzzChunk(f *testing.F) {
	b := make([]byte, plainSize)
	encodeChunk(b, chunk{next: ref{page: 3, kind: kindChunk}, data: []byte("data")})
	f.Add(b)
	f.Fuzz(func(t *testing.T, short []byte) {
		b := make([]byte, plainSize)
		copy(b, short)
		c, err := parseChunk(b)
		if err != nil {
			return
		}
		again := make([]byte, plainSize)
		encodeChunk(again, c)
		if d, err := parseChunk(again); err != nil || !bytes.Equal(c.data, d.data) || c.next != d.next {
			t.Fatalf("encoded anew: %v", err)
		}
	})
}

// Bytes that are no slot are refused; a slot that is taken is one that encode
// could have written, but for the bytes that carry nothing.
func FuzzSlot(f *testing.F) {
	s := slot{seq: 5, id: treeID{1}, root: ref{page: 9, kind: kindInner, key: nodeKey{2}}}
	wrap := bytes.Repeat([]byte{3}, 32)
	for _, w := range [][]byte{nil, wrap} {
		b, err := s.encode(w)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == slotSize { // else the sum keeps everything from being looked at
			b = bytes.Clone(b)
			sum := sha256.Sum256(b[:slotSum])
			copy(b[slotSum:], sum[:])
		}
		s, err := decodeSlot(b, wrap)
		if errors.Is(err, errNoSlot) || errors.Is(err, ErrWrapped) {
			return
		}
		if err != nil {
			t.Fatalf("decodeSlot: %v", err)
		}
		again, err := s.encode(wrap)
		if err != nil {
			t.Fatal(err)
		}
		d, err := decodeSlot(again, wrap)
		if d.wrapped = s.wrapped; err != nil || d != s {
			t.Fatalf("encoded anew: %v", err)
		}
	})
}
