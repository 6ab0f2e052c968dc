package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

type deadVector struct {
	T     hexBytes `json:"T"`
	Kind  byte     `json:"kind"`
	Where hexBytes `json:"where"`
	Tag   string   `json:"tag"`
}

// deadTag stands for keys.Tagger, which this package may not import.
func deadTag(key []byte, kind domain.KeyKind, where []byte) (tag domain.Tag) {
	sum := mac(key, domain.AppendLPString(nil, "lethe/dead/v1"), []byte{byte(kind)}, where)
	copy(tag[:], sum[:])
	return tag
}

func TestVectorsDeadTags(t *testing.T) {
	settle := openBook[deadVector](t, "dead.json", "Dead tags, FORMAT §7: HMAC-SHA-256(T, lp(\"lethe/dead/v1\") ‖ kind[1] ‖ where)[:16]")
	w, key := places()["tier"], secret(0x63)
	for name, c := range map[string]struct {
		kind  domain.KeyKind
		where []byte
	}{
		"K": {domain.KindK, w.Bytes()}, "R": {domain.KindR, w.Retention()}, "B": {domain.KindB, w.Bytes()}, "S": {domain.KindS, w.Subject()},
		"ref":   {domain.KindRef, domain.WhereID(w.Ledger, w.Ref)},
		"block": {domain.KindBlock, domain.WhereID(w.Ledger, domain.BlockID(id[struct{}](0x64)))},
		"H":     {domain.KindH, domain.WhereID(w.Ledger, domain.HoldID(id[struct{}](0x65)))},
	} {
		settle(name, deadVector{T: key[:], Kind: byte(c.kind), Where: c.where, Tag: deadTag(key[:], c.kind, c.where).String()}, nil)
	}
}

type trafficVector struct {
	N      int                 `json:"n"`
	At     []int64             `json:"at,omitempty"`
	Dirs   []int               `json:"directions,omitempty"`
	Ops    []int               `json:"opcodes,omitempty"`
	Sizes  []uint64            `json:"sizes,omitempty"`
	Fields []domain.TextColumn `json:"fields,omitempty"`
	Block  hexBytes            `json:"block"`
}

func numbers[T ~byte](column []T) (out []int) {
	for _, v := range column {
		out = append(out, int(v))
	}
	return out
}

func TestVectorsTraffic(t *testing.T) {
	settle := openBook[trafficVector](t, "traffic.json", "Traffic blocks, FORMAT §5: at in Unix µs, direction 0 in 1 out, opcode 0 text 1 binary, bits from the lowest, index 0 absent")
	const at = 1795430467000000
	all := domain.Traffic{
		N: 9, At: []int64{at, at, at + 1, at + 63, at + 64, at - 1, at + 1<<40, at, at + 5},
		Directions: []domain.Direction{0, 1, 0, 0, 1, 1, 0, 1, 1}, Opcodes: []domain.Opcode{0, 0, 0, 1, 0, 0, 0, 0, 1},
		Sizes: []uint64{0, 1, 127, 128, 16383, 16384, 1 << 20, 1<<64 - 1, 5},
	}
	extracted := all
	extracted.Fields = []domain.TextColumn{
		{Name: "topic", Values: []string{"sport", "Käse", ""}, Index: []int{1, 2, 0, 1, 1, 3, 0, 0, 2}},
		{Name: "feature", Index: make([]int, 9)},
	}
	for name, block := range map[string]domain.Traffic{
		"all columns": all, "extracted": extracted, "nothing": {}, "sizes only": {N: 2, Sizes: []uint64{7, 300}},
		"times before 1970": {N: 2, At: []int64{-5, -6}}, "count only": {N: 300},
		"eight": {N: 8, Directions: []domain.Direction{1, 1, 1, 1, 1, 1, 1, 1}, Opcodes: make([]domain.Opcode, 8)},
	} {
		raw, err := block.Append(nil)
		if err != nil {
			t.Fatal(name, err)
		}
		v := settle(name, trafficVector{N: block.N, At: block.At, Dirs: numbers(block.Directions), Ops: numbers(block.Opcodes), Sizes: block.Sizes, Fields: block.Fields, Block: raw}, nil)
		again, err := domain.DecodeTraffic(v.Block)
		if err != nil || !reflect.DeepEqual(again, block) {
			t.Errorf("%s: read %+v (%v)", name, again, err)
		}
	}
	builderMatches(t, all)
}

