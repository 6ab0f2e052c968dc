package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
)

const (
	nonceSize      = 12
	commitmentSize = 32
	minPadded      = 128
)

// Seal encrypts a payload for the place that the envelope names and wraps it as
// an event of the stream. An empty payload, and a late event, has an empty part
// and needs no key. Errors: domain.ErrFenced, domain.ErrExhausted, or an
// envelope that its type does not declare, or a key of another place.
func (i Integrity) Seal(l domain.LedgerID, id domain.EventID, stream domain.Stream, spec domain.EventSpec, e domain.Envelope, key *Sealing, payload []byte) (domain.Sealed, error) {
	if spec.Body != domain.BodyRecord && spec.Body != domain.BodyTraffic {
		return domain.Sealed{}, fmt.Errorf("%s seals nothing: note it instead", spec.Type)
	}
	envelope, err := e.Encode(spec)
	if err != nil {
		return domain.Sealed{}, err
	}
	if e.Late {
		payload = nil
	}
	b := i.keys[i.current].take()
	defer i.keys[i.current].pool.Put(b)
	body := make([]byte, 0, headerSize+commitmentSize+nonceSize+paddedSize(len(payload))+2*tagSize)
	body = append(append(body, sealedMagic...), i.current)
	if len(payload) > 0 {
		if key == nil {
			return domain.Sealed{}, fmt.Errorf("sealing event %s: %w", id, errNoKey)
		}
		if body, err = key.part(body, e.Where(l), appendAAD(b.room[:0], id, stream, spec.Type, envelope, e.Where(l)), payload); err != nil {
			return domain.Sealed{}, fmt.Errorf("sealing event %s: %w", id, err)
		}
	}
	return i.finish(b, id, stream, spec.Type, envelope, body), nil
}

// part appends commitment ‖ nonce ‖ ciphertext. The nonce is random and made
// here, so a retry never repeats one.
func (s *Sealing) part(dst []byte, w domain.Where, aad, payload []byte) ([]byte, error) {
	if err := checkPlace(s.where, w); err != nil {
		return nil, err
	}
	gcm, err := s.cipher()
	if err != nil {
		return nil, err
	}
	dst = append(dst, s.commitment[:]...)
	start := len(dst)
	dst = appendPadded(dst, payload)
	return gcm.Seal(dst[:start], nil, dst[start:], aad), nil // in place
}

// Open returns the payload of an event that Verify accepted. The caller has
// decoded its envelope and looked the key up by it. Errors: domain.ErrUnknownKey
// if the commitment names another key, domain.ErrTampered if it names this one
// and the body does not authenticate, domain.ErrUnavailable after Zero.
func (o *Opening) Open(s domain.Sealed) ([]byte, error) {
	part, err := partOf(s)
	if err != nil || len(part) == 0 {
		return nil, err
	}
	if len(part) < commitmentSize+nonceSize+tagSize {
		return nil, fmt.Errorf("event %s: part of %d bytes: %w", s.ID(), len(part), domain.ErrTampered)
	}
	if o.bound && subtle.ConstantTimeCompare(part[:commitmentSize], o.commitment[:]) != 1 {
		return nil, fmt.Errorf("event %s: commitment: %w", s.ID(), domain.ErrUnknownKey)
	}
	gcm, err := o.cipher()
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", s.ID(), err)
	}
	padded, err := gcm.Open(nil, nil, part[commitmentSize:], appendAAD(make([]byte, 0, 320), s.ID(), s.Stream(), s.Type(), s.Envelope(), o.where))
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", s.ID(), domain.ErrTampered)
	}
	return unpad(padded, s.ID())
}

// HasPart reports whether an event has anything sealed in it.
func HasPart(s domain.Sealed) bool {
	part, err := partOf(s)
	return err == nil && len(part) > 0
}

func partOf(s domain.Sealed) ([]byte, error) {
	data := s.Data()
	if len(data) < headerSize+tagSize || string(data[:len(sealedMagic)]) != sealedMagic {
		return nil, fmt.Errorf("event %s: not a sealed body: %w", s.ID(), domain.ErrTampered)
	}
	return data[headerSize : len(data)-tagSize], nil
}

func newGCM(key Secret) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("making the cipher: %w", err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("making the cipher: %w", err)
	}
	return gcm, nil
}

// appendAAD appends what binds the ciphertext to everything that says where it
// belongs.
func appendAAD(b []byte, id domain.EventID, stream domain.Stream, typ domain.EventType, envelope []byte, w domain.Where) []byte {
	sum := sha256.Sum256(envelope)
	b = domain.AppendLPString(b, "lethe/seal/v1")
	b = append(b, id[:]...)
	b = domain.AppendLPString(b, string(stream))
	b = domain.AppendLPString(b, string(typ))
	b = append(b, sum[:]...)
	return w.Append(b)
}

func paddedSize(n int) int {
	length := uint64(n + uvarintSize(uint64(n))) //nolint:gosec // lengths are not negative
	return max(minPadded, int(domain.Padme(length)))
}

func uvarintSize(n uint64) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], n)
}

// appendPadded appends uvarint(L) ‖ payload, zero-filled to its padded size.
func appendPadded(dst, payload []byte) []byte {
	end := len(dst) + paddedSize(len(payload))
	dst = binary.AppendUvarint(dst, uint64(len(payload)))
	dst = append(dst, payload...)
	return append(dst, make([]byte, end-len(dst))...)
}

func unpad(padded []byte, id domain.EventID) ([]byte, error) {
	n, size := binary.Uvarint(padded)
	if size <= 0 || n > uint64(len(padded)-size) || paddedSize(int(n)) != len(padded) || uvarintSize(n) != size { //nolint:gosec // n is bounded before
		return nil, fmt.Errorf("event %s: padding: %w", id, domain.ErrTampered)
	}
	rest := padded[size+int(n):] //nolint:gosec // bounded above
	for _, b := range rest {
		if b != 0 {
			return nil, fmt.Errorf("event %s: padding: %w", id, domain.ErrTampered)
		}
	}
	return padded[size : size+int(n)], nil //nolint:gosec // bounded above
}
