package seal_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// Each target is seeded from the vectors. What decodes must encode to the bytes
// it came from, and nothing may panic.

func FuzzEnvelope(f *testing.F) {
	eachStored(f, "envelopes.json", func(v envelopeVector) { f.Add(v.Type, []byte(v.Text)) })
	f.Fuzz(func(t *testing.T, typ string, raw []byte) {
		spec, err := domain.Events.Spec(domain.EventType(typ))
		if err != nil {
			return
		}
		e, err := domain.DecodeEnvelope(spec, raw)
		if err != nil {
			return
		}
		again, err := e.Encode(spec)
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("read %s, wrote %s (%v)", raw, again, err)
		}
	})
}

func FuzzBody(f *testing.F) {
	fixed := newFixture(f)
	eachStored(f, "seal.json", func(v sealVector) {
		f.Add(v.Event.Type, v.Event.Stream, []byte(v.Event.Envelope), []byte(v.Event.Data))
	})
	eachStored(f, "plain.json", func(v plainVector) {
		f.Add(v.Event.Type, v.Event.Stream, []byte(v.Event.Envelope), []byte(v.Event.Data))
	})
	f.Fuzz(func(t *testing.T, typ, stream string, envelope, data []byte) {
		s := domain.NewSealed(fixed.event.id, domain.Stream(stream), domain.EventType(typ), envelope, data)
		verified := fixed.integrity.Verify(s)
		if verified != nil && !errors.Is(verified, domain.ErrTampered) {
			t.Errorf("verify: %v", verified)
		}
		payload, err := fixed.opening.Open(s)
		if err == nil && verified != nil && len(payload) > 0 {
			t.Errorf("opened %d bytes that were not tagged here", len(payload))
		}
		_, _ = fixed.readVerified(s, "main", alive)
		_, _ = seal.DocumentOf(s)
		_, _ = domain.StreamsOf("main").Parse(s.Stream())
	})
}

func FuzzBundle(f *testing.F) {
	eachStored(f, "bundle.json", func(v entriesVector) { f.Add([]byte(v.Entries)) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		if b, err := seal.DecodeBundle(raw); err == nil && !bytes.Equal(b.Encode(), raw) {
			t.Error("another encoding was read")
		}
	})
}

func FuzzBlock(f *testing.F) {
	eachStored(f, "bundle.json", func(v entriesVector) { f.Add([]byte(v.Entries)) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		if b, err := seal.DecodeBlock(raw); err == nil && !bytes.Equal(b.Encode(), raw) {
			t.Error("another encoding was read")
		}
	})
}

func FuzzEntries(f *testing.F) {
	eachStored(f, "bundle.json", func(v entriesVector) { f.Add([]byte(v.Sealed)) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := seal.OpenEntries(secret(1), "main", domain.Erasable, [16]byte{}, domain.BundleID{}, raw); !errors.Is(err, domain.ErrTampered) {
			t.Error(err)
		}
	})
}

func FuzzEscrow(f *testing.F) {
	eachStored(f, "escrow.json", func(v escrowVector) { f.Add(v.Kind, []byte(v.Where), []byte(v.Sealed)) })
	f.Fuzz(func(t *testing.T, kind byte, where, raw []byte) {
		if _, err := seal.OpenEscrow(secret(1), domain.HoldID{}, domain.KeyKind(kind), where, raw); err == nil {
			t.Error("opened without its H")
		}
	})
}

func FuzzTraffic(f *testing.F) {
	eachStored(f, "traffic.json", func(v trafficVector) { f.Add([]byte(v.Block)) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		block, err := domain.DecodeTraffic(raw)
		if err != nil {
			return
		}
		raw, err = block.Append(nil)
		if err != nil && block.N > 0 {
			t.Fatal(err)
		}
		// The first delta need not be 0, so bytes may differ; what they say may not.
		if again, err := domain.DecodeTraffic(raw); block.N > 0 && (err != nil || !reflect.DeepEqual(again, block)) {
			t.Errorf("read %+v, again %+v (%v)", block, again, err)
		}
	})
}

func FuzzJournalLine(f *testing.F) {
	eachStored(f, "journal.json", func(v journalVector) {
		for _, line := range v.Lines {
			f.Add([]byte(line))
		}
	})
	f.Fuzz(func(t *testing.T, raw []byte) {
		line, err := domain.DecodeJournalLine(raw)
		if err != nil {
			return
		}
		again, err := line.Encode()
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("read %s, wrote %s (%v)", raw, again, err)
		}
	})
}

func FuzzReceipt(f *testing.F) {
	eachStored(f, "receipt.json", func(v receiptVector) { f.Add([]byte(v.Text)) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := domain.DecodeReceipt(raw)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("read %s, wrote %s (%v)", raw, again, err)
		}
	})
}

func FuzzPolicy(f *testing.F) {
	for _, p := range []domain.Policy{domain.DefaultPolicy(), domain.TrialPolicy(), {}} {
		raw, err := p.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(_ *testing.T, raw []byte) {
		p, err := domain.DecodePolicy(raw)
		if err != nil {
			return
		}
		_, _ = p.Validate(), p.Warnings()
		p = p.WithDefaults()
		_ = p.Validate()
	})
}
