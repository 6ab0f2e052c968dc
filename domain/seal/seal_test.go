package seal_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

func TestRoundTrip(t *testing.T) {
	f := newFixture(t)
	rapid.Check(t, func(rt *rapid.T) {
		f := f
		f.event.payload = rapid.SliceOfN(rapid.Byte(), 1, 5000).Draw(rt, "payload")
		s := f.mustSeal(t)
		got, err := f.read(s, "main", alive)
		if err != nil || !bytes.Equal(got, f.event.payload) {
			rt.Fatalf("%d bytes, %v", len(got), err)
		}
		if (len(s.Data())-5-16-32-12-16)%8 != 0 {
			rt.Fatalf("%d bytes of payload show in %d of body", len(f.event.payload), len(s.Data()))
		}
	})
}

// TestFreshNonces: the same event sealed twice differs, so a retry never repeats
// a nonce.
func TestFreshNonces(t *testing.T) {
	f := newFixture(t)
	if bytes.Equal(f.mustSeal(t).Data(), f.mustSeal(t).Data()) {
		t.Fatal("two seals are alike")
	}
}

func TestNothingToSeal(t *testing.T) {
	f := newFixture(t)
	e := f.event
	e.payload = nil
	s, err := f.seal(nil, e)
	if err != nil || seal.HasPart(s) {
		t.Fatalf("empty payload: part %v, %v", seal.HasPart(s), err)
	}
	if got, err := f.read(s, "main", alive); err != nil || got != nil {
		t.Errorf("empty payload reads %q, %v", got, err)
	}
	late := f.event
	late.envelope.Late = true
	if s, err = f.seal(nil, late); err != nil || seal.HasPart(s) {
		t.Errorf("a late event was sealed (%v)", err)
	}
}

func TestSealRefuses(t *testing.T) {
	f := newFixture(t)
	if _, err := f.seal(nil, f.event); err == nil {
		t.Error("a payload without a key was stored")
	}
	other := f.event
	other.envelope.Gen++
	if _, err := f.seal(f.sealing, other); err == nil {
		t.Error("sealed with the key of another place")
	}
	note := f.event
	note.spec = mustSpec(t, domain.StreamRested)
	note.envelope.Facts = nil
	if _, err := f.seal(f.sealing, note); err == nil {
		t.Error("a note was sealed")
	}
	undeclared := f.event
	undeclared.envelope.Facts = domain.NewFacts(domain.Name("topic", "x"))
	if _, err := f.seal(f.sealing, undeclared); !errors.Is(err, domain.ErrFact) {
		t.Errorf("an undeclared fact: %v", err)
	}
	if _, err := f.integrity.Note(note.id, note.stream, f.event.spec, f.event.envelope); err == nil {
		t.Error("an event with a body was noted")
	}
	if _, err := f.integrity.Document(note.id, note.stream, note.spec, note.envelope, nil); err == nil {
		t.Error("a note was made a document")
	}
	if _, err := seal.DocumentOf(f.mustSeal(t)); !errors.Is(err, domain.ErrTampered) {
		t.Errorf("a sealed body as a document: %v", err)
	}
}

func TestRetire(t *testing.T) {
	f := newFixture(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if _, err := f.seal(f.sealing, f.event); err != nil && !errors.Is(err, domain.ErrFenced) {
					t.Error(err)
				}
			}
		})
	}
	f.sealing.Retire()
	wg.Wait()
	if _, err := f.seal(f.sealing, f.event); !errors.Is(err, domain.ErrFenced) {
		t.Errorf("a retired handle: %v", err)
	}
}

func TestExhausted(t *testing.T) {
	f := newFixture(t)
	f.sealing.Spend(seal.MaxSeals - 1)
	if _, err := f.seal(f.sealing, f.event); err != nil {
		t.Fatal("the last seal:", err)
	}
	for range 2 {
		if _, err := f.seal(f.sealing, f.event); !errors.Is(err, domain.ErrExhausted) {
			t.Fatalf("one more: %v", err)
		}
	}
}

// TestDroppedOpening: what was dropped says nothing about why; the caller looks
// again.
func TestDroppedOpening(t *testing.T) {
	f := newFixture(t)
	s := f.mustSeal(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if _, err := f.opening.Open(s); err != nil && !errors.Is(err, domain.ErrUnavailable) {
					t.Error(err)
				}
			}
		})
	}
	f.opening.Zero()
	wg.Wait()
	if _, err := f.opening.Open(s); !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("a dropped handle: %v", err)
	}
}

func TestOpenWithWrongKeys(t *testing.T) {
	f := newFixture(t)
	s, w := f.mustSeal(t), f.event.where()
	if _, err := seal.NewOpening(seal.BucketKey(secret(1), w), f.r, w).Open(s); !errors.Is(err, domain.ErrUnknownKey) {
		t.Errorf("another S: %v", err)
	}
	if _, err := seal.NewOpening(f.b, secret(1), w).Open(s); !errors.Is(err, domain.ErrUnknownKey) {
		t.Errorf("another R: %v", err)
	}
	if _, err := seal.NewOpeningFromK(secret(1), w).Open(s); !errors.Is(err, domain.ErrTampered) {
		t.Errorf("another K: %v", err)
	}
}

