package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A seen is what a decoder reports of a frame, and where its header begins.
type seen struct {
	at     int
	header Header
}

// A spec decodes a whole stream the plain way, straight from RFC 6455 §5.2.
type spec struct {
	rules Rules
	open  Opcode
	size  int64
	parts int
}

// reference returns the frames whose header (of close frames: all) is there, and
// where the first violation's frame begins, or -1.
func reference(b []byte, r Rules) (frames []seen, bad int) {
	s := spec{rules: r}
	for at := 0; at < len(b); {
		h, good, whole := s.frame(b[at:])
		if !good {
			return frames, at
		}
		if !whole {
			return frames, -1
		}
		frames = append(frames, seen{at, h})
		if h.Payload > int64(len(b)) {
			return frames, -1
		}
		at += h.Len + int(h.Payload)
	}
	return frames, -1
}

// frame decodes the frame at the start of b.
func (s *spec) frame(b []byte) (h Header, good, whole bool) {
	f := bytes.NewReader(b)
	var two [2]byte
	if _, err := io.ReadFull(f, two[:]); err != nil {
		return h, true, false
	}
	h = Header{Opcode: Opcode(two[0] & 15), Fin: two[0] >= 0x80, Compressed: two[0]&0x40 != 0, Masked: two[1] >= 0x80}
	if two[0]&0x30 != 0 || s.forbids(h, two[1]&0x7f) {
		return h, false, false
	}
	length := uint64(two[1] & 0x7f)
	switch length {
	case 126:
		var l uint16
		if binary.Read(f, binary.BigEndian, &l) != nil {
			return h, true, false
		}
		if length = uint64(l); length < 126 {
			return h, false, false
		}
	case 127:
		if binary.Read(f, binary.BigEndian, &length) != nil {
			return h, true, false
		}
		if length < 65536 || length >= 1<<63 {
			return h, false, false
		}
	}
	if h.Masked {
		if _, err := io.ReadFull(f, h.Mask[:]); err != nil {
			return h, true, false
		}
	}
	h.Payload, h.Len = int64(length), len(b)-f.Len()
	if h.Opcode == 8 {
		return s.close(b, h)
	}
	return s.data(h)
}

// forbids knows what the first two bytes may not be.
func (s *spec) forbids(h Header, short byte) bool {
	first, control := h.Opcode == 1 || h.Opcode == 2, h.Opcode >= 8
	compressible := s.rules.Deflate && first
	return !slices.Contains([]Opcode{0, 1, 2, 8, 9, 10}, h.Opcode) || h.Compressed && !compressible || h.Masked != s.rules.Masked ||
		control && (!h.Fin || short > 125) || h.Opcode == 0 && s.open == 0 || first && s.open != 0 || h.Opcode == 8 && short == 1
}

func (s *spec) close(b []byte, h Header) (Header, bool, bool) {
	if len(b) < h.Len+int(h.Payload) {
		return h, true, false
	}
	if h.Code = 1005; h.Payload == 0 {
		return h, true, true
	}
	c := bytes.Clone(b[h.Len : h.Len+2])
	mask(c, h.Mask)
	h.Code = int(binary.BigEndian.Uint16(c))
	reserved := h.Code < 1000 || h.Code == 1004 || h.Code == 1005 || h.Code == 1006 || h.Code > 1014 && h.Code < 3000 || h.Code > 4999
	return h, !reserved, true
}

func (s *spec) data(h Header) (Header, bool, bool) {
	if h.Opcode >= 8 {
		return h, true, true
	}
	if h.Opcode != 0 {
		s.open, s.size, s.parts, h.First = h.Opcode, 0, 0, true
	}
	limit := s.rules.MaxMessage
	if limit == 0 {
		limit = math.MaxInt64
	}
	if s.parts++; h.Payload > limit-s.size || s.rules.MaxFragments > 0 && s.parts > s.rules.MaxFragments {
		return h, false, false
	}
	s.size += h.Payload
	if h.Message, h.Size = s.open, s.size; h.Fin {
		s.open = 0
	}
	return h, true, true
}

