package seal_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// A fate is what became of the keys that a changed event points at.
type fate string

const (
	alive  fate = "alive"
	dead   fate = "dead"
	absent fate = "absent"
)

// read is the whole way of a reader, with the keys of every place in one fate.
func (f fixture) read(s domain.Sealed, l domain.LedgerID, keys fate) ([]byte, error) {
	if err := f.integrity.Verify(s); err != nil {
		return nil, err
	}
	return f.readVerified(s, l, keys)
}

func (f fixture) readVerified(s domain.Sealed, l domain.LedgerID, keys fate) ([]byte, error) {
	spec, err := domain.Events.Spec(s.Type())
	if err != nil {
		return nil, err
	}
	e, err := domain.DecodeEnvelope(spec, s.Envelope())
	if err != nil {
		return nil, err
	}
	switch keys {
	case dead:
		return nil, domain.ErrErased
	case absent:
		return nil, domain.ErrUnknownKey
	case alive:
	}
	w := e.Where(l)
	return seal.NewOpening(seal.BucketKey(f.s, w), f.r, w).Open(s)
}

// A change is one thing done to an event before or after it was sealed.
type change struct {
	name   string
	event  func(*rapid.T, *event)       // what it is resealed as
	stored func(*rapid.T, *storedEvent) // what is done to its bytes
}

func otherOf[T comparable](t *rapid.T, have T, values ...T) T {
	return rapid.SampledFrom(slices.DeleteFunc(values, func(v T) bool { return v == have })).Draw(t, "other")
}

// placeChanges edit one part of the place or of the rest of the envelope.
func placeChanges() []change {
	in := func(name string, edit func(*rapid.T, *domain.Envelope)) change {
		return change{name: name, event: func(t *rapid.T, e *event) { edit(t, &e.envelope) }}
	}
	return []change{
		in("scope", func(_ *rapid.T, e *domain.Envelope) { e.Scope ^= domain.Erasable ^ domain.Obligated }),
		in("ref", func(t *rapid.T, e *domain.Envelope) { e.Ref[rapid.IntRange(0, 15).Draw(t, "byte")] ^= 1 }),
		in("class", func(t *rapid.T, e *domain.Envelope) {
			e.Class = otherOf[domain.Class](t, e.Class, "messages", "network", "access")
		}),
		in("tier", func(t *rapid.T, e *domain.Envelope) { e.Tier = otherOf[domain.Tier](t, e.Tier, "0", "anon", "P7D") }),
		in("bucket", func(t *rapid.T, e *domain.Envelope) {
			e.Bucket = otherOf[domain.Bucket](t, e.Bucket, "2026-11-23", "2026-11-23T10", "2026-11-23T10:41", "2026-11", "2026")
		}),
		in("day", func(_ *rapid.T, e *domain.Envelope) { e.Bucket, e.Hour = "2026-11-24", "2026-11-24T10Z" }),
		in("gen", func(_ *rapid.T, e *domain.Envelope) { e.Gen++ }),
		in("hour", func(_ *rapid.T, e *domain.Envelope) { e.Hour, e.Bucket = "2026-11-23T11Z", "2026" }),
		in("policy", func(_ *rapid.T, e *domain.Envelope) { e.Policy++ }),
		in("salt", func(t *rapid.T, e *domain.Envelope) { e.Salt[rapid.IntRange(0, 15).Draw(t, "byte")] ^= 0x80 }),
		in("n", func(_ *rapid.T, e *domain.Envelope) { e.N++ }),
		in("late", func(_ *rapid.T, e *domain.Envelope) { e.Late = true }),
		in("facts", func(_ *rapid.T, e *domain.Envelope) {
			e.Facts = domain.NewFacts(domain.Name("pool", "other"), domain.UUID("connection", domain.ConnectionID{1}))
		}),
	}
}