func TestIntegrityKeys(t *testing.T) {
	f := newFixture(t)
	s := f.mustSeal(t)
	if _, err := seal.NewIntegrity(3, map[byte][32]byte{1: {}}); err == nil {
		t.Error("a current key that is not at hand")
	}
	if err := (seal.Integrity{}).Verify(s); !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("no key at hand: %v", err)
	}
	if err := (seal.Integrity{}).Verify(domain.Sealed{}); !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("no key at hand, nothing to check: %v", err)
	}
	next, err := seal.NewIntegrity(2, map[byte][32]byte{1: secret(0x11), 2: secret(0x12)})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Verify(s); err != nil {
		t.Errorf("an event of the key before: %v", err)
	}
}

// TestPaddingIsChecked: whoever holds K cannot hide bytes behind a payload.
func TestPaddingIsChecked(t *testing.T) {
	f := newFixture(t)
	e := f.event
	e.payload = []byte("x")
	valid := make([]byte, 128)
	valid[0], valid[1] = 1, 'x'
	longNumber := append([]byte{0x81, 0x00, 'x'}, make([]byte, 125)...)
	hidden := bytes.Clone(valid)
	hidden[127] = 1
	for name, c := range map[string]struct {
		padded []byte
		ok     bool
	}{
		"valid": {valid, true}, "hidden byte": {hidden, false}, "long number": {longNumber, false},
		"too much fill": {append(bytes.Clone(valid), 0), false}, "length behind the end": {append([]byte{0xff, 0x7f}, make([]byte, 126)...), false}, "nothing": {nil, false},
	} {
		got, err := f.opening.Open(f.handSealed(t, e, c.padded))
		if ok := err == nil && string(got) == "x"; ok != c.ok {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// handSealed encrypts chosen padded bytes, as FORMAT §4 says.
func (f fixture) handSealed(t *testing.T, e event, padded []byte) domain.Sealed {
	t.Helper()
	envelope, err := e.envelope.Encode(e.spec)
	if err != nil {
		t.Fatal(err)
	}
	k := seal.EventKey(f.b, f.r, e.where())
	block, err := aes.NewCipher(k[:])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	commitment := f.mustSeal(t).Data()[5:37]
	aad := seal.AAD(e.id, e.stream, e.spec.Type, envelope, e.where())
	data := append([]byte("LTH\x01\x01"), commitment...)
	data = append(gcm.Seal(data, nil, padded, aad), make([]byte, 16)...)
	return domain.NewSealed(e.id, e.stream, e.spec.Type, envelope, data)
}

func TestEscrowRefuses(t *testing.T) {
	h, hold, w := secret(1), domain.HoldID(id[struct{}](2)), places()["day"]
	for _, kind := range []domain.KeyKind{0, domain.KindS, domain.KindRef, domain.KindBlock, domain.KindH, 8} {
		if _, err := seal.SealEscrow(h, hold, kind, w.Bytes(), secret(3)); err == nil {
			t.Errorf("kind %d was put in escrow", kind)
		}
	}
	sealed, err := seal.SealEscrow(h, hold, domain.KindB, w.Bytes(), secret(3))
	if err != nil {
		t.Fatal(err)
	}
	open := func(h seal.Secret, hold domain.HoldID, kind domain.KeyKind, where, sealed []byte) error {
		key, err := seal.OpenEscrow(h, hold, kind, where, sealed)
		if err != nil && key != (seal.Secret{}) {
			t.Error("an error with a key")
		}
		return err
	}
	if err := open(secret(9), hold, domain.KindB, w.Bytes(), sealed); !errors.Is(err, domain.ErrUnknownKey) {
		t.Errorf("another H: %v", err)
	}
	if err := open(h, domain.HoldID{9}, domain.KindB, w.Bytes(), sealed); !errors.Is(err, domain.ErrUnknownKey) {
		t.Errorf("another hold: %v", err)
	}
	if err := open(h, hold, domain.KindK, w.Bytes(), sealed); !errors.Is(err, domain.ErrTampered) {
		t.Errorf("another kind: %v", err)
	}
	if err := open(h, hold, domain.KindB, places()["tier"].Bytes(), sealed); !errors.Is(err, domain.ErrTampered) {
		t.Errorf("another place: %v", err)
	}
	for i := range sealed {
		spoilt := bytes.Clone(sealed)
		spoilt[i] ^= 1
		if err := open(h, hold, domain.KindB, w.Bytes(), spoilt); err == nil {
			t.Errorf("byte %d changed and opened", i)
		}
	}
	if err := open(h, hold, domain.KindB, w.Bytes(), sealed[:len(sealed)-1]); !errors.Is(err, domain.ErrTampered) {
		t.Errorf("cut: %v", err)
	}
}

func TestBundle(t *testing.T) {
	b := &seal.Bundle{}
	for gen := range domain.Gen(3) {
		if err := b.Issue("messages", gen+1, secret(byte(gen))); err != nil {
			t.Fatal(err)
		}
	}
	for _, gen := range []domain.Gen{0, 1, 3} {
		if err := b.Issue("messages", gen, secret(9)); err == nil {
			t.Errorf("gen %d was issued again", gen)
		}
	}
	w := domain.Where{Class: "messages", Tier: "0", Bucket: "2026-11-23", Gen: 2}
	b.Kept = append(b.Kept, seal.KeptKey{Class: w.Class, Tier: w.Tier, Bucket: w.Bucket, Gen: w.Gen, Key: secret(7)})
	b.Drop("messages", false)
	if _, ok := b.Subject("messages", 2); ok || b.LastOf("messages") != 3 {
		t.Error("S survived, or its gen was forgotten")
	}
	if key, ok := b.KeptAt(w); !ok || key != secret(7) {
		t.Error("a kept B is gone")
	}
	b.Drop("messages", true)
	if _, ok := b.KeptAt(w); ok {
		t.Error("a B survived")
	}
	if err := b.Issue("messages", 3, secret(9)); err == nil {
		t.Error("a gen was issued again after its S was dropped")
	}
	full := sampleBundle()
	full.Zero()
	if key, _ := full.Subject("network", 2); key != (seal.Secret{}) {
		t.Error("Zero left a key")
	}
}

func TestBlock(t *testing.T) {
	b := sampleBlock()
	ref := b.Refs[1].Ref
	if key, ok := b.Subject(ref, "messages"); !ok || key != secret(0xb1) {
		t.Error("the wrong S")
	}
	if _, ok := b.Subject(ref, "usage"); ok {
		t.Error("S of a class that the block has not")
	}
	if !b.Remove(ref) || b.Remove(ref) {
		t.Error("Remove")
	}
	if _, ok := b.Subject(ref, "messages"); ok {
		t.Error("S of a removed ref")
	}
	b.Zero()
	if key, _ := b.Subject(b.Refs[0].Ref, "network"); key != (seal.Secret{}) {
		t.Error("Zero left a key")
	}
	big := &seal.Block{Refs: make([]seal.BlockRef, seal.BlockSize+1)}
	if _, err := seal.DecodeBlock(big.Encode()); !errors.Is(err, seal.ErrBundle) {
		t.Errorf("257 refs: %v", err)
	}
}

// TestEntriesAreBounded: a length that cannot be true makes nothing.
func TestEntriesAreBounded(t *testing.T) {
	huge := binary.AppendUvarint([]byte{2}, 1<<40)
	for _, raw := range [][]byte{nil, {1}, {2}, {3, 0, 0, 0, 0}, huge, append(huge, make([]byte, 1000)...), append([]byte{1}, huge[1:]...), {1, 0x80, 0, 0, 0, 0}, append((&seal.Bundle{}).Encode(), 0)} {
		if _, err := seal.DecodeBlock(raw); !errors.Is(err, seal.ErrBundle) {
			t.Errorf("block %x: %v", raw, err)
		}
		if _, err := seal.DecodeBundle(raw); !errors.Is(err, seal.ErrBundle) {
			t.Errorf("bundle %x: %v", raw, err)
		}
	}
	unsorted := sampleBundle().Encode()
	first, second := unsorted[2:2+4+8+4+32], unsorted[2+48:2+48+47]
	swapped := append(append(append([]byte{1, 2}, second...), first...), unsorted[2+48+47:]...)
	if _, err := seal.DecodeBundle(swapped); !errors.Is(err, seal.ErrBundle) || len(swapped) != len(unsorted) {
		t.Errorf("rows out of order: %v", err)
	}
}

func TestEntriesOfAnother(t *testing.T) {
	key, owner, bundle := secret(1), [16]byte{2}, domain.BundleID{3}
	sealed, err := seal.SealEntries(key, "main", domain.Erasable, owner, bundle, []byte("entries"))
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"ledger": func() ([]byte, error) {
			return seal.OpenEntries(key, "other", domain.Erasable, owner, bundle, sealed)
		},
		"scope": func() ([]byte, error) {
			return seal.OpenEntries(key, "main", domain.Obligated, owner, bundle, sealed)
		},
		"owner": func() ([]byte, error) {
			return seal.OpenEntries(key, "main", domain.Erasable, [16]byte{9}, bundle, sealed)
		},
		"id": func() ([]byte, error) {
			return seal.OpenEntries(key, "main", domain.Erasable, owner, domain.BundleID{9}, sealed)
		},
		"key": func() ([]byte, error) {
			return seal.OpenEntries(secret(9), "main", domain.Erasable, owner, bundle, sealed)
		},
		"magic": func() ([]byte, error) {
			return seal.OpenEntries(key, "main", domain.Erasable, owner, bundle, append([]byte("LTH\x01"), sealed[4:]...))
		},
		"short": func() ([]byte, error) {
			return seal.OpenEntries(key, "main", domain.Erasable, owner, bundle, sealed[:20])
		},
	} {
		if got, err := open(); !errors.Is(err, domain.ErrTampered) || got != nil {
			t.Errorf("another %s: %q, %v", name, got, err)
		}
	}
}