// walkAll runs a Walker over the stream cut as cuts say, the way a pump does.
func walkAll(b []byte, r Rules, cuts func() int) (frames []seen, bad int, forwarded int) {
	w := NewWalker(r)
	var carry []byte
	for off := 0; off < len(b); {
		n := min(max(1, cuts()), len(b)-off)
		p := append(carry, b[off:off+n]...)
		off += n
		for {
			n, h, ok, err := w.Next(p)
			if ok {
				frames = append(frames, seen{forwarded + n - h.Len, h})
			}
			forwarded += n
			p = p[n:]
			if err != nil {
				return frames, forwarded, forwarded
			}
			if !ok {
				break
			}
		}
		if len(p) > maxCarry {
			panic("more left over than promised")
		}
		carry = slices.Clone(p)
	}
	return frames, -1, forwarded
}

func checkWalk(t interface{ Fatalf(string, ...any) }, b []byte, r Rules, cuts func() int) {
	want, bad := reference(b, r)
	got, at, forwarded := walkAll(b, r, cuts)
	if at != bad || !slices.Equal(got, want) {
		t.Fatalf("rules %+v\nstream %x\ngot  %v, violation at %d\nwant %v, violation at %d", r, b, got, at, want, bad)
	}
	if at >= 0 && forwarded > bad {
		t.Fatalf("%d bytes forwarded, the violation begins at %d", forwarded, bad)
	}
}

func rules(flags uint8) Rules {
	r := Rules{Masked: flags&1 != 0, Deflate: flags&2 != 0}
	if flags&4 != 0 {
		r.MaxMessage, r.MaxFragments = 300, 3
	}
	return r
}

func FuzzWalker(f *testing.F) {
	for _, s := range [][]byte{
		{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4},
		frame(true, 0x81, []byte("hello")), frame(false, 0x81, make([]byte, 70000)), closeFrame(true, 1000, "bye"), closeFrame(false, 1005, ""),
		bytes.Join([][]byte{frame(true, 0x01, []byte("a")), frame(true, 0x89, nil), frame(true, 0x80, []byte("b"))}, nil),
		{0x82, 0x7e, 0, 125},
		{0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff},
		{0x09, 0},
		{0x89, 0x7e},
		{0xc1, 0},
		{0xf1, 0},
		{0x83, 0},
		{0x80, 0},
		{0x88, 1, 3},
	} {
		for flags := range uint8(8) {
			f.Add(s, flags, uint8(1))
			f.Add(s, flags, uint8(200))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, flags, cut uint8) {
		checkWalk(t, b, rules(flags), func() int { return int(cut) })
	})
}

// TestWalkerIsBlindToChunks draws mostly valid streams, which a fuzzer rarely
// finds, and cuts them at random.
func TestWalkerIsBlindToChunks(t *testing.T) {
	violations, frames := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		flags := rapid.Uint8Range(0, 7).Draw(t, "flags")
		r := rules(flags)
		var b []byte
		inside := false
		for range rapid.IntRange(1, 12).Draw(t, "frames") {
			kind := rapid.SampledFrom([]byte{0x81, 0x82, 0x01, 0x02, 0x89, 0x8a, 0x88, 0xc1, 0x41}).Draw(t, "kind")
			if inside && kind&8 == 0 {
				kind = rapid.SampledFrom([]byte{0x00, 0x80}).Draw(t, "next")
			}
			if kind&8 == 0 {
				inside = kind&0x80 == 0
			}
			payload := make([]byte, rapid.SampledFrom([]int{0, 1, 2, 5, 125, 126, 200}).Draw(t, "size"))
			if kind == 0x88 {
				payload = []byte{3, 232, 'x'}
			}
			one := frame(r.Masked, kind, payload)
			if rapid.IntRange(0, 20).Draw(t, "spoil") == 0 {
				one[rapid.IntRange(0, 1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			}
			b = append(b, one...)
		}
		got, bad := reference(b, r)
		frames += len(got)
		if bad >= 0 {
			violations++
		}
		checkWalk(t, b, r, func() int { return rapid.IntRange(1, 40).Draw(t, "cut") })
	})
	if violations == 0 || frames == 0 {
		t.Fatalf("%d violations and %d frames were tried", violations, frames)
	}
}

