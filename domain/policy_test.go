package domain_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

func TestBuiltinPoliciesAreValid(t *testing.T) {
	for name, p := range map[string]domain.Policy{"default": domain.DefaultPolicy(), "trial": domain.TrialPolicy()} {
		if problems := p.Validate(); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		if p.Reviewed {
			t.Errorf("%s: nobody has reviewed it", name)
		}
		if warnings := p.Warnings(); len(warnings) > 0 && name == "default" {
			t.Errorf("%s: %v", name, warnings)
		}
	}
	trial, ordinary := domain.TrialPolicy(), domain.DefaultPolicy()
	if got := trial.MinuteBuckets(); len(got) != 1 || got[0] != "classes[0].bucket" {
		t.Errorf("minute buckets of the trial: %v", got)
	}
	if got := ordinary.MinuteBuckets(); got != nil {
		t.Errorf("minute buckets of the default: %v", got)
	}
}

// policyProblems break the default policy in one place each.
var policyProblems = []struct {
	name  string
	wreck func(*domain.Policy)
	want  string // path: part of the message
}{
	{"no controller", func(p *domain.Policy) { p.Controller.Name = "" }, "controller.name: is missing"},
	{"no purposes", func(p *domain.Policy) { p.Purposes = nil }, "purposes: is empty"},
	{"purpose id", func(p *domain.Policy) { p.Purposes[0].ID = "Käse" }, "purposes[0].id: "},
	{"purpose title", func(p *domain.Policy) { p.Purposes[0].Title = "" }, "purposes[0].title: is missing"},
	{"basis", func(p *domain.Policy) { p.Purposes[1].Basis = "because" }, `purposes[1].basis: "because" is not known`},
	{"purpose twice", func(p *domain.Policy) { p.Purposes[1].ID = "service" }, "purposes[1].id: "},
	{"class form", func(p *domain.Policy) { p.Classes[0].ID = "Net" }, "classes[0].id: "},
	{"class reserved", func(p *domain.Policy) { p.Classes[0].ID = "journal" }, "classes[0].id: journal is reserved"},
	{"class twice", func(p *domain.Policy) { p.Classes[1].ID = "network" }, "classes[1].id: "},
	{"purpose unknown", func(p *domain.Policy) { p.Classes[2].Purpose = "fun" }, `classes[2].purpose: "fun" is not among`},
	{"no period", func(p *domain.Policy) { p.Classes[2].Retention = domain.Period{} }, "classes[2].retention: is missing"},
	{"width", func(p *domain.Policy) { p.Classes[2].Bucket = "week" }, "classes[2].bucket: "},
	{"short period", func(p *domain.Policy) { p.Classes[2].Retention = domain.MustPeriod("P1D") }, "classes[2].retention: P1D is less than two"},
	{"short tier", func(p *domain.Policy) { p.Classes[2].Tiers[0] = domain.MustPeriod("PT47H") }, "classes[2].tiers[0]: PT47H is less"},
	{"long tier", func(p *domain.Policy) { p.Classes[2].Tiers[0] = domain.MustPeriod("P31D") }, "classes[2].tiers[0]: P31D is longer"},
	{"empty tier", func(p *domain.Policy) { p.Classes[2].Tiers[0] = domain.Period{} }, "classes[2].tiers[0]: is empty"},
	{"rule", func(p *domain.Policy) { p.Classes[2].Rule = "about" }, "classes[2].retention_rule: "},
	{"scope", func(p *domain.Policy) { p.Classes[2].Scope = "both" }, "classes[2].scope: "},
	{"from", func(p *domain.Policy) { p.Classes[3].From = "then" }, "classes[3].from: "},
	{"ground", func(p *domain.Policy) { p.Classes[3].Ground = "" }, "classes[3].ground: is missing"},
	{"field form", func(p *domain.Policy) { p.Classes[0].Fields[0].Name = "Ip" }, "classes[0].fields[0].name: "},
	{"field unknown", func(p *domain.Policy) { p.Classes[0].Fields[0].Name = "shoes" }, `classes[0].fields[0].name: no event has a field "shoes"`},
	{"field twice", func(p *domain.Policy) { p.Classes[0].Fields[1].Name = "ip" }, "classes[0].fields[1].name: "},
	{"transform", func(p *domain.Policy) { p.Classes[0].Fields[0].Transform = "rot13" }, "classes[0].fields[0].transform: "},
	{"truncate a count", func(p *domain.Policy) { p.Classes[1].Fields[3].Transform = "truncate" }, "classes[1].fields[3].transform: truncate is for"},
	{"transform a column", func(p *domain.Policy) { p.Classes[2].Fields[0].Transform = "hmac" }, "classes[2].fields[0].transform: at is a column"},
	{"built-in gone", func(p *domain.Policy) { p.Classes = p.Classes[:len(p.Classes)-1] }, "classes: the built-in class acts is missing"},
	{"built-in scope", func(p *domain.Policy) { p.Classes[3].Scope = "erasable" }, "classes[3].scope: the built-in class consent is obligated"},
	{"built-in fields", func(p *domain.Policy) { p.Classes[3].Fields = p.Classes[0].Fields }, "classes[3].fields: the built-in class consent"},
	{"pool id", func(p *domain.Policy) { p.Pools[0].ID = "a b" }, "pools[0].id: "},
	{"pool path", func(p *domain.Policy) { p.Pools[0].Path = "chat" }, "pools[0].path: "},
	{"pool path not clean", func(p *domain.Policy) { p.Pools[0].Path = "/a/../b" }, "pools[0].path: "},
	{"pools on a path", func(p *domain.Policy) { p.Pools = append(p.Pools, p.Pools[0]); p.Pools[1].ID = "two" }, "pools[1].path: "},
	{"pools of an id", func(p *domain.Policy) { p.Pools = append(p.Pools, p.Pools[0]); p.Pools[1].Path = "/two" }, "pools[1].id: "},
	{"nothing captured", func(p *domain.Policy) { p.Pools[0].Capture = nil }, "pools[0].capture: is empty"},
	{"capture unknown", func(p *domain.Policy) { p.Pools[0].Capture[1] = "cookies" }, `pools[0].capture[1]: class "cookies" is not`},
	{"capture built-in", func(p *domain.Policy) { p.Pools[0].Capture[1] = "access" }, "pools[0].capture[1]: class access is not captured"},
	{"capture twice", func(p *domain.Policy) { p.Pools[0].Capture[1] = "network" }, "pools[0].capture[1]: class network is captured twice"},
	{"mode", func(p *domain.Policy) { p.Pools[0].Mode = "x" }, "pools[0].mode: "},
	{"record", func(p *domain.Policy) { p.Pools[0].Record = "x" }, "pools[0].record: "},
	{"failure", func(p *domain.Policy) { p.Pools[0].OnLedgerFailure = "x" }, "pools[0].on_ledger_failure: "},
	{"erasure", func(p *domain.Policy) { p.Pools[0].AfterErasure = "x" }, "pools[0].after_erasure: "},
	{"keys", func(p *domain.Policy) { p.Pools[0].KeysUnavailable = "x" }, "pools[0].keys_unavailable: "},
	{"flush records", func(p *domain.Policy) { p.Pools[0].Flush.Records = 4097 }, "pools[0].flush.records: "},
	{"flush short", func(p *domain.Policy) { p.Pools[0].Flush.Interval = 99 * time.Millisecond }, "pools[0].flush.interval: "},
	{"flush long", func(p *domain.Policy) { p.Pools[0].Flush.Interval = 61 * time.Minute }, "pools[0].flush.interval: "},
	{"extract in a tap", func(p *domain.Policy) { p.Pools[0].Extract = map[string]string{"at": "json:/at"} }, "pools[0].mode: extract"},
	{"extract without class", func(p *domain.Policy) {
		p.Pools[0].Mode, p.Pools[0].Extract = "message", map[string]string{"topic": "json:/t"}
	}, `pools[0].extract.topic: field "topic" is in no class`},
	{"disposal", func(p *domain.Policy) { p.Disposal.Within = domain.Period{} }, "disposal.within: is missing"},
	{"records", func(p *domain.Policy) { p.Records.Node = domain.Period{} }, "records: "},
}