// byteChanges edit what the store holds.
func byteChanges() []change {
	on := func(name string, edit func(*rapid.T, *storedEvent)) change { return change{name: name, stored: edit} }
	return []change{
		on("event id", func(_ *rapid.T, s *storedEvent) { s.ID = domain.Event(domain.CommandID{1}, 1).String() }),
		on("stream", func(t *rapid.T, s *storedEvent) {
			s.Stream = s.Stream[:len(s.Stream)-1] + otherOf(t, s.Stream[len(s.Stream)-1:], "0", "1")
		}),
		on("ledger in the stream", func(_ *rapid.T, s *storedEvent) { s.Stream = "lethe.x" + s.Stream[len("lethe."):] }),
		on("type", func(t *rapid.T, s *storedEvent) {
			s.Type = string(otherOf(t, domain.EventType(s.Type), append(domain.Events.Types(), "no.such.v1")...))
		}),
		on("envelope byte", func(t *rapid.T, s *storedEvent) {
			b := []byte(s.Envelope)
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
			s.Envelope = string(b)
		}),
		on("envelope length", func(t *rapid.T, s *storedEvent) {
			s.Envelope = s.Envelope[:rapid.IntRange(0, len(s.Envelope)-1).Draw(t, "n")]
		}),
		on("data byte", func(t *rapid.T, s *storedEvent) {
			s.Data[rapid.IntRange(0, len(s.Data)-1).Draw(t, "at")] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
		}),
		on("data cut", func(t *rapid.T, s *storedEvent) { s.Data = s.Data[:rapid.IntRange(0, len(s.Data)-1).Draw(t, "n")] }),
		on("data longer", func(t *rapid.T, s *storedEvent) {
			s.Data = append(s.Data, rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "more")...)
		}),
		on("a boundary moved", func(_ *rapid.T, s *storedEvent) { // the lengths keep stream and type apart
			s.Stream, s.Type = s.Stream+s.Type[:1], s.Type[1:]
		}),
	}
}

// changed returns the event with the change in its bytes but not in its tag.
func (f fixture) changed(t *rapid.T, s domain.Sealed, c change) storedEvent {
	bytesOf := store(s)
	bytesOf.Data = bytes.Clone(bytesOf.Data)
	if c.stored != nil {
		c.stored(t, &bytesOf)
		return bytesOf
	}
	e := f.event
	c.event(t, &e)
	envelope, err := e.envelope.Encode(e.spec)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	bytesOf.Envelope = string(envelope)
	return bytesOf
}

// TestSwapReadsTampered is promise 2: a part opens only in its own place. It
// does not matter what became of the key that the changed event points at.
func TestSwapReadsTampered(t *testing.T) {
	f := newFixture(t)
	for _, c := range append(placeChanges(), byteChanges()...) {
		t.Run(c.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				f := f
				f.event.payload = rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(rt, "payload")
				s := f.mustSeal(t)
				if got, err := f.read(s, "main", alive); err != nil || !bytes.Equal(got, f.event.payload) {
					rt.Fatalf("unchanged: %d bytes, %v", len(got), err)
				}
				moved := f.changed(rt, s, c)
				for _, keys := range []fate{alive, dead, absent} {
					if got, err := f.read(moved.sealed(t), "main", keys); !errors.Is(err, domain.ErrTampered) || got != nil {
						rt.Fatalf("keys %s: %d bytes, %v", keys, len(got), err)
					}
				}
				f.neverOpens(t, rt, moved)
			})
		})
	}
}

// neverOpens: even who holds I and tags the change anew gets nothing opened.
func (f fixture) neverOpens(t *testing.T, rt *rapid.T, s storedEvent) {
	t.Helper()
	if len(s.Data) < 5+16+1 {
		return // an empty part has nothing to open
	}
	key := secret(0x11)
	body := s.Data[:len(s.Data)-16]
	eventID, err := domain.Parse[domain.EventID](s.ID)
	if err != nil {
		rt.Fatal(err)
	}
	sum := mac(key[:], domain.AppendLPString(nil, "lethe/event/v1"), eventID[:], domain.AppendLPString(nil, s.Stream),
		domain.AppendLPString(nil, s.Type), domain.AppendLPString(nil, s.Envelope), body)
	s.Data = append(bytes.Clone(body), sum[:16]...)
	if s.sealedEqual(f.event) {
		return // only the old tag was changed
	}
	if got, err := f.readVerified(s.sealed(t), "main", alive); err == nil {
		rt.Fatalf("opened %d bytes in another place", len(got))
	}
}