// conformance is what of the Autobahn case list a tap sees of one sender.
var conformance = []struct {
	name   string
	frames [][]byte // as a client sends them
	err    Violation
}{
	{"1.1.1 empty text", [][]byte{frame(true, 0x81, nil)}, 0},
	{"1.1.2 text of 125", [][]byte{frame(true, 0x81, make([]byte, 125))}, 0},
	{"1.1.4 text of 127", [][]byte{frame(true, 0x81, make([]byte, 127))}, 0},
	{"1.1.6 text of 65535", [][]byte{frame(true, 0x81, make([]byte, 65535))}, 0},
	{"1.1.7 text of 65536", [][]byte{frame(true, 0x81, make([]byte, 65536))}, 0},
	{"1.2.1 empty binary", [][]byte{frame(true, 0x82, nil)}, 0},
	{"2.1 ping without payload", [][]byte{frame(true, 0x89, nil)}, 0},
	{"2.4 ping of 125", [][]byte{frame(true, 0x89, make([]byte, 125))}, 0},
	{"2.5 ping of 126", [][]byte{frame(true, 0x89, make([]byte, 126))}, LongControl},
	{"2.7 unsolicited pong", [][]byte{frame(true, 0x8a, []byte("x"))}, 0},
	{"2.10 ten pings", [][]byte{bytes.Repeat(frame(true, 0x89, []byte("p")), 10)}, 0},
	{"3.1 RSV3", [][]byte{frame(true, 0x91, nil)}, ReservedBits},
	{"3.2 RSV2 after a message", [][]byte{frame(true, 0x81, []byte("x")), frame(true, 0xa1, nil)}, ReservedBits},
	{"3.4 RSV1 without deflate", [][]byte{frame(true, 0xc1, nil)}, ReservedBits},
	{"3.6 all RSV on ping", [][]byte{frame(true, 0xf9, nil)}, ReservedBits},
	{"3.7 all RSV on close", [][]byte{frame(true, 0xf8, nil)}, ReservedBits},
	{"4.1.1 opcode 3", [][]byte{frame(true, 0x83, nil)}, ReservedOpcode},
	{"4.1.5 opcode 7", [][]byte{frame(true, 0x87, []byte("x"))}, ReservedOpcode},
	{"4.2.1 opcode 11", [][]byte{frame(true, 0x8b, nil)}, ReservedOpcode},
	{"4.2.5 opcode 15", [][]byte{frame(true, 0x8f, []byte("x"))}, ReservedOpcode},
	{"5.1 fragmented ping", [][]byte{frame(true, 0x09, nil), frame(true, 0x80, nil)}, FragmentedControl},
	{"5.2 fragmented pong", [][]byte{frame(true, 0x0a, nil)}, FragmentedControl},
	{"5.3 two fragments", [][]byte{frame(true, 0x01, []byte("a")), frame(true, 0x80, []byte("b"))}, 0},
	{"5.6 ping between fragments", [][]byte{frame(true, 0x01, []byte("a")), frame(true, 0x89, nil), frame(true, 0x80, []byte("b"))}, 0},
	{"5.9 continuation of nothing", [][]byte{frame(true, 0x80, []byte("x"))}, NoStart},
	{"5.12 unfinished continuation of nothing", [][]byte{frame(true, 0x00, []byte("x"))}, NoStart},
	{"5.15 continuation after the end", [][]byte{frame(true, 0x01, nil), frame(true, 0x80, nil), frame(true, 0x00, nil)}, NoStart},
	{"5.18 text within a message", [][]byte{frame(true, 0x01, []byte("a")), frame(true, 0x81, []byte("b"))}, NestedMessage},
	{"7.3.1 close without body", [][]byte{frame(true, 0x88, nil)}, 0},
	{"7.3.2 close with one byte", [][]byte{frame(true, 0x88, []byte{3})}, BadClose},
	{"7.3.4 close with reason", [][]byte{closeFrame(true, 1000, "Hello")}, 0},
	{"7.3.5 close of 125", [][]byte{closeFrame(true, 1000, string(make([]byte, 123)))}, 0},
	{"7.3.6 close of 126", [][]byte{closeFrame(true, 1000, string(make([]byte, 124)))}, LongControl},
	{"7.7.1 code 1000", [][]byte{closeFrame(true, 1000, "")}, 0},
	{"7.7.9 code 1011", [][]byte{closeFrame(true, 1011, "")}, 0},
	{"7.7.10 code 3000", [][]byte{closeFrame(true, 3000, "")}, 0},
	{"7.7.13 code 4999", [][]byte{closeFrame(true, 4999, "")}, 0},
	{"7.9.1 code 0", [][]byte{closeFrame(true, 0, "")}, BadClose},
	{"7.9.2 code 999", [][]byte{closeFrame(true, 999, "")}, BadClose},
	{"7.9.3 code 1004", [][]byte{closeFrame(true, 1004, "")}, BadClose},
	{"7.9.4 code 1005", [][]byte{closeFrame(true, 1005, "")}, BadClose},
	{"7.9.5 code 1006", [][]byte{closeFrame(true, 1006, "")}, BadClose},
	{"code 1015", [][]byte{closeFrame(true, 1015, "")}, BadClose},
	{"7.9.6 code 1016", [][]byte{closeFrame(true, 1016, "")}, BadClose},
	{"7.9.9 code 2999", [][]byte{closeFrame(true, 2999, "")}, BadClose},
	{"7.13.1 code 5000", [][]byte{closeFrame(true, 5000, "")}, BadClose},
	{"9.1 message at the limit", [][]byte{frame(true, 0x82, make([]byte, 1<<20))}, 0},
	{"9.3 message over the limit", [][]byte{frame(true, 0x82, make([]byte, 1<<20+1))}, MessageTooBig},
	{"9.5 fragments over the limit", [][]byte{frame(true, 0x02, make([]byte, 1<<19)), frame(true, 0x00, make([]byte, 1<<19)), frame(true, 0x80, []byte("x"))}, MessageTooBig},
	{"flood of empty fragments", [][]byte{frame(true, 0x02, nil), bytes.Repeat(frame(true, 0x00, nil), 1<<16)}, TooManyFragments},
	{"unmasked", [][]byte{frame(false, 0x81, []byte("x"))}, WrongMask},
	{"length with its top bit set", [][]byte{{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}}, NegativeLength},
	{"16-bit length for 125", [][]byte{{0x82, 0xfe, 0, 125}}, LongLength},
	{"64-bit length for 65535", [][]byte{{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff}}, LongLength},
}

