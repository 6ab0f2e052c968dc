package gateway

import (
	"encoding/binary"
	"math"
)

// A Violation says how a peer broke RFC 6455 or a limit of its pool. The
// connection ends with its Code.
type Violation uint8

// What the walker refuses.
const (
	_ Violation = iota
	ReservedBits
	ReservedOpcode
	FragmentedControl
	LongControl
	WrongMask
	LongLength
	NegativeLength
	NoStart
	NestedMessage
	BadClose
	MessageTooBig
	TooManyFragments
)

var violations = [...]string{
	ReservedBits: "reserved bit set", ReservedOpcode: "reserved opcode", FragmentedControl: "fragmented control frame",
	LongControl: "control frame over 125 bytes", WrongMask: "masking against the rules", LongLength: "length not in its shortest form",
	NegativeLength: "length with its top bit set", NoStart: "continuation of nothing", NestedMessage: "new message within a message",
	BadClose: "close frame with a bad body", MessageTooBig: "message over the limit", TooManyFragments: "message in too many fragments",
}

// Error implements error; it says nothing of the connection.
func (v Violation) Error() string { return violations[v] }

// Code returns the close code that answers the violation.
func (v Violation) Code() int {
	if v == MessageTooBig || v == TooManyFragments {
		return CodeTooBig
	}
	return CodeProtocol
}

// Rules are what a Walker holds a sender to.
type Rules struct {
	// Masked: frames must be masked (a client sends) or must not be (a server).
	Masked bool
	// Deflate: permessage-deflate was negotiated, so RSV1 may stand on the first
	// frame of a data message (RFC 7692 §6).
	Deflate bool
	// MaxMessage bounds the sum of a message's payload lengths; 0 is no bound.
	MaxMessage int64
	// MaxFragments bounds the frames of one message; 0 is no bound.
	MaxFragments int
}

// A Header is one frame's header, with what it means for its message.
type Header struct {
	Opcode     Opcode
	Fin        bool
	Compressed bool
	Masked     bool
	Mask       [4]byte
	// Len is the number of bytes the header takes.
	Len int
	// Payload is the length of the frame's payload.
	Payload int64
	// Message and Size, for a data frame: opcode of its message, and the sum of
	// payload lengths of the message's frames up to this one.
	Message Opcode
	Size    int64
	// First: the frame begins a message.
	First bool
	// Code, for a close frame: its code, or 1005 where it has none.
	Code int
}

// A Walker reads the frame headers of one direction of one connection, over
// whatever chunks the bytes arrive in. It allocates nothing and belongs to one
// goroutine. The zero Walker has the zero Rules.
type Walker struct {
	rules     Rules
	rest      int64 // payload of the current frame still to come
	size      int64 // of the message in progress
	fragments int
	message   Opcode // of the message in progress; Continuation: none
}

// NewWalker returns a walker at the start of a stream.
func NewWalker(r Rules) Walker { return Walker{rules: r} }

// AtBoundary reports whether the bytes consumed so far end with a frame.
func (w *Walker) AtBoundary() bool { return w.rest == 0 }

// Next consumes the rest of the current frame's payload and the next header, as
// far as they are in p, and returns how many bytes that were. ok says that h was
// read. What follows n without ok is the start of a header that is not whole yet
// (or of a close frame, which is taken whole): at most 138 bytes, which the caller
// MUST put in front of the next chunk. An error is a Violation by the frame that
// begins at n; the walker is of no use afterwards.
func (w *Walker) Next(p []byte) (n int, h Header, ok bool, err error) {
	n = int(min(w.rest, int64(len(p))))
	w.rest -= int64(n)
	if n == len(p) {
		return n, h, false, nil
	}
	if err := w.parse(p[n:], &h); err != nil || h.Len == 0 {
		return n, h, false, err
	}
	w.rest = h.Payload
	return n + h.Len, h, true, nil
}

