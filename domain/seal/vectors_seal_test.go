package seal_test

import (
	"bytes"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// A storedEvent is an event as the store holds it.
type storedEvent struct {
	ID       string   `json:"id"`
	Stream   string   `json:"stream"`
	Type     string   `json:"type"`
	Envelope string   `json:"envelope"`
	Data     hexBytes `json:"data"`
}

func store(s domain.Sealed) storedEvent {
	return storedEvent{ID: s.ID().String(), Stream: string(s.Stream()), Type: string(s.Type()), Envelope: string(s.Envelope()), Data: s.Data()}
}

func (s storedEvent) sealed(tb testing.TB) domain.Sealed {
	tb.Helper()
	eventID, err := domain.Parse[domain.EventID](s.ID)
	if err != nil {
		tb.Fatal(err)
	}
	return domain.NewSealed(eventID, domain.Stream(s.Stream), domain.EventType(s.Type), []byte(s.Envelope), s.Data)
}

type sealVector struct {
	Place      whereVector `json:"place"`
	I          hexBytes    `json:"I"`
	IK         byte        `json:"ik"`
	S          hexBytes    `json:"S"`
	R          hexBytes    `json:"R"`
	B          hexBytes    `json:"B"`
	K          hexBytes    `json:"K"`
	Commitment hexBytes    `json:"commitment"`
	Payload    hexBytes    `json:"payload"`
	Event      storedEvent `json:"event"`
}

// sealCases are events of every shape of body.
func sealCases(t *testing.T) map[string]event {
	base := newFixture(t).event
	with := func(change func(*event)) event {
		e := base
		change(&e)
		if e.stream == base.stream {
			e.stream = domain.StreamsOf(e.ledger).Of(e.where())
		}
		return e
	}
	return map[string]event{
		"traffic": base,
		"record": with(func(e *event) {
			e.spec, e.payload = mustSpec(t, domain.ConnectionOpened), []byte(`{"opened_at":"2026-11-23T10:41:07.000000Z"}`)
			e.envelope.Class, e.envelope.N = "lifecycle", 1
		}),
		"one byte":   with(func(e *event) { e.payload = []byte{0} }),
		"126 bytes":  with(func(e *event) { e.payload = e.payload[:126] }),
		"128 bytes":  with(func(e *event) { e.payload = e.payload[:128] }),
		"5000 bytes": with(func(e *event) { e.payload = bytes.Repeat([]byte("0123456789"), 500) }),
		"nothing":    with(func(e *event) { e.payload = nil }),
		"late":       with(func(e *event) { e.payload, e.envelope.Late = nil, true }),
		"tier, gen":  with(func(e *event) { e.envelope.Tier, e.envelope.Gen = "P7D", 3 }),
		"obligated": with(func(e *event) {
			e.envelope.Scope, e.envelope.Class, e.envelope.Bucket = domain.Obligated, "consent", "2026-11"
		}),
		"the ledger": with(func(e *event) { e.ledger = "other" }),
		"anonymous": with(func(e *event) {
			e.envelope.Tier = domain.AnonTier
			e.stream = domain.StreamsOf(e.ledger).Anonymous(e.envelope.Class, e.envelope.Bucket, domain.BlockID(id[struct{}](0x24)))
		}),
	}
}

func TestVectorsSeal(t *testing.T) {
	settle := openBook[sealVector](t, "seal.json", "Sealed events, FORMAT §4. The nonce is random: the stored bytes were written once, and are opened here")
	f := newFixture(t)
	key := secret(0x11)
	for name, e := range sealCases(t) {
		b := seal.BucketKey(f.s, e.where())
		k := seal.EventKey(b, f.r, e.where())
		sealed, err := f.seal(seal.NewSealing(b, f.r, e.where()), e)
		if err != nil {
			t.Fatal(name, err)
		}
		fresh := sealVector{Place: describe(e.where()), I: key[:], IK: 1, S: f.s[:], R: f.r[:], B: b[:], K: k[:], Payload: e.payload, Event: store(sealed)}
		if seal.HasPart(sealed) {
			fresh.Commitment = sealed.Data()[5:37]
		}
		v := settle(name, fresh, func(stored sealVector, fresh *sealVector) {
			if bytes.Equal(stored.Event.Data, fresh.Event.Data) != !seal.HasPart(sealed) {
				t.Errorf("%s: two seals gave the same bytes, or a note two", name)
			}
			fresh.Event.Data = stored.Event.Data
		})
		openStored(t, f, name, e, v)
	}
}

// openStored reads a stored event with keys derived anew, and with K alone.
func openStored(t *testing.T, f fixture, name string, e event, v sealVector) {
	t.Helper()
	stored := v.Event.sealed(t)
	if err := f.integrity.Verify(stored); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	envelope, err := domain.DecodeEnvelope(e.spec, stored.Envelope())
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	w := envelope.Where(e.ledger)
	for _, o := range []*seal.Opening{seal.NewOpening(seal.BucketKey(f.s, w), f.r, w), seal.NewOpeningFromK(seal.Secret(v.K), w)} {
		payload, err := o.Open(stored)
		if err != nil || !bytes.Equal(payload, e.payload) {
			t.Errorf("%s: opened %d bytes, %v", name, len(payload), err)
		}
	}
	if len(v.Commitment) > 0 && !bytes.Equal(v.Commitment, stored.Data()[5:37]) {
		t.Errorf("%s: commitment", name)
	}
}

type plainVector struct {
	I        hexBytes    `json:"I"`
	IK       byte        `json:"ik"`
	Document hexBytes    `json:"document,omitempty"`
	Event    storedEvent `json:"event"`
}

func TestVectorsNotesAndDocuments(t *testing.T) {
	settle := openBook[plainVector](t, "plain.json", "Notes and documents, FORMAT §4: tagged, not sealed")
	f, key := newFixture(t), secret(0x11)
	streams := domain.StreamsOf("main")
	for _, typ := range domain.Events.Types() {
		spec := mustSpec(t, typ)
		e, _ := sampleEnvelope(spec)
		eventID := domain.Event(domain.CommandID(id[struct{}](0x6a)), 1)
		v := plainVector{I: key[:], IK: 1}
		var sealed domain.Sealed
		var err error
		switch spec.Body {
		case domain.BodyNone:
			sealed, err = f.integrity.Note(eventID, streams.Destruction(), spec, e)
		case domain.BodyDocument:
			v.Document = hexBytes(`{"a document of":"` + typ + `"}`)
			sealed, err = f.integrity.Document(eventID, streams.Policy(), spec, e, v.Document)
		case domain.BodyRecord, domain.BodyTraffic:
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		v.Event = store(sealed)
		stored := settle(string(typ), v, nil).Event.sealed(t)
		if err := f.integrity.Verify(stored); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
		if doc, err := seal.DocumentOf(stored); spec.Body == domain.BodyDocument && (err != nil || !bytes.Equal(doc, v.Document)) {
			t.Errorf("%s: %q, %v", typ, doc, err)
		}
	}
}

type entriesVector struct {
	Key     hexBytes `json:"key"`
	Ledger  string   `json:"ledger"`
	Scope   string   `json:"scope"`
	Owner   string   `json:"owner"`
	ID      string   `json:"id"`
	Entries hexBytes `json:"entries"`
	Sealed  hexBytes `json:"sealed"`
}

func sampleBundle() *seal.Bundle {
	return &seal.Bundle{
		Subjects: []seal.SubjectKey{{Class: "network", Gen: 2, Key: secret(0x81)}, {Class: "messages", Gen: 1, Key: secret(0x82)}},
		Last:     []seal.LastGen{{Class: "network", Gen: 2}, {Class: "messages", Gen: 1}, {Class: "usage", Gen: 300}},
		Kept:     []seal.KeptKey{{Class: "network", Tier: "0", Bucket: "2026-11-23", Gen: 1, Key: secret(0x83)}, {Class: "network", Tier: "P7D", Bucket: "2026-11-22", Gen: 1, Key: secret(0x84)}},
		Links:    []seal.Link{{Block: domain.BlockID(id[struct{}](0x85)), Ref: domain.SubjectRef(id[struct{}](0x86))}},
	}
}

func sampleBlock() *seal.Block {
	b := &seal.Block{Classes: []domain.Class{"network", "messages"}}
	for i := range byte(3) {
		b.Refs = append(b.Refs, seal.BlockRef{Ref: domain.SubjectRef(id[struct{}](0x90 - i)), Keys: []seal.Secret{secret(0xa0 + i), secret(0xb0 + i)}})
	}
	return b
}

func TestVectorsBundle(t *testing.T) {
	settle := openBook[entriesVector](t, "bundle.json", "Entries of bundles (0x01) and blocks (0x02) and how they are sealed, FORMAT §4; the byte layout stands in docs/FORMAT.md")
	full := make([]seal.BlockRef, seal.BlockSize)
	for i := range full {
		full[i] = seal.BlockRef{Ref: domain.SubjectRef{byte(i)}, Keys: []seal.Secret{}}
	}
	for name, entries := range map[string][]byte{
		"bundle": sampleBundle().Encode(), "empty bundle": (&seal.Bundle{}).Encode(), "block": sampleBlock().Encode(),
		"empty block": (&seal.Block{}).Encode(), "full block": (&seal.Block{Refs: full}).Encode(),
	} {
		key, owner, bundle := secret(0x87), id[struct{}](0x88), domain.BundleID(id[struct{}](0x89))
		sealed, err := seal.SealEntries(key, "main", domain.Erasable, owner, bundle, entries)
		if err != nil {
			t.Fatal(err)
		}
		fresh := entriesVector{Key: key[:], Ledger: "main", Scope: "e", Owner: owner.String(), ID: bundle.String(), Entries: entries, Sealed: sealed}
		v := settle(name, fresh, func(stored entriesVector, fresh *entriesVector) { fresh.Sealed = stored.Sealed })
		opened, err := seal.OpenEntries(key, "main", domain.Erasable, owner, bundle, v.Sealed)
		if err != nil || !bytes.Equal(opened, v.Entries) {
			t.Errorf("%s: %x, %v", name, opened, err)
		}
	}
}

type escrowVector struct {
	H      hexBytes `json:"H"`
	Hold   string   `json:"hold"`
	Kind   byte     `json:"kind"`
	Where  hexBytes `json:"where"`
	Key    hexBytes `json:"key"`
	Sealed hexBytes `json:"sealed"`
}

func TestVectorsEscrow(t *testing.T) {
	settle := openBook[escrowVector](t, "escrow.json", "Escrows of a hold, FORMAT §6; kind 1 K, 2 R, 3 B")
	h, hold, w := secret(0x91), domain.HoldID(id[struct{}](0x92)), places()["tier"]
	for name, c := range map[string]struct {
		kind  domain.KeyKind
		where []byte
		key   seal.Secret
	}{
		"K": {domain.KindK, w.Bytes(), secret(0x93)}, "R": {domain.KindR, w.Retention(), secret(0x94)}, "B": {domain.KindB, w.Bytes(), secret(0x95)},
	} {
		sealed, err := seal.SealEscrow(h, hold, c.kind, c.where, c.key)
		if err != nil {
			t.Fatal(err)
		}
		fresh := escrowVector{H: h[:], Hold: hold.String(), Kind: byte(c.kind), Where: c.where, Key: c.key[:], Sealed: sealed}
		v := settle(name, fresh, func(stored escrowVector, fresh *escrowVector) { fresh.Sealed = stored.Sealed })
		key, err := seal.OpenEscrow(h, hold, c.kind, c.where, v.Sealed)
		if err != nil || key != c.key {
			t.Errorf("%s: %x, %v", name, key, err)
		}
	}
}