func TestWalkerConformance(t *testing.T) {
	for _, tt := range conformance {
		t.Run(tt.name, func(t *testing.T) {
			w := NewWalker(Rules{Masked: true, MaxMessage: 1 << 20, MaxFragments: 1 << 16})
			p := bytes.Join(tt.frames, nil)
			var got error
			for ok := true; ok && got == nil; {
				var n int
				n, _, ok, got = w.Next(p)
				p = p[n:]
			}
			var v Violation
			errors.As(got, &v)
			if v != tt.err {
				t.Fatalf("got %v, want violation %d", got, tt.err)
			}
			if tt.err == 0 && len(p) > 0 {
				t.Fatalf("%d bytes left over", len(p))
			}
			if want := map[bool]int{true: CodeTooBig, false: CodeProtocol}[v == MessageTooBig || v == TooManyFragments]; v != 0 && v.Code() != want {
				t.Fatalf("code %d, want %d", v.Code(), want)
			}
		})
	}
}

func TestWalkerDeflate(t *testing.T) {
	tests := []struct {
		name   string
		stream []byte
		err    error
	}{
		{"compressed message", frame(true, 0xc1, []byte("x")), nil},
		{"compressed fragments", bytes.Join([][]byte{frame(true, 0x41, nil), frame(true, 0x80, nil)}, nil), nil},
		{"RSV1 on a continuation", bytes.Join([][]byte{frame(true, 0x41, nil), frame(true, 0xc0, nil)}, nil), ReservedBits},
		{"RSV1 on a ping", frame(true, 0xc9, nil), ReservedBits},
		{"RSV2", frame(true, 0xa1, nil), ReservedBits},
	}
	for _, tt := range tests {
		w := NewWalker(Rules{Masked: true, Deflate: true})
		var err error
		for p, ok := tt.stream, true; ok && err == nil; {
			var n int
			n, _, ok, err = w.Next(p)
			p = p[n:]
		}
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.err)
		}
	}
}
