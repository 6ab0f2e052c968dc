package erasable

import (
	"encoding/binary"
	"fmt"
)

// A value too large for a leaf is cut into chunks, one a page, each under its
// own key, which the chunk before it holds and the leaf for the first:
//
//	0  kind, 1 where another chunk follows
//	2  length of the data u16
//	4  ref of the next chunk, else zeros
//	44 data
const (
	chunkHeader = 4 + refSize
	chunkData   = plainSize - chunkHeader
)

type chunk struct {
	next ref // kindNone at the end
	data []byte
}

// parseChunk reads a chunk; data aliases b. It never panics.
func parseChunk(b []byte) (chunk, error) {
	if len(b) != plainSize || nodeKind(b[0]) != kindChunk || b[1] > 1 {
		return chunk{}, errNode
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n == 0 || n > chunkData {
		return chunk{}, errNode
	}
	c := chunk{data: b[chunkHeader : chunkHeader+n]}
	if b[1] == 1 {
		c.next = refOf(kindChunk, b[4:])
	}
	return c, nil
}

// encodeChunk writes the chunk over the zeroed buf.
func encodeChunk(buf []byte, c chunk) {
	buf[0] = byte(kindChunk)
	binary.BigEndian.PutUint16(buf[2:], uint16(len(c.data)))
	if c.next.kind != kindNone {
		buf[1] = 1
		c.next.append(buf[4:4])
	}
	copy(buf[chunkHeader:], c.data)
}

// chunks returns how many pages a value of length n takes.
func chunks(n int) int { return (n + chunkData - 1) / chunkData }

// eachChunk calls fn for the chunks of a value of length n in order. The data
// is zeroed after fn returns.
func (p *pager) eachChunk(first ref, n int, fn func(ref, []byte) error) error {
	raw := make([]byte, pageSize)
	defer clear(raw)
	for r := first; n > 0; {
		plain, err := p.read(raw, r)
		if err != nil {
			return err
		}
		c, err := parseChunk(plain)
		if err != nil || len(c.data) > n || (c.next.kind != kindNone) != (len(c.data) < n) {
			return p.damaged(r.page)
		}
		n -= len(c.data)
		if err := fn(r, c.data); err != nil {
			return err
		}
		r = c.next
	}
	return nil
}

// largeValue returns a large value, which the caller owns.
func (p *pager) largeValue(e entry) ([]byte, error) {
	n, first := e.large()
	v := make([]byte, 0, n)
	err := p.eachChunk(first, n, func(_ ref, data []byte) error {
		v = append(v, data...)
		return nil
	})
	if err != nil {
		clear(v[:cap(v)])
		return nil, fmt.Errorf("read large value: %w", err)
	}
	return v, nil
}
