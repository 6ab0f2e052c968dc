package vault

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// recordVersion begins every binary record, so that another form can stand
// beside it.
const recordVersion = 1

var errRecord = fmt.Errorf("%w: a record that cannot be read; is this program older than its data?", ErrDamaged)

// An entry of a person, in the directory and beside the person's bundle:
//
//	version ‖ scope ‖ directory key[32] ‖ ref[16] ‖ time issued
//	  ‖ fence: 0 | 1 ‖ command[16] | 2 ‖ command[16] ‖ uvarint(n) ‖ n × lp(class)
const (
	fenceNone    = 0
	fenceWhole   = 1
	fenceClasses = 2
)

func encodeSubject(s keys.Subject) []byte {
	out := append(make([]byte, 0, 128), recordVersion, byte(s.Scope))
	out = append(out, s.Directory[:]...)
	out = append(out, s.Ref[:]...)
	out = appendTime(out, s.Issued)
	switch {
	case s.Fence.Command.IsZero():
		return append(out, fenceNone)
	case s.Fence.Classes == nil:
		return append(append(out, fenceWhole), s.Fence.Command[:]...)
	}
	out = append(append(out, fenceClasses), s.Fence.Command[:]...)
	out = binary.AppendUvarint(out, uint64(len(s.Fence.Classes)))
	for _, c := range s.Fence.Classes {
		out = domain.AppendLPString(out, string(c))
	}
	return out
}

func decodeSubject(raw []byte) (keys.Subject, error) {
	r := reader{rest: raw}
	version := r.byte()
	s := keys.Subject{Scope: domain.Scope(r.byte())}
	copy(s.Directory[:], r.take(len(s.Directory)))
	copy(s.Ref[:], r.take(len(s.Ref)))
	s.Issued = r.time()
	s.Fence = r.fence()
	if r.failed || len(r.rest) > 0 || version != recordVersion || !s.Scope.Valid() {
		return keys.Subject{}, errRecord
	}
	return s, nil
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
		f.Classes[i] = domain.Class(r.lp())
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
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) lp() []byte { return r.take(int(r.u32())) }

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
