package gateway

import "encoding/binary"

// A Direction is the way a message goes. Its values are those of the direction
// column (FORMAT §5).
type Direction uint8

// In is from the client, Out is to the client.
const (
	In  Direction = 0
	Out Direction = 1
)

// An Opcode is the opcode of a frame (RFC 6455 §5.2).
type Opcode uint8

// The opcodes that exist; all others are reserved and refused.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

func (o Opcode) control() bool { return o >= Close }

func (o Opcode) reserved() bool { return o > Pong || (o > Binary && o < Close) }

const (
	maxHeader  = 14  // 2 + 8 of length + 4 of mask
	maxControl = 125 // RFC 6455 §5.5
	// maxCarry is the most that Walker.Next can leave over: a close frame but for
	// its last byte.
	maxCarry = maxHeader + maxControl - 1
)

// Close codes that the gateway itself sends, and two that it only records
// (RFC 6455 §7.4): 1005 and 1006 never go on the wire.
const (
	CodeGoingAway    = 1001
	CodeProtocol     = 1002
	CodeNoStatus     = 1005
	CodeAbnormal     = 1006
	CodeTooBig       = 1009
	CodeInternal     = 1011
	CodeTryLater     = 1013
	CodeTokenExpired = 4001
	CodeSevered      = 4410
)

// validCode reports whether an endpoint may send code (RFC 6455 §7.4.2, IANA
// registry up to 1014).
func validCode(code int) bool {
	switch {
	case code == 1004, code == CodeNoStatus, code == CodeAbnormal:
		return false
	case code >= 1000 && code <= 1014:
		return true
	default:
		return code >= 3000 && code <= 4999
	}
}

// mask applies the masking of RFC 6455 §5.3 to p, in place.
func mask(p []byte, key [4]byte) {
	for i := range p {
		p[i] ^= key[i&3]
	}
}

// appendClose appends a close frame with the code, without a reason. As a client
// towards an upstream the frame is masked with key.
func appendClose(dst []byte, code int, masked bool, key [4]byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, uint16(code)) //nolint:gosec // codes are below 5000
	dst = append(dst, 0x80|byte(Close), 2)
	if masked {
		dst[len(dst)-1] |= 0x80
		dst = append(dst, key[:]...)
		mask(body, key)
	}
	return append(dst, body...)
}