// builderMatches: the gateway's builder and Append write the same bytes.
func builderMatches(t *testing.T, block domain.Traffic) {
	t.Helper()
	var b domain.TrafficBuilder
	for range 2 { // again after a reset
		b.Reset()
		for i := range block.N {
			b.Add(block.At[i], block.Directions[i], block.Opcodes[i], block.Sizes[i])
		}
	}
	want, err := block.Append(nil)
	if got := b.Encode(nil, domain.ColumnsOf([]string{"at", "direction", "opcode", "size", "other"})); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the builder wrote %x, Append %x (%v)", got, want, err)
	}
}

type journalVector struct {
	Ledger string   `json:"ledger"`
	Seed   hexBytes `json:"ed25519_seed"`
	Public hexBytes `json:"ed25519_public"`
	Lines  []string `json:"lines"`
	Hashes []string `json:"sha256"`
}

func signerOf(b byte) (ed25519.PrivateKey, ed25519.PublicKey, func([]byte) ([]byte, error)) {
	seed := secret(b)
	key := ed25519.NewKeyFromSeed(seed[:])
	public, _ := key.Public().(ed25519.PublicKey)
	return key, public, func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }
}

func TestVectorsJournal(t *testing.T) {
	settle := openBook[journalVector](t, "journal.json", "A chain of journal lines, one of each kind, FORMAT §7")
	key, public, sign := signerOf(0x66)
	v := journalVector{Ledger: "main", Seed: key.Seed(), Public: hexBytes(public)}
	var chain domain.JournalChain
	for i, kind := range []domain.JournalKind{domain.JournalSubject, domain.JournalClass, domain.JournalRange, domain.JournalRetention, domain.JournalHold} {
		line := domain.JournalLine{Seq: chain.Next, Prev: chain.Prev, Day: "2026-11-23", Kind: kind}
		for j := range i + 1 {
			line.Dead = append(line.Dead, domain.Tag(id[struct{}](byte(16*i+j))))
		}
		signed, err := line.Sign("main", sign)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signed.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chain.Add(raw); err != nil {
			t.Fatal(err)
		}
		v.Lines, v.Hashes = append(v.Lines, string(raw)), append(v.Hashes, domain.HashJournalLine(raw).String())
	}
	v = settle("chain", v, nil)
	var again domain.JournalChain
	for _, raw := range v.Lines {
		line, err := again.Add([]byte(raw))
		if err != nil || line.Verify("main", ed25519.PublicKey(v.Public)) != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

type receiptVector struct {
	Ledger string   `json:"ledger"`
	Seed   hexBytes `json:"ed25519_seed"`
	Public hexBytes `json:"ed25519_public"`
	Text   string   `json:"text"`
}

func sampleReceipt() domain.Receipt {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	return domain.Receipt{
		ID: domain.ReceiptID(id[struct{}](0x67)), Request: domain.RequestID(id[struct{}](0x68)), Ground: "A17-1-b",
		Classes: []domain.Class{"network", "messages"}, Buckets: 31, KeysDestroyed: 7,
		Requested: at, Fenced: at, Destroyed: at.Add(time.Hour), EffectiveAt: at.AddDate(0, 0, 14), Disposal: domain.DisposalPending,
		Withheld: []domain.Withheld{{Class: "consent", Ground: "A17-3-b"}}, Held: 2,
		Mirrors: "one machine: 1 of 1 <journal> & log", Key: "receipt-1",
	}
}

func TestVectorsReceipt(t *testing.T) {
	settle := openBook[receiptVector](t, "receipt.json", "Erasure receipts, FORMAT §7: Ed25519 over lp(\"lethe/receipt/v1\") ‖ lp(ledger) ‖ the JSON before ,\"signature\"")
	key, public, sign := signerOf(0x69)
	nothing := sampleReceipt()
	nothing.Classes, nothing.Withheld, nothing.Buckets, nothing.KeysDestroyed, nothing.Held = nil, nil, 0, 0, 0
	nothing.Disposal, nothing.TreeHead = domain.DisposalDone, "main 42 q83v"
	for name, r := range map[string]domain.Receipt{"erased": sampleReceipt(), "nothing held": nothing} {
		signed, err := r.Sign("main", sign)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signed.Encode()
		if err != nil {
			t.Fatal(err)
		}
		v := settle(name, receiptVector{Ledger: "main", Seed: key.Seed(), Public: hexBytes(public), Text: string(raw)}, nil)
		again, err := domain.DecodeReceipt([]byte(v.Text))
		if err != nil || again.Verify("main", ed25519.PublicKey(v.Public)) != nil || !slices.Equal(again.Classes, r.Classes) {
			t.Errorf("%s: %+v, %v", name, again, err)
		}
	}
}
