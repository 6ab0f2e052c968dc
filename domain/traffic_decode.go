package domain

import (
	"encoding/binary"
	"unicode/utf8"
)

// Bounds of the extracted fields of one block.
const (
	maxTextColumns = 64
	maxTextBytes   = 4096
)

// A blockReader walks a traffic block and fails for good at the first fault, so
// that every length is checked against what is left before anything is made.
type blockReader struct {
	rest   []byte
	failed bool
}

func (r *blockReader) fail() { r.failed, r.rest = true, nil }

func (r *blockReader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *blockReader) byte() byte {
	b := r.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

// uvarint reads a minimal unsigned LEB128 of at most 64 bits.
func (r *blockReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || (n > 1 && r.rest[n-1] == 0) {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *blockReader) count(limit int) int {
	v := r.uvarint()
	if v > uint64(limit) { //nolint:gosec // limits are positive constants
		r.fail()
		return 0
	}
	return int(v) //nolint:gosec // bounded by limit
}

// times reads n deltas behind a base. Each takes a byte at least.
func (r *blockReader) times(n int) []int64 {
	base := r.take(8)
	if base == nil || n > len(r.rest) {
		r.fail()
		return nil
	}
	at := int64(binary.BigEndian.Uint64(base)) //nolint:gosec // two's complement is the format
	times := make([]int64, n)
	for i := range times {
		z := r.uvarint()
		at += int64(z>>1) ^ -int64(z&1) //nolint:gosec // zigzag
		times[i] = at
	}
	return times
}

func (r *blockReader) sizes(n int) []uint64 {
	if n > len(r.rest) {
		r.fail()
		return nil
	}
	sizes := make([]uint64, n)
	for i := range sizes {
		sizes[i] = r.uvarint()
	}
	return sizes
}

// bitColumn reads n bits, the first one lowest, and refuses set bits behind.
func bitColumn[T ~byte](r *blockReader, n int) []T {
	b := r.take((n + 7) / 8)
	if b == nil && n > 0 {
		return nil
	}
	if n%8 != 0 && b[len(b)-1]>>(n%8) != 0 {
		r.fail()
		return nil
	}
	bits := make([]T, n)
	for i := range bits {
		bits[i] = T(b[i/8] >> (i % 8) & 1)
	}
	return bits
}

func (r *blockReader) fields(n int) []TextColumn {
	count := r.count(maxTextColumns)
	var fields []TextColumn
	for range count {
		f := TextColumn{Name: r.text()}
		for range r.count(n) {
			f.Values = append(f.Values, r.text())
		}
		if r.failed || n > len(r.rest) {
			r.fail()
			return nil
		}
		f.Index = make([]int, n)
		for i := range f.Index {
			f.Index[i] = r.count(len(f.Values))
		}
		fields = append(fields, f)
	}
	return fields
}

func (r *blockReader) text() string {
	l := r.take(4)
	if l == nil {
		return ""
	}
	n := binary.BigEndian.Uint32(l)
	if n > maxTextBytes {
		r.fail()
		return ""
	}
	b := r.take(int(n))
	if !utf8.Valid(b) {
		r.fail()
	}
	return string(b)
}
