package seal_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"reflect"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

type idVector struct {
	Rule       string   `json:"rule"`
	Namespace  string   `json:"namespace"`
	Command    string   `json:"command,omitempty"`
	Index      uint32   `json:"index,omitempty"`
	Request    string   `json:"request,omitempty"`
	Step       string   `json:"step,omitempty"`
	Pepper     hexBytes `json:"pepper,omitempty"`
	Principal  string   `json:"principal,omitempty"`
	Key        string   `json:"key,omitempty"`
	Scope      string   `json:"scope,omitempty"`
	ExternalID string   `json:"external_id,omitempty"`
	Result     string   `json:"result"`
}

const (
	commandNamespace = "7b1c1f0e-6a52-5d0e-9a57-0c5f6a0d9d11"
	eventNamespace   = "2f8e3c54-19d7-5b6a-8a3e-5a1f4f7d2c22"
)

func mac(key []byte, parts ...[]byte) (sum [32]byte) {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	copy(sum[:], h.Sum(nil))
	return sum
}

func TestVectorsIDs(t *testing.T) {
	settle := openBook[idVector](t, "ids.json", "Derived ids and directory keys, FORMAT §1. rule event: UUIDv5(namespace, command[16] ‖ u32(index)); step: UUIDv5(namespace, request[16] ‖ lp(step)); keyed: UUIDv5(namespace, HMAC-SHA-256(pepper, principal[16] ‖ lp(key))); directory: HMAC-SHA-256(pepper, lp(namespace) ‖ lp(scope) ‖ lp(external id)), hex")
	command, request := id[struct{}](0x51), domain.RequestID(id[struct{}](0x52))
	for name, index := range map[string]uint32{"event first": 0, "event second": 1, "event last": 1<<32 - 1} {
		settle(name, idVector{Rule: "event", Namespace: eventNamespace, Command: command.String(), Index: index, Result: domain.Event(domain.CommandID(command), index).String()}, nil)
	}
	for _, step := range []string{"fence", "receipt", "späte Quittung", ""} {
		settle("step "+step, idVector{Rule: "step", Namespace: commandNamespace, Request: request.String(), Step: step, Result: domain.Step(request, step).String()}, nil)
	}
	pepper, principal := secret(0x53), id[struct{}](0x54)
	for _, key := range []string{"once", "5b9a…"} {
		sum := mac(pepper[:], principal[:], domain.AppendLPString(nil, key))
		settle("keyed "+key, idVector{Rule: "keyed", Namespace: commandNamespace, Pepper: pepper[:], Principal: principal.String(), Key: key, Result: domain.Keyed(sum).String()}, nil)
	}
	for _, who := range []string{"user-1", "Zoë@example.com"} {
		sum := mac(pepper[:], domain.AppendLPString(nil, "main"), domain.AppendLPString(nil, "e"), domain.AppendLPString(nil, who))
		result, _ := hexBytes(sum[:]).MarshalText()
		settle("directory "+who, idVector{Rule: "directory", Namespace: "main", Pepper: pepper[:], Scope: "e", ExternalID: who, Result: string(result)}, nil)
	}
}

type whereVector struct {
	Ledger    string   `json:"ledger"`
	Scope     string   `json:"scope"`
	Ref       string   `json:"ref"`
	Class     string   `json:"class"`
	Tier      string   `json:"tier"`
	Bucket    string   `json:"bucket"`
	Gen       uint32   `json:"gen"`
	Where     hexBytes `json:"where"`
	Subject   hexBytes `json:"where_S"`
	Retention hexBytes `json:"where_R"`
	ID        hexBytes `json:"where_id"` // of the ref
	Stream    string   `json:"stream,omitempty"`
}

func places() map[string]domain.Where {
	ref := domain.SubjectRef(id[struct{}](0x61))
	return map[string]domain.Where{
		"day":       {Ledger: "main", Scope: domain.Erasable, Ref: ref, Class: "messages", Tier: "0", Bucket: "2026-11-23", Gen: 1},
		"tier":      {Ledger: "main", Scope: domain.Erasable, Ref: ref, Class: "messages", Tier: "P7D", Bucket: "2026-11-23", Gen: 2},
		"obligated": {Ledger: "l", Scope: domain.Obligated, Ref: ref, Class: "consent", Tier: "0", Bucket: "2026-11", Gen: 1},
		"anonymous": {Ledger: "0123456789abcdef", Scope: domain.Erasable, Ref: ref, Class: "network", Tier: "anon", Bucket: "2026-11-23T10", Gen: 1},
		"minute":    {Ledger: "main", Scope: domain.Erasable, Ref: ref, Class: "live", Tier: "0", Bucket: "2026-11-23T10:41", Gen: 1<<32 - 1},
		"year":      {Ledger: "main", Scope: domain.Erasable, Ref: ref, Class: "a2345678901234567890123456789012", Tier: "P1Y2M3W4DT5H6M", Bucket: "2026", Gen: 1},
	}
}

