package domain_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lethe-ledger/lethe/domain"
)

// TestStreamNames: every name that a rule makes says the same when it is read.
func TestStreamNames(t *testing.T) {
	s := domain.StreamsOf("main")
	rapid.Check(t, func(t *rapid.T) {
		w := domain.Where{
			Ledger: "main", Scope: domain.Erasable, Ref: domain.New[domain.SubjectRef](), Gen: domain.Gen(rapid.Uint32Range(1, math.MaxUint32).Draw(t, "gen")),
			Class: domain.Class(rapid.StringMatching(`x[a-z0-9]{0,31}`).Draw(t, "class")), Tier: domain.Tier(rapid.SampledFrom([]string{"0", "P7D", "P1Y2M3DT4H5M"}).Draw(t, "tier")),
		}
		n, err := s.Parse(s.Of(w))
		if err != nil || n != (domain.StreamName{Kind: domain.StreamSubject, Class: w.Class, Tier: w.Tier, Gen: w.Gen, Ref: w.Ref}) {
			t.Fatalf("%s: %+v, %v", s.Of(w), n, err)
		}
		bucket := domain.Bucket(rapid.SampledFrom([]string{"2026", "2026-11", "2026-11-23", "2026-11-23T10", "2026-11-23T10:41"}).Draw(t, "bucket"))
		block := domain.New[domain.BlockID]()
		n, err = s.Parse(s.Anonymous(w.Class, bucket, block))
		if err != nil || n != (domain.StreamName{Kind: domain.StreamAnonymous, Class: w.Class, Tier: domain.AnonTier, Gen: 1, Bucket: bucket, Block: block}) {
			t.Fatalf("%+v, %v", n, err)
		}
	})
	writer := domain.New[domain.WriterID]()
	if n, err := s.Parse(s.Node("2026-11-23", writer)); err != nil || n.Kind != domain.StreamNode || n.Writer != writer || n.Bucket != "2026-11-23" {
		t.Errorf("%+v, %v", n, err)
	}
	for stream, kind := range map[domain.Stream]domain.StreamKind{
		s.Destruction(): domain.StreamDestruction, s.Retention(): domain.StreamRetention, s.Journal(): domain.StreamJournal,
		s.Policy(): domain.StreamPolicy, s.Checkpoint(): domain.StreamCheckpoint,
		"lethe.other.policy": domain.StreamForeign, "$streams": domain.StreamForeign, "lethe.mainpolicy": domain.StreamForeign, "": domain.StreamForeign,
	} {
		if n, err := s.Parse(stream); err != nil || n.Kind != kind {
			t.Errorf("%s: %+v, %v", stream, n, err)
		}
	}
}

func TestStreamNamesThatAreNone(t *testing.T) {
	const ref = "-6f1d2c3b-4a59-4e68-9f70-8192a3b4c5d6"
	for _, rest := range []string{
		"", "policies", "messages", "messages-0-1", "messages-0-0" + ref, "messages-0-01" + ref, "messages-0--1" + ref, "messages-0-4294967296" + ref,
		"messages-0-" + ref, "messages-1-1" + ref, "messages-0-1" + strings.ToUpper(ref), "Messages-0-1" + ref, "-0-1" + ref, "policy-0-1" + ref, "journal-anon-2026-11-23" + ref,
		"messages-anon-1" + ref, "messages-anon-2026-13" + ref, "node-2026-11" + ref, "node-0-1" + ref, "node" + ref, "messages-0-1-x" + ref, "messages-P07D-1" + ref,
	} {
		if n, err := domain.StreamsOf("main").Parse(domain.Stream("lethe.main." + rest)); err == nil {
			t.Errorf("%q was read as %+v", rest, n)
		}
	}
}

func TestIDs(t *testing.T) {
	a := domain.New[domain.HoldID]()
	if b, err := domain.Parse[domain.HoldID](a.String()); err != nil || a != b {
		t.Errorf("%v, %v", b, err)
	}
	const good = "6f1d2c3b-4a59-4e68-9f70-8192a3b4c5d6"
	for _, s := range []string{"", good[:35], good + "0", strings.ToUpper(good), "{" + good[:34] + "}", "urn:uuid:" + good, strings.ReplaceAll(good, "-", ""), strings.Replace(good, "6", "g", 1), strings.Replace(good, "-", "0", 1), strings.Replace(good, "6", "-", 1)} {
		if _, err := domain.Parse[domain.HoldID](s); !errors.Is(err, domain.ErrBadID) {
			t.Errorf("%q was read", s)
		}
	}
	for _, l := range []domain.LedgerID{"", "Main", "a-b", "12345678901234567", "ä"} {
		if l.Validate() == nil {
			t.Errorf("ledger %q", l)
		}
	}
	if domain.LedgerID("0123456789abcdef").Validate() != nil {
		t.Error("a good ledger id was refused")
	}
	for _, s := range []string{"", "00", strings.Repeat("0", 31), strings.Repeat("A", 32), strings.Repeat("g", 32)} {
		var tag domain.Tag
		if err := tag.UnmarshalText([]byte(s)); !errors.Is(err, domain.ErrTag) {
			t.Errorf("tag %q: %v", s, err)
		}
	}
}

