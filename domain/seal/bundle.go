package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
)

// A Bundle holds the keys of one person in one scope (FORMAT §4). Its fields are
// kept sorted, so that equal bundles have equal bytes.
type Bundle struct {
	Subjects []SubjectKey // S by class and gen
	Last     []LastGen    // the highest gen ever issued, by class
	Kept     []KeptKey    // B that outlived their S
	Links    []Link       // anonymous refs that became this person
}

// A SubjectKey is S of one class and gen.
type SubjectKey struct {
	Class domain.Class
	Gen   domain.Gen
	Key   Secret
}

// A LastGen is the highest gen that was ever issued for a class.
type LastGen struct {
	Class domain.Class
	Gen   domain.Gen
}

// A KeptKey is a B whose S was destroyed and whose bucket was kept.
type KeptKey struct {
	Class  domain.Class
	Tier   domain.Tier
	Bucket domain.Bucket
	Gen    domain.Gen
	Key    Secret
}

// A Link names an anonymous ref and its block.
type Link struct {
	Block domain.BlockID
	Ref   domain.SubjectRef
}

// Subject returns S of a class and gen.
func (b *Bundle) Subject(c domain.Class, g domain.Gen) (Secret, bool) {
	for i := range b.Subjects {
		if b.Subjects[i].Class == c && b.Subjects[i].Gen == g {
			return b.Subjects[i].Key, true
		}
	}
	return Secret{}, false
}

// LastOf returns the highest gen ever issued for a class, 0 if none was.
func (b *Bundle) LastOf(c domain.Class) domain.Gen {
	for _, l := range b.Last {
		if l.Class == c {
			return l.Gen
		}
	}
	return 0
}

// Issue adds an S for a class under gen and remembers the gen for ever. A gen
// that is not above the last one is refused: a key is never issued again.
func (b *Bundle) Issue(c domain.Class, g domain.Gen, key Secret) error {
	if g <= b.LastOf(c) {
		return fmt.Errorf("class %s gen %d was issued before", c, g)
	}
	b.Last = slices.DeleteFunc(b.Last, func(l LastGen) bool { return l.Class == c })
	b.Last = append(b.Last, LastGen{Class: c, Gen: g})
	b.Subjects = append(b.Subjects, SubjectKey{Class: c, Gen: g, Key: key})
	return nil
}

// Drop removes every S of a class and, if all is set, its kept B, too.
func (b *Bundle) Drop(c domain.Class, all bool) {
	b.Subjects = slices.DeleteFunc(b.Subjects, func(s SubjectKey) bool { return s.Class == c })
	if all {
		b.Kept = slices.DeleteFunc(b.Kept, func(k KeptKey) bool { return k.Class == c })
	}
}

// KeptAt returns the kept B of a place.
func (b *Bundle) KeptAt(w domain.Where) (Secret, bool) {
	for i := range b.Kept {
		if k := &b.Kept[i]; k.Class == w.Class && k.Tier == w.Tier && k.Bucket == w.Bucket && k.Gen == w.Gen {
			return k.Key, true
		}
	}
	return Secret{}, false
}

// Zero overwrites every key.
func (b *Bundle) Zero() {
	for i := range b.Subjects {
		b.Subjects[i].Key.Zero()
	}
	for i := range b.Kept {
		b.Kept[i].Key.Zero()
	}
}

// ErrBundle says that bytes are not a bundle's entries.
var ErrBundle = errors.New("not a bundle")

const bundleEntries = 0x01

// Encode returns the entries:
//
//	0x01 ‖ uvarint(n) ‖ n × (lp(class) ‖ u32(gen) ‖ S)
//	     ‖ uvarint(n) ‖ n × (lp(class) ‖ u32(last gen))
//	     ‖ uvarint(n) ‖ n × (lp(class) ‖ lp(tier) ‖ lp(bucket) ‖ u32(gen) ‖ B)
//	     ‖ uvarint(n) ‖ n × (block ‖ ref)
//
// each list sorted by its bytes.
func (b *Bundle) Encode() []byte {
	out := []byte{bundleEntries}
	out = appendSorted(out, b.Subjects, func(d []byte, s SubjectKey) []byte {
		d = domain.AppendLPString(d, string(s.Class))
		return append(binary.BigEndian.AppendUint32(d, uint32(s.Gen)), s.Key[:]...)
	})
	out = appendSorted(out, b.Last, func(d []byte, l LastGen) []byte {
		return binary.BigEndian.AppendUint32(domain.AppendLPString(d, string(l.Class)), uint32(l.Gen))
	})
	out = appendSorted(out, b.Kept, func(d []byte, k KeptKey) []byte {
		d = domain.AppendLPString(d, string(k.Class))
		d = domain.AppendLPString(d, string(k.Tier))
		d = domain.AppendLPString(d, string(k.Bucket))
		return append(binary.BigEndian.AppendUint32(d, uint32(k.Gen)), k.Key[:]...)
	})
	return appendSorted(out, b.Links, func(d []byte, l Link) []byte {
		return append(append(d, l.Block[:]...), l.Ref[:]...)
	})
}

func appendSorted[T any](dst []byte, items []T, one func([]byte, T) []byte) []byte {
	rows := make([][]byte, len(items))
	for i, item := range items {
		rows[i] = one(nil, item)
	}
	slices.SortFunc(rows, bytes.Compare)
	dst = binary.AppendUvarint(dst, uint64(len(rows)))
	for _, row := range rows {
		dst = append(dst, row...)
		clear(row)
	}
	return dst
}

// DecodeBundle reads the entries; whatever would encode differently is refused
// with ErrBundle.
func DecodeBundle(raw []byte) (*Bundle, error) {
	r := reader{rest: raw}
	if r.byte() != bundleEntries {
		return nil, ErrBundle
	}
	b := &Bundle{}
	for range r.count(4 + 4 + KeySize) {
		b.Subjects = append(b.Subjects, SubjectKey{Class: domain.Class(r.text()), Gen: domain.Gen(r.u32()), Key: r.secret()})
	}
	for range r.count(4 + 4) {
		b.Last = append(b.Last, LastGen{Class: domain.Class(r.text()), Gen: domain.Gen(r.u32())})
	}
	for range r.count(3*4 + 4 + KeySize) {
		b.Kept = append(b.Kept, KeptKey{
			Class: domain.Class(r.text()), Tier: domain.Tier(r.text()), Bucket: domain.Bucket(r.text()),
			Gen: domain.Gen(r.u32()), Key: r.secret(),
		})
	}
	for range r.count(2 * 16) {
		b.Links = append(b.Links, Link{Block: domain.BlockID(r.id()), Ref: domain.SubjectRef(r.id())})
	}
	if r.failed || len(r.rest) > 0 || !bytes.Equal(b.Encode(), raw) {
		b.Zero()
		return nil, ErrBundle
	}
	return b, nil
}