func describe(w domain.Where) whereVector {
	v := whereVector{
		Ledger: string(w.Ledger), Scope: w.Scope.String(), Ref: w.Ref.String(), Class: string(w.Class), Tier: string(w.Tier), Bucket: string(w.Bucket), Gen: uint32(w.Gen),
		Where: w.Bytes(), Subject: w.Subject(), Retention: w.Retention(), ID: domain.WhereID(w.Ledger, w.Ref),
	}
	if w.Tier != domain.AnonTier {
		v.Stream = string(domain.StreamsOf(w.Ledger).Of(w))
	}
	return v
}

func TestVectorsWhere(t *testing.T) {
	settle := openBook[whereVector](t, "where.json", "Places of events and keys, FORMAT §4: where, where_S, where_R, the where of a ref, and the stream of a person's events, FORMAT §2")
	for name, w := range places() {
		settle(name, describe(w), nil)
	}
}

type timeVector struct {
	At       string `json:"at"`
	Width    string `json:"width"`
	Period   string `json:"period"`
	Hour     string `json:"hour"`
	Bucket   string `json:"bucket"`
	Next     string `json:"next"`
	DueMost  string `json:"due_at_most"`
	DueLeast string `json:"due_at_least"`
}

func TestVectorsTime(t *testing.T) {
	settle := openBook[timeVector](t, "time.json", "Buckets and due dates, FORMAT §1 and §4; month arithmetic clamps to the last day of the month")
	for name, v := range map[string]timeVector{
		"minute": {At: "2026-11-23T10:41:59.999Z", Width: "minute", Period: "PT2M"}, "hour": {At: "2026-12-31T23:59:59Z", Width: "hour", Period: "PT48H"},
		"day": {At: "2026-11-23T00:00:00Z", Width: "day", Period: "P30D"}, "clamp": {At: "2026-08-31T12:00:00Z", Width: "day", Period: "P6M"},
		"clamp leap": {At: "2027-08-31T12:00:00Z", Width: "day", Period: "P6M"}, "leap day": {At: "2028-02-29T12:00:00Z", Width: "day", Period: "P1Y"},
		"month": {At: "2026-11-23T10:00:00Z", Width: "month", Period: "P3Y"}, "year": {At: "2026-11-23T10:00:00Z", Width: "year", Period: "P10Y"},
		"mixed": {At: "2026-01-31T10:00:00Z", Width: "day", Period: "P1M1W1DT12H"}, "century": {At: "2099-12-31T10:00:00Z", Width: "day", Period: "P2M"},
	} {
		at, err := time.Parse(time.RFC3339Nano, v.At)
		if err != nil {
			t.Fatal(err)
		}
		b, p := domain.BucketAt(at, domain.Width(v.Width)), domain.MustPeriod(v.Period)
		v.Hour, v.Bucket, v.Next = string(domain.HourOf(at)), string(b), string(b.Next())
		v.DueMost, v.DueLeast = b.Due(domain.AtMost, p).Format(time.RFC3339), b.Due(domain.AtLeast, p).Format(time.RFC3339)
		settle(name, v, nil)
	}
}

type padmeVector struct {
	Length, Padded uint64
}

func TestVectorsPadme(t *testing.T) {
	settle := openBook[[]padmeVector](t, "padme.json", "Padmé lengths (FORMAT §4): E = floor(log2 L), S = floor(log2 E) + 1, rounded up to a multiple of 2^(E-S)")
	var rows []padmeVector
	for _, n := range []uint64{0, 1, 2, 3, 8, 9, 100, 127, 128, 129, 255, 256, 257, 702, 1000, 4096, 4097, 65535, 65537, 1 << 20, 1<<20 + 1, 524287} {
		rows = append(rows, padmeVector{Length: n, Padded: domain.Padme(n)})
	}
	settle("lengths", rows, nil)
}

