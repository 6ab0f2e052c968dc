package seal_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// secret is a key of one repeated byte; keys of tests need not be random.
func secret(b byte) (s seal.Secret) {
	copy(s[:], bytes.Repeat([]byte{b}, len(s)))
	return s
}

func id[K any](b byte) (x domain.ID[K]) {
	copy(x[:], bytes.Repeat([]byte{b}, len(x)))
	x[6], x[8] = 0x40|b&0x0f, 0x80|b&0x3f // the form of a UUIDv4
	return x
}

func mustSpec(tb testing.TB, typ domain.EventType) domain.EventSpec {
	tb.Helper()
	spec, err := domain.Events.Spec(typ)
	if err != nil {
		tb.Fatal(err)
	}
	return spec
}

// An event is everything that an event is made of before it is sealed.
type event struct {
	ledger   domain.LedgerID
	id       domain.EventID
	stream   domain.Stream
	spec     domain.EventSpec
	envelope domain.Envelope
	payload  []byte
}

func (e event) where() domain.Where { return e.envelope.Where(e.ledger) }

// A fixture is an event with the keys of its place.
type fixture struct {
	integrity seal.Integrity
	event     event
	s, b, r   seal.Secret
	sealing   *seal.Sealing
	opening   *seal.Opening
}

func newFixture(tb testing.TB) fixture {
	tb.Helper()
	integrity, err := seal.NewIntegrity(1, map[byte][32]byte{1: secret(0x11), 2: secret(0x12)})
	if err != nil {
		tb.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 10, 41, 7, 0, time.UTC)
	e := event{
		ledger: "main", id: domain.Event(domain.CommandID(id[struct{}](0x21)), 0), spec: mustSpec(tb, domain.TrafficRecorded),
		payload: bytes.Repeat([]byte("seventy bytes of metadata about messages that crossed the gateway toda"), 10),
	}
	e.envelope = domain.Envelope{
		Hour: domain.HourOf(at), Policy: 7, Salt: [16]byte(bytes.Repeat([]byte{0x31}, 16)), Scope: domain.Erasable, Ref: domain.SubjectRef(id[struct{}](0x22)),
		Class: "messages", Tier: domain.OwnTier, Bucket: domain.BucketAt(at, domain.Day), Gen: 1, N: 64,
		Facts: domain.NewFacts(domain.Name("pool", "chat"), domain.UUID("connection", domain.ConnectionID(id[struct{}](0x23)))),
	}
	e.stream = domain.StreamsOf(e.ledger).Of(e.where())
	f := fixture{integrity: integrity, event: e, s: secret(0x41), r: secret(0x42)}
	f.b = seal.BucketKey(f.s, e.where())
	f.sealing, f.opening = seal.NewSealing(f.b, f.r, e.where()), seal.NewOpening(f.b, f.r, e.where())
	return f
}

func (f fixture) seal(key *seal.Sealing, e event) (domain.Sealed, error) {
	return f.integrity.Seal(e.ledger, e.id, e.stream, e.spec, e.envelope, key, e.payload)
}

func (f fixture) mustSeal(tb testing.TB) domain.Sealed {
	tb.Helper()
	s, err := f.seal(f.sealing, f.event)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
