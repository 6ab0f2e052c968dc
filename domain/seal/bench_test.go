package seal_test

import (
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// The benchmarks seal and open one flush of a connection: 700 bytes of message
// metadata.

func BenchmarkSeal(b *testing.B) {
	f := newFixture(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.seal(f.sealing, f.event); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyDecodeOpen(b *testing.B) {
	f := newFixture(b)
	s := f.mustSeal(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.integrity.Verify(s); err != nil {
			b.Fatal(err)
		}
		if _, err := domain.DecodeEnvelope(f.event.spec, s.Envelope()); err != nil {
			b.Fatal(err)
		}
		if _, err := f.opening.Open(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	f := newFixture(b)
	s := f.mustSeal(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.integrity.Verify(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEnvelope(b *testing.B) {
	f := newFixture(b)
	s := f.mustSeal(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := domain.DecodeEnvelope(f.event.spec, s.Envelope()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewSealing(b *testing.B) {
	f := newFixture(b)
	b.ReportAllocs()
	for b.Loop() {
		seal.NewSealing(f.b, f.r, f.event.where())
	}
}