type envelopeVector struct {
	Type   string  `json:"type"`
	Hour   string  `json:"hour"`
	Policy uint32  `json:"policy"`
	Salt   string  `json:"salt"`
	Scope  string  `json:"scope,omitempty"`
	Ref    string  `json:"ref,omitempty"`
	Class  string  `json:"class,omitempty"`
	Tier   string  `json:"tier,omitempty"`
	Bucket string  `json:"bucket,omitempty"`
	Gen    uint32  `json:"gen,omitempty"`
	N      uint32  `json:"n,omitempty"`
	Late   bool    `json:"late,omitempty"`
	Facts  [][]any `json:"facts"`
	Text   string  `json:"text"`
}

// sampleFact fills a fact of any kind.
func sampleFact(i int, spec domain.FactSpec) (domain.Fact, any) {
	switch spec.Kind {
	case domain.FactInt:
		return domain.Int(spec.Name, int64(1000+i)), 1000 + i
	case domain.FactBool:
		return domain.Bool(spec.Name, true), true
	case domain.FactUUID:
		x := id[struct{}](byte(0x70 + i))
		return domain.UUID(spec.Name, x), x.String()
	case domain.FactList:
		return domain.List(spec.Name, []string{"messages:1", "network:2"}), []any{"messages:1", "network:2"}
	case domain.FactName:
	}
	return domain.Name(spec.Name, spec.Name+"-1"), spec.Name + "-1"
}

// sampleEnvelope is an envelope of a type with every fact that it declares.
func sampleEnvelope(spec domain.EventSpec) (domain.Envelope, [][]any) {
	e := domain.Envelope{Hour: "2026-11-23T10Z", Policy: 7, Salt: [16]byte(bytes.Repeat([]byte{0xfb}, 16)), Class: spec.Class}
	if !spec.Class.Reserved() {
		e.Scope, e.Ref, e.Tier, e.Bucket, e.Gen, e.N = domain.Erasable, domain.SubjectRef(id[struct{}](0x62)), domain.OwnTier, "2026-11-23", 1, 1
		if spec.Class == "" {
			e.Class = "messages"
		}
	}
	values := [][]any{}
	for i, f := range spec.Facts {
		fact, value := sampleFact(i, f)
		e.Facts = append(e.Facts, fact)
		values = append(values, []any{f.Name, value})
	}
	return e, values
}

func vectorOf(t *testing.T, spec domain.EventSpec, e domain.Envelope, facts [][]any) envelopeVector {
	t.Helper()
	text, err := e.Encode(spec)
	if err != nil {
		t.Fatal(err)
	}
	salt, _ := hexBytes(e.Salt[:]).MarshalText()
	v := envelopeVector{
		Type: string(spec.Type), Hour: string(e.Hour), Policy: e.Policy, Salt: string(salt), Class: string(e.Class), Tier: string(e.Tier),
		Bucket: string(e.Bucket), Gen: uint32(e.Gen), N: e.N, Late: e.Late, Facts: facts, Text: string(text),
	}
	if e.Scope != 0 {
		v.Scope, v.Ref = e.Scope.String(), e.Ref.String()
	}
	return v
}

// TestVectorsEnvelopes freezes an envelope of every event type and version.
func TestVectorsEnvelopes(t *testing.T) {
	settle := openBook[envelopeVector](t, "envelopes.json", "One envelope of every event type and version, with all of its facts, FORMAT §3; salt in hex, base64url in text")
	for _, typ := range domain.Events.Types() {
		spec := mustSpec(t, typ)
		e, facts := sampleEnvelope(spec)
		v := settle(string(typ), vectorOf(t, spec, e, facts), nil)
		again, err := domain.DecodeEnvelope(spec, []byte(v.Text))
		if err != nil || !reflect.DeepEqual(again, e) && len(spec.Facts) > 0 {
			t.Errorf("%s: read %+v (%v), wrote %+v", typ, again, err, e)
		}
	}
	spec := mustSpec(t, domain.TrafficRecorded)
	e, facts := sampleEnvelope(spec)
	e.Late, e.Scope, e.Tier, e.Bucket, e.Gen, e.N = true, domain.Obligated, "P7D", "2026-11-23T10:41", 1<<32-1, 1<<32-1
	settle("late", vectorOf(t, spec, e, facts), nil)
}
