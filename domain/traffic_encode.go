package domain

import (
	"encoding/binary"
	"fmt"
)

// Append appends the block that decodes to t. It is for blocks with extracted
// fields; the gateway's tap builds its blocks with a TrafficBuilder. It refuses
// what DecodeTraffic would refuse.
func (t Traffic) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = binary.AppendUvarint(append(dst, 0x01), uint64(t.N)) //nolint:gosec // DecodeTraffic bounds it below
	dst = append(dst, byte(t.columns()))
	dst = t.appendTimes(dst)
	dst = appendBits(dst, t.Directions)
	dst = appendBits(dst, t.Opcodes)
	for _, size := range t.Sizes {
		dst = binary.AppendUvarint(dst, size)
	}
	dst = binary.AppendUvarint(dst, uint64(len(t.Fields)))
	for _, f := range t.Fields {
		dst = f.append(dst)
	}
	if _, err := DecodeTraffic(dst[start:]); err != nil {
		return nil, fmt.Errorf("traffic of %d records: %w", t.N, err)
	}
	return dst, nil
}

func (t Traffic) columns() (c Columns) {
	for _, column := range []struct {
		is  Columns
		has bool
	}{{ColumnAt, t.At != nil}, {ColumnDirection, t.Directions != nil}, {ColumnOpcode, t.Opcodes != nil}, {ColumnSize, t.Sizes != nil}} {
		if column.has {
			c |= column.is
		}
	}
	return c
}

func (t Traffic) appendTimes(dst []byte) []byte {
	if len(t.At) == 0 {
		return dst
	}
	last := t.At[0]
	dst = binary.BigEndian.AppendUint64(dst, uint64(last)) //nolint:gosec // two's complement is the format
	for _, at := range t.At {
		dst = binary.AppendVarint(dst, at-last)
		last = at
	}
	return dst
}

// appendBits packs a column, the first record lowest.
func appendBits[T ~byte](dst []byte, bits []T) []byte {
	for i, bit := range bits {
		if i%8 == 0 {
			dst = append(dst, 0)
		}
		dst[len(dst)-1] |= byte(bit&1) << (i % 8)
	}
	return dst
}

func (f TextColumn) append(dst []byte) []byte {
	dst = AppendLPString(dst, f.Name)
	dst = binary.AppendUvarint(dst, uint64(len(f.Values)))
	for _, v := range f.Values {
		dst = AppendLPString(dst, v)
	}
	for _, i := range f.Index {
		dst = binary.AppendUvarint(dst, uint64(i)) //nolint:gosec // DecodeTraffic bounds it
	}
	return dst
}
