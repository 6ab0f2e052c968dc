package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
)

// The first four bytes of a body: what it is, and its version.
const (
	sealedMagic   = "LTH\x01"
	documentMagic = "LTD\x01"
	bundleMagic   = "LTB\x01"
)

const (
	tagSize    = 16
	headerSize = len(sealedMagic) + 1 // magic and ik
)

// Integrity holds the ledger's integrity keys I. They are never destroyed, so an
// edited event reads tampered for ever, also where its own keys are gone.
type Integrity struct {
	current byte
	keys    map[byte]*macs
}

// macs keeps HMAC states of one key; making one costs as much as hashing an
// event.
type macs struct{ pool sync.Pool }

// A bench is what one seal or check works with: an HMAC state, and room for what
// is authenticated and not stored. Nothing personal is ever in that room.
type bench struct {
	mac  hash.Hash
	room []byte
}

// roomSize is enough for the names of most policies.
const roomSize = 768

func newMACs(key [32]byte) *macs {
	return &macs{pool: sync.Pool{New: func() any {
		return &bench{mac: hmac.New(sha256.New, key[:]), room: make([]byte, 0, roomSize)}
	}}}
}

func (m *macs) take() *bench {
	b, _ := m.pool.Get().(*bench)
	return b
}

// NewIntegrity takes the keys by their numbers; new events use the current one.
func NewIntegrity(current byte, keys map[byte][32]byte) (Integrity, error) {
	if _, ok := keys[current]; !ok {
		return Integrity{}, fmt.Errorf("integrity key %d is not among those at hand", current)
	}
	i := Integrity{current: current, keys: make(map[byte]*macs, len(keys))}
	for number, key := range keys {
		i.keys[number] = newMACs(key)
	}
	return i, nil
}

// Verify reports domain.ErrTampered unless the event's bytes are those that were
// written here, and domain.ErrUnavailable if no integrity key is at hand. A
// number that names none of the keys at hand reads tampered: all of them are
// given out together.
func (i Integrity) Verify(s domain.Sealed) error {
	if len(i.keys) == 0 {
		return fmt.Errorf("event %s: no integrity key is at hand: %w", s.ID(), domain.ErrUnavailable)
	}
	data := s.Data()
	if len(data) < headerSize+tagSize {
		return fmt.Errorf("event %s: body of %d bytes: %w", s.ID(), len(data), domain.ErrTampered)
	}
	if m := string(data[:len(sealedMagic)]); m != sealedMagic && m != documentMagic {
		return fmt.Errorf("event %s: unknown body: %w", s.ID(), domain.ErrTampered)
	}
	key, ok := i.keys[data[headerSize-1]]
	if !ok {
		return fmt.Errorf("event %s: no integrity key %d: %w", s.ID(), data[headerSize-1], domain.ErrTampered)
	}
	body, tag := data[:len(data)-tagSize], data[len(data)-tagSize:]
	b := key.take()
	want := b.tag(s.ID(), s.Stream(), s.Type(), s.Envelope(), body)
	key.pool.Put(b)
	if !hmac.Equal(tag, want[:]) {
		return fmt.Errorf("event %s: tag: %w", s.ID(), domain.ErrTampered)
	}
	return nil
}

// finish appends the tag and wraps the event.
func (i Integrity) finish(b *bench, id domain.EventID, stream domain.Stream, typ domain.EventType, envelope, body []byte) domain.Sealed {
	tag := b.tag(id, stream, typ, envelope, body)
	return domain.NewSealed(id, stream, typ, envelope, append(body, tag[:]...))
}

// tag computes the integrity tag of an event (FORMAT §4).
func (b *bench) tag(id domain.EventID, stream domain.Stream, typ domain.EventType, envelope, body []byte) (tag [tagSize]byte) {
	m := domain.AppendLPString(b.room[:0], "lethe/event/v1")
	m = append(m, id[:]...)
	m = domain.AppendLPString(m, string(stream))
	m = domain.AppendLPString(m, string(typ))
	m = domain.AppendLP(m, envelope)
	b.mac.Reset()
	b.mac.Write(m)
	b.mac.Write(body)
	copy(tag[:], b.mac.Sum(m[:0]))
	return tag
}

// Note makes an event without personal data: its body is empty and tagged.
func (i Integrity) Note(id domain.EventID, stream domain.Stream, spec domain.EventSpec, e domain.Envelope) (domain.Sealed, error) {
	if spec.Body != domain.BodyNone {
		return domain.Sealed{}, fmt.Errorf("%s is no note", spec.Type)
	}
	return i.plain(sealedMagic, id, stream, spec, e, nil)
}

// Document makes an event that all may read: a policy, a journal line, a tree
// head.
func (i Integrity) Document(id domain.EventID, stream domain.Stream, spec domain.EventSpec, e domain.Envelope, doc []byte) (domain.Sealed, error) {
	if spec.Body != domain.BodyDocument {
		return domain.Sealed{}, fmt.Errorf("%s is no document", spec.Type)
	}
	return i.plain(documentMagic, id, stream, spec, e, doc)
}

func (i Integrity) plain(magic string, id domain.EventID, stream domain.Stream, spec domain.EventSpec, e domain.Envelope, doc []byte) (domain.Sealed, error) {
	envelope, err := e.Encode(spec)
	if err != nil {
		return domain.Sealed{}, err
	}
	body := make([]byte, 0, headerSize+len(doc)+tagSize)
	body = append(append(body, magic...), i.current)
	b := i.keys[i.current].take()
	defer i.keys[i.current].pool.Put(b)
	return i.finish(b, id, stream, spec.Type, envelope, append(body, doc...)), nil
}

// DocumentOf returns the document of an event. The caller has verified it.
func DocumentOf(s domain.Sealed) ([]byte, error) {
	data := s.Data()
	if len(data) < headerSize+tagSize || string(data[:len(documentMagic)]) != documentMagic {
		return nil, fmt.Errorf("event %s is no document: %w", s.ID(), domain.ErrTampered)
	}
	return data[headerSize : len(data)-tagSize], nil
}