func TestPolicyProblems(t *testing.T) {
	for _, c := range policyProblems {
		t.Run(c.name, func(t *testing.T) {
			p := domain.DefaultPolicy()
			c.wreck(&p)
			problems := p.Validate()
			if len(problems) == 0 || !strings.HasPrefix(problems[0].String(), c.want) {
				t.Fatalf("got %v, want %q first", problems, c.want)
			}
			if len(problems) > 2 && !strings.HasPrefix(c.want, "purposes") {
				t.Errorf("one fault gave %d problems: %v", len(problems), problems)
			}
		})
	}
}

func TestExtractedFieldsAreKnown(t *testing.T) {
	p := domain.DefaultPolicy()
	p.Pools[0].Mode, p.Pools[0].Extract = domain.ModeMessage, map[string]string{"topic": "json:/topic"}
	p.Classes[2].Fields = append(p.Classes[2].Fields, domain.Field{Name: "topic"})
	if problems := p.Validate(); len(problems) > 0 {
		t.Fatal(problems)
	}
}

func TestPolicyWarnings(t *testing.T) {
	p := domain.DefaultPolicy()
	p.Controller.Contact, p.Controller.DPO = "privacy@example.com", "Anna Example <anna.example@example.com>"
	p.Classes[1].Bucket = domain.Month
	got := p.Warnings()
	if len(got) != 2 || got[0].Path != "controller.dpo" || got[1].Path != "classes[1].bucket" {
		t.Fatalf("got %v", got)
	}
}

func TestPolicyRoundTrip(t *testing.T) {
	p := domain.TrialPolicy()
	p.Records = domain.RecordPeriods{} // a zero period survives, too
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := domain.DecodePolicy(b)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := p.Digest()
	two, err := again.Digest()
	if err != nil || one != two {
		t.Fatalf("digest %s became %s (%v)", one, two, err)
	}
	if _, err := domain.DecodePolicy([]byte(`{"controller":{},"colour":"red"}`)); err == nil {
		t.Fatal("an unknown key was read")
	}
}

func TestPolicyPeriods(t *testing.T) {
	p := domain.DefaultPolicy()
	lifecycle, _ := p.Class("lifecycle")
	if got := p.Period(lifecycle, domain.AnonTier).String(); got != "P30D" {
		t.Errorf("anonymous life cycle lives for %s", got)
	}
	messages, _ := p.Class("messages")
	if got := p.Period(messages, "P7D").String(); got != "P7D" {
		t.Errorf("tier P7D lives for %s", got)
	}
	due, ok := p.Due(domain.RetentionKey{Class: "messages", Tier: "P7D", Bucket: "2026-11-23"})
	if want := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC); !ok || !due.Equal(want) {
		t.Errorf("due %v", due)
	}
	due, ok = p.Due(domain.RetentionKey{Class: "acts", Tier: "0", Bucket: "2026-11"})
	if want := time.Date(2029, 12, 1, 0, 0, 0, 0, time.UTC); !ok || !due.Equal(want) {
		t.Errorf("at-least: due %v", due)
	}
	if _, ok := p.Due(domain.RetentionKey{Class: "gone", Tier: "0", Bucket: "2026-11"}); ok {
		t.Error("a class that is not in the policy is due")
	}
}
