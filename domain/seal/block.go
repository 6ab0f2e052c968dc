package seal

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
)

// BlockSize is how many anonymous refs are issued at once (FORMAT §4).
const BlockSize = 256

// A Block holds the keys of up to 256 anonymous refs: one S for each ref and
// class, under gen 1. A ref that was erased is no longer in it.
type Block struct {
	Classes []domain.Class
	Refs    []BlockRef
}

// A BlockRef is one anonymous ref with its S in the order of the block's classes.
type BlockRef struct {
	Ref  domain.SubjectRef
	Keys []Secret
}

// Subject returns S of a ref and class.
func (b *Block) Subject(ref domain.SubjectRef, c domain.Class) (Secret, bool) {
	i := slices.Index(b.Classes, c)
	j := slices.IndexFunc(b.Refs, func(r BlockRef) bool { return r.Ref == ref })
	if i < 0 || j < 0 {
		return Secret{}, false
	}
	return b.Refs[j].Keys[i], true
}

// Remove takes a ref out; it reports whether it was there.
func (b *Block) Remove(ref domain.SubjectRef) bool {
	n := len(b.Refs)
	b.Refs = slices.DeleteFunc(b.Refs, func(r BlockRef) bool { return r.Ref == ref })
	return len(b.Refs) < n
}

// Zero overwrites every key.
func (b *Block) Zero() {
	for i := range b.Refs {
		for j := range b.Refs[i].Keys {
			b.Refs[i].Keys[j].Zero()
		}
	}
}

const blockEntries = 0x02

// Encode returns the entries:
//
//	0x02 ‖ uvarint(c) ‖ c × lp(class) ‖ uvarint(n) ‖ n × (ref ‖ c × S)
//
// in the order of issue.
func (b *Block) Encode() []byte {
	out := binary.AppendUvarint([]byte{blockEntries}, uint64(len(b.Classes)))
	for _, c := range b.Classes {
		out = domain.AppendLPString(out, string(c))
	}
	out = binary.AppendUvarint(out, uint64(len(b.Refs)))
	for _, r := range b.Refs {
		out = append(out, r.Ref[:]...)
		for i := range r.Keys {
			out = append(out, r.Keys[i][:]...)
		}
	}
	return out
}

// DecodeBlock reads the entries of a block.
func DecodeBlock(raw []byte) (*Block, error) {
	r := reader{rest: raw}
	if r.byte() != blockEntries {
		return nil, ErrBundle
	}
	b := &Block{}
	for range r.count(len(domain.AppendLPString(nil, ""))) {
		b.Classes = append(b.Classes, domain.Class(r.text()))
	}
	for range r.count(len(domain.SubjectRef{}) + KeySize*len(b.Classes)) {
		ref := BlockRef{Ref: domain.SubjectRef(r.id()), Keys: make([]Secret, len(b.Classes))}
		for i := range ref.Keys {
			ref.Keys[i] = r.secret()
		}
		b.Refs = append(b.Refs, ref)
	}
	if r.failed || len(r.rest) > 0 || len(b.Refs) > BlockSize || !bytes.Equal(b.Encode(), raw) {
		b.Zero()
		return nil, ErrBundle
	}
	return b, nil
}

// A reader walks entries and fails for good at the first fault.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.failed, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	b := r.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

// count reads a list's length. Each entry takes least bytes or more, so that
// nothing is made for entries that cannot be there.
func (r *reader) count(least int) int {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > uint64((len(r.rest)-size)/least) { //nolint:gosec // not negative
		r.take(-1)
		return 0
	}
	r.take(size)
	return int(n) //nolint:gosec // bounded by what is left
}

func (r *reader) u32() uint32 {
	b := r.take(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func (r *reader) text() string { return string(r.take(int(r.u32()))) }

func (r *reader) id() (id [16]byte) {
	copy(id[:], r.take(16))
	return id
}

func (r *reader) secret() (s Secret) {
	copy(s[:], r.take(KeySize))
	return s
}