// parse reads a header from the start of p; it leaves h.Len zero if p is too
// short. What the first two bytes already show is refused without waiting.
func (w *Walker) parse(p []byte, h *Header) error {
	if len(p) < 2 {
		return nil
	}
	h.Opcode, h.Fin, h.Compressed, h.Masked = Opcode(p[0]&0x0f), p[0]&0x80 != 0, p[0]&0x40 != 0, p[1]&0x80 != 0
	if err := w.checkStart(p, h); err != nil {
		return err
	}
	length, size, err := payloadLength(p)
	if err != nil {
		return err
	}
	if h.Masked {
		size += 4
	}
	if size == 0 || len(p) < size {
		return nil
	}
	h.Payload = length
	if h.Masked {
		copy(h.Mask[:], p[size-4:size])
	}
	if h.Opcode == Close {
		return parseClose(p, size, h)
	}
	if err := w.count(h); err != nil {
		return err
	}
	h.Len = size
	return nil
}

// checkStart refuses what the first two bytes of a frame show.
func (w *Walker) checkStart(p []byte, h *Header) error {
	first := h.Opcode == Text || h.Opcode == Binary
	switch {
	case h.Opcode.reserved():
		return ReservedOpcode
	case p[0]&0x30 != 0, h.Compressed && (!w.rules.Deflate || !first):
		return ReservedBits
	case h.Opcode.control() && !h.Fin:
		return FragmentedControl
	case h.Opcode.control() && p[1]&0x7f > maxControl:
		return LongControl
	case h.Masked != w.rules.Masked:
		return WrongMask
	case h.Opcode == Continuation && w.message == Continuation:
		return NoStart
	case first && w.message != Continuation:
		return NestedMessage
	case h.Opcode == Close && p[1]&0x7f == 1:
		return BadClose
	}
	return nil
}

// payloadLength decodes the length field; size is where it ends, or 0 if p is
// too short. It refuses a length that a shorter form would hold.
func payloadLength(p []byte) (length int64, size int, err error) {
	switch code := p[1] & 0x7f; {
	case code < 126:
		return int64(code), 2, nil
	case code == 126 && len(p) >= 4:
		length, size = int64(binary.BigEndian.Uint16(p[2:])), 4
		if length < 126 {
			return 0, 0, LongLength
		}
	case code == 127 && len(p) >= 10:
		u := binary.BigEndian.Uint64(p[2:])
		switch {
		case u > math.MaxInt64:
			return 0, 0, NegativeLength
		case u <= math.MaxUint16:
			return 0, 0, LongLength
		}
		length, size = int64(u), 10
	default:
		size = maxHeader * 2 // more than there can be: wait
	}
	return length, size, nil
}

// parseClose takes a close frame only whole, so that its code is known before
// any byte of it goes on.
func parseClose(p []byte, size int, h *Header) error {
	whole := size + int(h.Payload)
	if len(p) < whole {
		return nil
	}
	h.Code, h.Len = CodeNoStatus, size
	if h.Payload == 0 {
		return nil
	}
	h.Code = int(p[size]^h.Mask[0])<<8 | int(p[size+1]^h.Mask[1])
	if !validCode(h.Code) {
		h.Len = 0
		return BadClose
	}
	return nil
}

// count brings the state of the message up to date with a whole header.
func (w *Walker) count(h *Header) error {
	if h.Opcode.control() {
		return nil
	}
	if h.Opcode != Continuation {
		w.message, w.size, w.fragments, h.First = h.Opcode, 0, 0, true
	}
	if limit := w.limit(); h.Payload > limit-w.size {
		return MessageTooBig
	}
	w.size += h.Payload
	w.fragments++
	if w.rules.MaxFragments > 0 && w.fragments > w.rules.MaxFragments {
		return TooManyFragments
	}
	h.Message, h.Size = w.message, w.size
	if h.Fin {
		w.message = Continuation
	}
	return nil
}

func (w *Walker) limit() int64 {
	if w.rules.MaxMessage > 0 {
		return w.rules.MaxMessage
	}
	return math.MaxInt64
}
