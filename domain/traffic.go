package domain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Columns says which columns a traffic block has: those that its class declares.
type Columns byte

// The columns of FORMAT §5.
const (
	ColumnAt Columns = 1 << iota
	ColumnDirection
	ColumnOpcode
	ColumnSize
)

// ColumnsOf returns the columns that the named fields ask for.
func ColumnsOf(fields []string) (c Columns) {
	for _, f := range fields {
		c |= columnNames[f]
	}
	return c
}

var columnNames = map[string]Columns{"at": ColumnAt, "direction": ColumnDirection, "opcode": ColumnOpcode, "size": ColumnSize}

// A Direction is the way a message went.
type Direction byte

// In is from the client, Out is to the client.
const (
	In  Direction = 0
	Out Direction = 1
)

// An Opcode tells a text message from a binary one.
type Opcode byte

// The opcodes of data messages, less one, as the opcode column stores them.
const (
	Text   Opcode = 0
	Binary Opcode = 1
)

// MaxTrafficRecords bounds the records of one block; a flush comes far earlier.
const MaxTrafficRecords = 1 << 16

// A TrafficBuilder collects message metadata. Adding does not allocate once the
// rows have grown. It belongs to one connection, under that connection's lock.
//
// It keeps rows, and makes columns of them when it encodes: among thousands of
// connections each message finds its builder out of the processor's caches, and
// one place to write to is fetched sooner than four.
type TrafficBuilder struct {
	n          int
	base, last int64
	rows       []byte // of each: head ‖ delta of at ‖ size, as the columns have them
}

// The head of a row: two bits, and above them the length of the delta.
const (
	rowDirection = 1 << 0
	rowOpcode    = 1 << 1
	rowDelta     = 2
)

// Add appends one message: at is the arrival of its first frame's header in Unix
// microseconds, size the sum of its frames' payload lengths on the wire.
func (b *TrafficBuilder) Add(at int64, d Direction, op Opcode, size uint64) {
	if b.n == 0 {
		b.base, b.last = at, at
	}
	head := len(b.rows)
	b.rows = binary.AppendVarint(append(b.rows, byte(d)&1|byte(op)&1<<1), at-b.last)
	b.rows[head] |= byte(len(b.rows)-head-1) << rowDelta
	b.rows = binary.AppendUvarint(b.rows, size)
	b.last = at
	b.n++
}

// Len returns how many messages were added.
func (b *TrafficBuilder) Len() int { return b.n }

// Base returns when the first message arrived, in Unix microseconds.
func (b *TrafficBuilder) Base() int64 { return b.base }

// Reset empties the builder and keeps its memory.
func (b *TrafficBuilder) Reset() {
	*b = TrafficBuilder{rows: b.rows[:0]}
}

// Grow makes room for n messages of the usual kind.
func (b *TrafficBuilder) Grow(n int) { b.rows = slices.Grow(b.rows, 8*n) }

// EncodedSize is at least what Encode appends.
func (b *TrafficBuilder) EncodedSize() int { return 24 + len(b.rows) + b.n/4 }

// Encode appends the block with the wanted columns.
func (b *TrafficBuilder) Encode(dst []byte, c Columns) []byte {
	dst = append(dst, 0x01)
	dst = binary.AppendUvarint(dst, uint64(b.n)) //nolint:gosec // not negative
	dst = append(dst, byte(c))
	if c&ColumnAt != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(b.base)) //nolint:gosec // two's complement is the format
		dst = b.appendTimes(dst)
	}
	if c&ColumnDirection != 0 {
		dst = b.appendBits(dst, rowDirection)
	}
	if c&ColumnOpcode != 0 {
		dst = b.appendBits(dst, rowOpcode)
	}
	if c&ColumnSize != 0 {
		dst = b.appendSizes(dst)
	}
	return binary.AppendUvarint(dst, 0)
}

func (b *TrafficBuilder) appendTimes(dst []byte) []byte {
	for rows := b.rows; len(rows) > 0; rows = rows[rowLen(rows):] {
		dst = append(dst, rows[1:1+rows[0]>>rowDelta]...)
	}
	return dst
}

func (b *TrafficBuilder) appendSizes(dst []byte) []byte {
	for rows := b.rows; len(rows) > 0; {
		n := rowLen(rows)
		dst = append(dst, rows[1+rows[0]>>rowDelta:n]...)
		rows = rows[n:]
	}
	return dst
}

// appendBits packs one bit of each head, the first row lowest.
func (b *TrafficBuilder) appendBits(dst []byte, bit byte) []byte {
	n := 0
	for rows := b.rows; len(rows) > 0; rows = rows[rowLen(rows):] {
		if n%8 == 0 {
			dst = append(dst, 0)
		}
		if rows[0]&bit != 0 {
			dst[len(dst)-1] |= 1 << (n % 8)
		}
		n++
	}
	return dst
}

// rowLen is the length of the first row: up to the last byte of its size.
func rowLen(rows []byte) int {
	n := 1 + int(rows[0]>>rowDelta)
	for rows[n] >= 0x80 {
		n++
	}
	return n + 1
}

// Traffic is a decoded block. A column that the block does not have is nil.
type Traffic struct {
	N          int
	At         []int64 // Unix µs
	Directions []Direction
	Opcodes    []Opcode
	Sizes      []uint64
	Fields     []TextColumn
}

// A TextColumn is one extracted field: for each record an index into Values, from
// 1; 0 is absent.
type TextColumn struct {
	Name   string
	Values []string
	Index  []int
}

// ErrTraffic says that bytes are not a traffic block.
var ErrTraffic = errors.New("not a traffic block")

// DecodeTraffic reads a block. Everything must be used up, numbers must be
// minimal, and unused bits must be 0.
func DecodeTraffic(raw []byte) (Traffic, error) {
	r := blockReader{rest: raw}
	if r.byte() != 0x01 {
		return Traffic{}, fmt.Errorf("version: %w", ErrTraffic)
	}
	t := Traffic{N: r.count(MaxTrafficRecords)}
	c := Columns(r.byte())
	if c > ColumnAt|ColumnDirection|ColumnOpcode|ColumnSize {
		return Traffic{}, fmt.Errorf("columns: %w", ErrTraffic)
	}
	if c&ColumnAt != 0 {
		t.At = r.times(t.N)
	}
	if c&ColumnDirection != 0 {
		t.Directions = bitColumn[Direction](&r, t.N)
	}
	if c&ColumnOpcode != 0 {
		t.Opcodes = bitColumn[Opcode](&r, t.N)
	}
	if c&ColumnSize != 0 {
		t.Sizes = r.sizes(t.N)
	}
	t.Fields = r.fields(t.N)
	if r.failed || len(r.rest) != 0 {
		return Traffic{}, ErrTraffic
	}
	return t, nil
}
