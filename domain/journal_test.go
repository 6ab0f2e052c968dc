package domain_test

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

func signer(seed byte) (ed25519.PublicKey, func([]byte) ([]byte, error)) {
	key := ed25519.NewKeyFromSeed(append(make([]byte, 31), seed))
	public, _ := key.Public().(ed25519.PublicKey)
	return public, func(m []byte) ([]byte, error) { return ed25519.Sign(key, m), nil }
}

func signedLine(t *testing.T, l domain.JournalLine) (domain.JournalLine, string) {
	t.Helper()
	_, sign := signer(1)
	l, err := l.Sign("main", sign)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return l, string(raw)
}

func TestJournalSignature(t *testing.T) {
	public, _ := signer(1)
	other, _ := signer(2)
	line, _ := signedLine(t, domain.JournalLine{Day: "2026-11-23", Kind: domain.JournalSubject, Dead: []domain.Tag{{1}}})
	if err := line.Verify("main", other, public); err != nil {
		t.Error("a rotated key beside the new one:", err)
	}
	for name, err := range map[string]error{
		"another key": line.Verify("main", other), "no key": line.Verify("main"), "half a key": line.Verify("main", public[:16]), "another ledger": line.Verify("other", public),
	} {
		if !errors.Is(err, domain.ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	line.Dead = append(line.Dead, domain.Tag{2})
	if err := line.Verify("main", public); !errors.Is(err, domain.ErrTampered) {
		t.Errorf("a tag more: %v", err)
	}
}

func TestJournalChain(t *testing.T) {
	first, raw := signedLine(t, domain.JournalLine{Day: "2026-11-23", Kind: domain.JournalRetention, Dead: []domain.Tag{{1}}})
	second, next := signedLine(t, domain.JournalLine{Seq: 1, Prev: domain.HashJournalLine([]byte(raw)), Day: "2026-11-24", Kind: domain.JournalHold, Dead: []domain.Tag{{2}}})
	_, stray := signedLine(t, domain.JournalLine{Seq: 1, Prev: domain.JournalHash{1}, Day: "2026-11-24", Kind: domain.JournalHold, Dead: []domain.Tag{{2}}})
	_, gap := signedLine(t, domain.JournalLine{Seq: 2, Prev: second.Prev, Day: "2026-11-24", Kind: domain.JournalHold, Dead: []domain.Tag{{2}}})
	var chain domain.JournalChain
	if _, err := chain.Add([]byte(next)); !errors.Is(err, domain.ErrJournalChain) {
		t.Errorf("the second line first: %v", err)
	}
	if got, err := chain.Add([]byte(raw)); err != nil || got.Seq != first.Seq || chain.Next != 1 {
		t.Fatal(got, err)
	}
	for name, line := range map[string]string{"again": raw, "stray": stray, "gap": gap} {
		if _, err := chain.Add([]byte(line)); !errors.Is(err, domain.ErrJournalChain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := chain.Add([]byte(next + "\n")); !errors.Is(err, domain.ErrJournal) {
		t.Errorf("with its newline: %v", err)
	}
	if _, err := chain.Add([]byte(next)); err != nil || chain.Next != 2 || chain.Prev != domain.HashJournalLine([]byte(next)) {
		t.Errorf("%+v, %v", chain, err)
	}
}

func TestJournalSpellings(t *testing.T) {
	_, good := signedLine(t, domain.JournalLine{Day: "2026-11-23", Kind: domain.JournalClass, Dead: []domain.Tag{{0xab}, {2}}})
	for name, edit := range map[string][2]string{
		"space": {`"seq":0`, `"seq": 0`}, "leading zero": {`"seq":0`, `"seq":00`}, "upper case": {`"ab`, `"AB`}, "unknown kind": {`"class"`, `"klass"`}, "day": {`2026-11-23`, `2026-11-32`},
		"month": {`2026-11-23`, `2026-11`}, "short tag": {`"ab`, `"`}, "no tags": {good[strings.Index(good, `["`)+1 : strings.Index(good, `]`)], ``}, "unsigned": {good[strings.Index(good, `,"sig"`) : len(good)-1], ``},
		"more keys": {`,"sig"`, `,"ref":"x","sig"`}, "prev": {`"prev":"0`, `"prev":"1`}, "trailing": {`"}`, `"} `}, "padded": {`"}`, `="}`},
	} {
		raw := strings.Replace(good, edit[0], edit[1], 1)
		if line, err := domain.DecodeJournalLine([]byte(raw)); raw == good || !errors.Is(err, domain.ErrJournal) {
			t.Errorf("%s: %s was read as %+v (%v)", name, raw, line, err)
		}
	}
	tooMany := domain.JournalLine{Day: "2026-11-23", Kind: domain.JournalClass, Dead: make([]domain.Tag, domain.MaxJournalTags+1), Sig: make([]byte, 64)}
	if _, err := tooMany.Encode(); !errors.Is(err, domain.ErrJournal) {
		t.Errorf("too many tags: %v", err)
	}
	tooMany.Dead = tooMany.Dead[1:]
	if raw, err := tooMany.Encode(); err != nil || len(raw) > domain.MaxEventBytes-1024 {
		t.Errorf("the longest line has %d bytes: %v", len(raw), err)
	}
}

func receipt() domain.Receipt {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	return domain.Receipt{
		ID: domain.ReceiptID{1}, Request: domain.RequestID{2}, Ground: "A17-1-b", Classes: []domain.Class{"network"}, Requested: at, Fenced: at, Destroyed: at, EffectiveAt: at,
		Disposal: domain.DisposalPending, Mirrors: "one machine", Key: "r1",
	}
}

func TestReceipt(t *testing.T) {
	public, sign := signer(1)
	other, _ := signer(2)
	r, err := receipt().Sign("main", sign)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := domain.DecodeReceipt(raw)
	if err != nil || read.Verify("main", public) != nil {
		t.Fatal(read, err)
	}
	if read.Verify("other", public) == nil || read.Verify("main", other) == nil || read.Verify("main") == nil {
		t.Error("verified under another key or ledger")
	}
	read.Buckets++
	if err := read.Verify("main", public); !errors.Is(err, domain.ErrTampered) {
		t.Errorf("an edited receipt: %v", err)
	}
	for name, edit := range map[string][2]string{
		"space": {`"buckets":0`, `"buckets": 0`}, "unknown key": {`"held":0`, `"held":0,"ref":"x"`}, "null": {`"withheld":[]`, `"withheld":null`}, "case": {`"held"`, `"Held"`},
		"order": {`"buckets":0,"keys_destroyed":0`, `"keys_destroyed":0,"buckets":0`}, "minutes": {`10:00:00Z`, `10:41:00Z`}, "zone": {`10:00:00Z`, `10:00:00+00:00`}, "trailing": {`"}`, `"} `},
		"quote": {`one machine`, `one \"machine`}, "unsigned": {`"signature":"`, `"signatur":"`}, "state": {`"pending"`, `"done"`}, "cut": {string(raw[len(raw)-2:]), ``},
	} {
		changed := strings.Replace(string(raw), edit[0], edit[1], 1)
		if got, err := domain.DecodeReceipt([]byte(changed)); changed == string(raw) || !errors.Is(err, domain.ErrReceipt) {
			t.Errorf("%s: %s was read as %+v (%v)", name, changed, got, err)
		}
	}
}

func TestReceiptsThatAreNone(t *testing.T) {
	_, sign := signer(1)
	for name, wreck := range map[string]func(*domain.Receipt){
		"id": func(r *domain.Receipt) { r.ID = domain.ReceiptID{} }, "negative": func(r *domain.Receipt) { r.Held = -1 }, "minutes": func(r *domain.Receipt) { r.Fenced = r.Fenced.Add(time.Minute) },
		"no time": func(r *domain.Receipt) { r.Destroyed = time.Time{} }, "local": func(r *domain.Receipt) { r.Requested = r.Requested.In(time.FixedZone("x", 3600)) },
		"prose": func(r *domain.Receipt) { r.Ground = "he asked nicely" }, "class": func(r *domain.Receipt) { r.Classes[0] = "x y" }, "key": func(r *domain.Receipt) { r.Key = "" },
		"quote": func(r *domain.Receipt) { r.Mirrors = `"` }, "withheld": func(r *domain.Receipt) { r.Withheld = []domain.Withheld{{Class: "consent"}} }, "disposal": func(r *domain.Receipt) { r.Disposal = "" },
	} {
		r := receipt()
		wreck(&r)
		if _, err := r.Sign("main", sign); !errors.Is(err, domain.ErrReceipt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := receipt().Encode(); !errors.Is(err, domain.ErrReceipt) {
		t.Errorf("unsigned: %v", err)
	}
	broken := errors.New("no key")
	if _, err := receipt().Sign("main", func([]byte) ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("the signer's error: %v", err)
	}
	if got := domain.CutToHour(time.Date(2026, 11, 23, 11, 59, 59, 9, time.FixedZone("x", 3600))); got.Format(time.RFC3339) != "2026-11-23T10:00:00Z" {
		t.Error(got)
	}
}
