package embedded

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
)

// Records of the tree, by the first byte of their keys:
//
//	d ‖ directory key          ref
//	s ‖ ref                    entry of a person: state ‖ entries of the bundle
//	b ‖ block id               when it was issued ‖ entries of the block
//	r ‖ class 0 tier 0 bucket  retention record, with its key while that lives
//	o ‖ name                   version ‖ document
//	v                          the last version given to a document
//	m                          pepper, T, integrity keys
//	k ‖ use 0 u32              seed of a signing key
const (
	prefixDirectory = 'd'
	prefixSubject   = 's'
	prefixBlock     = 'b'
	prefixRetention = 'r'
	prefixDocument  = 'o'
	prefixVersion   = 'v'
	prefixMaterial  = 'm'
	prefixSigning   = 'k'
)

// errRecord says that a record is not one that was written here. The tree has
// authenticated it, so the program is at fault, or older than the data.
var errRecord = fmt.Errorf("a record of the key tree cannot be read; is this program older than its data? %w", domain.ErrUnavailable)

func keyOf(prefix byte, name ...[]byte) []byte {
	key := append(make([]byte, 0, 64), prefix)
	for _, part := range name {
		key = append(key, part...)
	}
	return key
}

// recordVersion begins every record, so that another form can stand beside it.
const recordVersion = 1

// An entry of a person:
//
//	version ‖ scope ‖ directory key[32] ‖ time issued
//	  ‖ fence: 0 | 1 ‖ command[16] | 2 ‖ command[16] ‖ n u8 ‖ n × lp(class)
//	  ‖ entries of the bundle (FORMAT §4)
const (
	fenceNone    = 0
	fenceWhole   = 1
	fenceClasses = 2
)

func encodeSubject(s keys.Subject, b *seal.Bundle) []byte {
	entries := b.Encode()
	defer clear(entries)
	out := make([]byte, 0, 128+len(entries))
	out = append(out, recordVersion, byte(s.Scope))
	out = append(out, s.Directory[:]...)
	out = appendTime(out, s.Issued)
	out = appendFence(out, s.Fence)
	return append(out, entries...)
}

func appendFence(out []byte, f keys.Fence) []byte {
	switch {
	case f.Command.IsZero():
		return append(out, fenceNone)
	case f.Classes == nil:
		return append(append(out, fenceWhole), f.Command[:]...)
	}
	out = append(append(out, fenceClasses), f.Command[:]...)
	out = binary.AppendUvarint(out, uint64(len(f.Classes)))
	for _, c := range f.Classes {
		out = domain.AppendLPString(out, string(c))
	}
	return out
}

// decodeSubject reads an entry's state and returns the bundle's entries, which
// alias raw.
func decodeSubject(ref domain.SubjectRef, raw []byte) (keys.Subject, []byte, error) {
	r := reader{rest: raw}
	version := r.byte()
	s := keys.Subject{Ref: ref, Scope: domain.Scope(r.byte())}
	copy(s.Directory[:], r.take(len(s.Directory)))
	s.Issued = r.time()
	s.Fence = r.fence()
	if r.failed || version != recordVersion || !s.Scope.Valid() {
		return keys.Subject{}, nil, errRecord
	}
	return s, r.rest, nil
}

func (r *reader) fence() (f keys.Fence) {
	kind := r.byte()
	if kind == fenceNone {
		return f
	}
	copy(f.Command[:], r.take(len(f.Command)))
	if kind == fenceWhole {
		return f
	}
	n := r.uvarint()
	if kind != fenceClasses || n > uint64(len(r.rest)) {
		r.failed = true
		return f
	}
	f.Classes = make([]domain.Class, n)
	for i := range f.Classes {
		f.Classes[i] = domain.Class(r.take(int(r.u32())))
	}
	return f
}

func appendTime(out []byte, t time.Time) []byte {
	out = binary.BigEndian.AppendUint64(out, uint64(t.Unix()))        //nolint:gosec // read back as it was
	return binary.BigEndian.AppendUint32(out, uint32(t.Nanosecond())) //nolint:gosec // below 1e9
}

// A reader walks a record and fails for good at the first fault.
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
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.failed = true
		return 0
	}
	r.take(size)
	return n
}

func (r *reader) time() time.Time {
	sec := int64(r.u64()) //nolint:gosec // as appendTime wrote it
	return time.Unix(sec, int64(r.u32())).UTC()
}