func specOf(t *testing.T, typ domain.EventType) domain.EventSpec {
	t.Helper()
	spec, err := domain.Events.Spec(typ)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func goodEnvelope() domain.Envelope {
	return domain.Envelope{
		Hour: "2026-11-23T10Z", Policy: 1, Scope: domain.Erasable, Ref: domain.SubjectRef{1}, Class: "messages", Tier: "0", Bucket: "2026-11-23", Gen: 1, N: 1,
		Facts: domain.NewFacts(domain.Name("pool", "chat"), domain.UUID("connection", domain.ConnectionID{1}), domain.Int("close", 0), domain.Name("reason", "")),
	}
}

// TestFactsRules: what the table does not declare cannot be written.
func TestFactsRules(t *testing.T) {
	pool, conn := domain.Name("pool", "chat"), domain.UUID("connection", domain.ConnectionID{1})
	closed := specOf(t, domain.ConnectionClosed)
	for name, facts := range map[string]domain.Facts{
		"missing": {pool}, "order": {conn, pool}, "undeclared": {pool, conn, domain.Name("user", "x")}, "twice": {pool, pool, conn},
		"kind": {pool, domain.Name("connection", "6f1d2c3b-4a59-4e68-9f70-8192a3b4c5d6")}, "negative": {pool, conn, domain.Int("close", -1)},
		"prose": {domain.Name("pool", "two words"), conn}, "quote": {domain.Name("pool", `a"b`), conn}, "address": {domain.Name("pool", "a@b"), conn},
		"umlaut": {domain.Name("pool", "ä"), conn}, "long": {domain.Name("pool", strings.Repeat("a", 161)), conn}, "absent": {{}, conn},
	} {
		e := goodEnvelope()
		e.Facts = facts
		if b, err := e.Encode(closed); !errors.Is(err, domain.ErrFact) {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
	late := specOf(t, domain.LateRecorded)
	note := domain.Envelope{Hour: "2026-11-23T10Z", Facts: domain.NewFacts(domain.List("dropped", []string{"a b"}))}
	if _, err := note.Encode(late); !errors.Is(err, domain.ErrFact) {
		t.Errorf("prose in a list: %v", err)
	}
	note.Facts = domain.NewFacts(domain.List("dropped", make([]string, 20_001)))
	if _, err := note.Encode(late); !errors.Is(err, domain.ErrFact) {
		t.Errorf("a list of 20,001: %v", err)
	}
	e := goodEnvelope()
	if f := e.Facts; f.Text("pool") != "chat" || f.Int("close") != 0 || f.Bool("tls") || f.List("x") != nil || len(f) != 3 {
		t.Errorf("%+v", f)
	}
}

func TestEnvelopesThatAreNone(t *testing.T) {
	spec := specOf(t, domain.ConnectionClosed)
	for name, wreck := range map[string]func(*domain.Envelope){
		"hour": func(e *domain.Envelope) { e.Hour = "2026-11-23" }, "scope": func(e *domain.Envelope) { e.Scope = 'x' },
		"no scope": func(e *domain.Envelope) { e.Scope = 0 }, "ref": func(e *domain.Envelope) { e.Ref = domain.SubjectRef{} },
		"class": func(e *domain.Envelope) { e.Class = "M" }, "no class": func(e *domain.Envelope) { e.Class = "" }, "reserved": func(e *domain.Envelope) { e.Class = "journal" },
		"tier": func(e *domain.Envelope) { e.Tier = "7" }, "no tier": func(e *domain.Envelope) { e.Tier = "" }, "gen": func(e *domain.Envelope) { e.Gen = 0 },
		"bucket": func(e *domain.Envelope) { e.Bucket = "2026-11-2" }, "another day": func(e *domain.Envelope) { e.Bucket = "2026-11-24" },
		"another hour": func(e *domain.Envelope) { e.Bucket = "2026-11-23T11:00" },
	} {
		e := goodEnvelope()
		wreck(&e)
		if b, err := e.Encode(spec); err == nil {
			t.Errorf("%s: wrote %s", name, b)
		}
	}
}

// TestOtherSpellings: only the canonical bytes are read.
func TestOtherSpellings(t *testing.T) {
	spec := specOf(t, domain.ConnectionClosed)
	good, err := goodEnvelope().Encode(spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := domain.DecodeEnvelope(spec, good); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"space": {`{"v"`, `{ "v"`}, "trailing": {`}}`, `}} `}, "version": {`"v":1`, `"v":2`}, "unknown key": {`"n":1`, `"n":1,"x":1`},
		"twice": {`"n":1`, `"n":1,"n":1`}, "order": {`"gen":1,"n":1`, `"n":1,"gen":1`}, "leading zero": {`"policy":1`, `"policy":01`}, "sign": {`"policy":1`, `"policy":+1`},
		"exponent": {`"policy":1`, `"policy":1e0`}, "too large": {`"policy":1`, `"policy":4294967296`}, "zero written": {`"n":1`, `"n":0`}, "escape": {`"chat"`, `"\u0063hat"`},
		"padded salt": {`AAAA","scope"`, `AAAA==","scope"`}, "salt bits": {`AA","scope"`, `AB","scope"`}, "false": {`"facts"`, `"late":false,"facts"`},
		"upper case": {`"ref":"01`, `"ref":"0A`}, "fact unknown": {`"close":0`, `"closed":0`}, "fact missing": {`"pool":"chat",`, ``}, "null": {`"close":0`, `"close":null`},
		"line": {`{"v"`, "\n" + `{"v"`}, "empty name": {`"chat"`, `""`}, "float": {`"close":0`, `"close":0.0`},
	} {
		raw := strings.Replace(string(good), edit[0], edit[1], 1)
		if raw == string(good) {
			t.Fatalf("%s changes nothing", name)
		}
		if e, err := domain.DecodeEnvelope(spec, []byte(raw)); err == nil {
			t.Errorf("%s: %s was read as %+v", name, raw, e)
		}
	}
	for i := range good {
		if _, err := domain.DecodeEnvelope(spec, good[:i]); err == nil {
			t.Errorf("the first %d bytes were read", i)
		}
	}
}

func TestTable(t *testing.T) {
	up := func(r map[string]any) map[string]any { return map[string]any{"at": r["time"]} }
	table, err := domain.NewTable(
		domain.EventSpec{Type: "a.b.v1", Next: "a.b.v2", Upcast: up},
		domain.EventSpec{Type: "a.b.v2", Next: "a.b.v3", Upcast: func(r map[string]any) map[string]any { r["n"] = 1; return r }},
		domain.EventSpec{Type: "a.b.v3"},
	)
	if err != nil {
		t.Fatal(err)
	}
	typ, record, err := table.Current("a.b.v1", map[string]any{"time": "now"})
	if err != nil || typ != "a.b.v3" || record["at"] != "now" || record["n"] != 1 {
		t.Errorf("%s %v, %v", typ, record, err)
	}
	if _, _, err := table.Current("a.b.v4", nil); !errors.Is(err, domain.ErrUnknownType) {
		t.Errorf("a version of the future: %v", err)
	}
	for name, specs := range map[string][]domain.EventSpec{
		"twice": {{Type: "a"}, {Type: "a"}}, "no row": {{Type: "a", Next: "b", Upcast: up}}, "no upcaster": {{Type: "a", Next: "b"}, {Type: "b"}}, "no next": {{Type: "a", Upcast: up}},
		"circle": {{Type: "a", Next: "b", Upcast: up}, {Type: "b", Next: "a", Upcast: up}},
	} {
		if _, err := domain.NewTable(specs...); err == nil {
			t.Errorf("%s: made a table", name)
		}
	}
}

// TestTableOfThisRelease: types have the form noun.verb.vN, and facts are names.
func TestTableOfThisRelease(t *testing.T) {
	for _, typ := range domain.Events.Types() {
		parts := strings.Split(string(typ), ".")
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "v") || !typ.Ours() {
			t.Errorf("%s is not noun.verb.vN", typ)
		}
		seen := map[string]bool{}
		for _, f := range specOf(t, typ).Facts {
			if seen[f.Name] || f.Kind < domain.FactInt || f.Kind > domain.FactList {
				t.Errorf("%s: fact %s", typ, f.Name)
			}
			seen[f.Name] = true
		}
	}
	if domain.EventType("$metadata").Ours() {
		t.Error("a type of the store's own is ours")
	}
}

func TestPositions(t *testing.T) {
	a, b := domain.Position{Commit: 1, Prepare: 1}, domain.Position{Commit: 1, Prepare: 2}
	if !a.Before(b) || b.Before(a) || a.Before(a) || !domain.Start.Before(a) || !b.Before(domain.End) {
		t.Error("positions are out of order")
	}
}