// sealedEqual reports whether everything but the tag is the event's own, which a
// change of tag bytes leaves.
func (s storedEvent) sealedEqual(e event) bool {
	envelope, err := e.envelope.Encode(e.spec)
	if err != nil || s.ID != e.id.String() || s.Stream != string(e.stream) || s.Type != string(e.spec.Type) || s.Envelope != string(envelope) {
		return false
	}
	f := fixture{s: secret(0x41), r: secret(0x42)}
	w := e.where()
	eventID, _ := domain.Parse[domain.EventID](s.ID)
	got, err := seal.NewOpening(seal.BucketKey(f.s, w), f.r, w).Open(domain.NewSealed(eventID, e.stream, e.spec.Type, envelope, s.Data))
	return err == nil && bytes.Equal(got, e.payload) && len(s.Data)-5-16-32-12-16 == max(128, int(domain.Padme(uint64(len(e.payload)+uvarintLen(len(e.payload)))))) //nolint:gosec // a length
}

func uvarintLen(n int) int {
	if n < 128 {
		return 1
	}
	return 2
}

// TestPartsExchanged swaps bodies, parts, commitments and tags of two events
// under the same key, and of two under different ones.
func TestPartsExchanged(t *testing.T) {
	f := newFixture(t)
	first := f.mustSeal(t)
	others := map[string]func(*event){
		"next event of the stream": func(e *event) { e.id = domain.Event(domain.CommandID{9}, 1) },
		"another gen":              func(e *event) { e.envelope.Gen++ },
		"another person":           func(e *event) { e.envelope.Ref[3] ^= 1 },
	}
	for name, edit := range others {
		e := f.event
		edit(&e)
		e.stream = domain.StreamsOf(e.ledger).Of(e.where())
		w := e.where()
		second, err := f.seal(seal.NewSealing(seal.BucketKey(f.s, w), f.r, w), e)
		if err != nil {
			t.Fatal(err)
		}
		for _, span := range [][2]int{{0, len(first.Data())}, {5, len(first.Data()) - 16}, {5, 37}, {37, 49}, {49, len(first.Data()) - 16}, {len(first.Data()) - 16, len(first.Data())}} {
			a, b := store(first), store(second)
			a.Data, b.Data = bytes.Clone(a.Data), bytes.Clone(b.Data)
			if bytes.Equal(a.Data[span[0]:span[1]], b.Data[span[0]:span[1]]) {
				continue // one key, one commitment
			}
			copy(a.Data[span[0]:span[1]], second.Data()[span[0]:span[1]])
			copy(b.Data[span[0]:span[1]], first.Data()[span[0]:span[1]])
			for _, s := range []storedEvent{a, b} {
				for _, keys := range []fate{alive, dead, absent} {
					if _, err := f.read(s.sealed(t), "main", keys); !errors.Is(err, domain.ErrTampered) {
						t.Errorf("%s, bytes %v, keys %s: %v", name, span, keys, err)
					}
				}
			}
		}
	}
}

// TestAnotherLedger: an event of another ledger, under the same I and the same
// keys, opens nowhere here.
func TestAnotherLedger(t *testing.T) {
	f := newFixture(t)
	s := f.mustSeal(t)
	if _, err := f.read(s, "other", alive); !errors.Is(err, domain.ErrUnknownKey) {
		t.Errorf("keys derived for another ledger: %v", err)
	}
	foreign, err := seal.NewIntegrity(1, map[byte][32]byte{1: secret(0x99)})
	if err != nil {
		t.Fatal(err)
	}
	if err := foreign.Verify(s); !errors.Is(err, domain.ErrTampered) {
		t.Errorf("another ledger's I: %v", err)
	}
}
