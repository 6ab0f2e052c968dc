package domain_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/lethe-ledger/lethe/domain"
)

func TestTrafficRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b domain.TrafficBuilder
		n := rapid.IntRange(1, 40).Draw(t, "n")
		times, sizes := rapid.SliceOfN(rapid.Int64(), n, n).Draw(t, "at"), rapid.SliceOfN(rapid.Uint64(), n, n).Draw(t, "size")
		ways := rapid.SliceOfN(rapid.ByteRange(0, 3), n, n).Draw(t, "bits")
		for i := range n {
			b.Add(times[i], domain.Direction(ways[i]&1), domain.Opcode(ways[i]>>1), sizes[i])
		}
		columns := domain.Columns(rapid.ByteRange(0, 15).Draw(t, "columns"))
		block, err := domain.DecodeTraffic(b.Encode(nil, columns))
		if err != nil || block.N != n || b.Len() != n || b.Base() != times[0] {
			t.Fatal(block, err)
		}
		for i := range n {
			if columns&domain.ColumnAt != 0 && block.At[i] != times[i] || columns&domain.ColumnSize != 0 && block.Sizes[i] != sizes[i] ||
				columns&domain.ColumnDirection != 0 && byte(block.Directions[i]) != ways[i]&1 || columns&domain.ColumnOpcode != 0 && byte(block.Opcodes[i]) != ways[i]>>1 {
				t.Fatalf("record %d of %+v", i, block)
			}
		}
	})
}

func TestTrafficThatIsNone(t *testing.T) {
	for name, raw := range map[string][]byte{
		"empty": nil, "version": {2, 0, 0, 0}, "no columns": {1, 0}, "no fields": {1, 0, 0}, "trailing": {1, 0, 0, 0, 0}, "unknown column": {1, 0, 16, 0},
		"long number": {1, 0x80, 0, 0, 0}, "too many": {1, 0x81, 0x80, 0x04, 0, 0}, "unused bit": {1, 1, 2, 2, 0}, "short bits": {1, 9, 2, 0, 0},
		"no times": {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0}, "no sizes": {1, 2, 8, 1}, "65 fields": {1, 0, 0, 65}, "values over records": {1, 1, 0, 1, 0, 0, 0, 1, 'a', 2, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"index over values": {1, 1, 0, 1, 0, 0, 0, 1, 'a', 1, 0, 0, 0, 0, 2}, "no utf-8": {1, 1, 0, 1, 0, 0, 0, 1, 0xff, 0, 0}, "long text": {1, 0, 0, 1, 0, 0, 0x10, 1},
	} {
		if block, err := domain.DecodeTraffic(raw); !errors.Is(err, domain.ErrTraffic) {
			t.Errorf("%s: %+v, %v", name, block, err)
		}
	}
	if _, err := (domain.Traffic{N: 2, Sizes: []uint64{1}}).Append(nil); !errors.Is(err, domain.ErrTraffic) {
		t.Errorf("columns of different lengths: %v", err)
	}
}

func TestTrafficBuilderDoesNotAllocate(t *testing.T) {
	var b domain.TrafficBuilder
	add := func() {
		for i := range int64(256) {
			b.Add(1795430467000000+i*1000, domain.Direction(i&1), domain.Text, 128) //nolint:gosec // one bit
		}
		b.Reset()
	}
	add()
	if n := testing.AllocsPerRun(20, add); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
