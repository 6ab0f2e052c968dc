package domain

import "time"

// Words of a pool's rules. The first of each group is the default.
const (
	ModeTap             = "tap"     // bytes pass untouched
	ModeMessage         = "message" // fields can be extracted
	RecordAsync         = "async"   // a crash loses at most one flush interval
	RecordBeforeForward = "before-forward"
	FailureBlock        = "block" // readers are slowed, then blocked
	FailureRefuse       = "refuse"
	FailurePass         = "pass" // traffic passes, a gap is recorded
	ErasureEnrol        = "enrol"
	ErasureRefuse       = "refuse"
	ErasureUnrecorded   = "unrecorded"
	KeysRefuse          = "refuse"
	KeysWait            = "wait"
)

// Transforms of a field's value before it is sealed.
const (
	TransformNone     = "none"
	TransformTruncate = "truncate" // an address to /24 or /48, a time to its hour, a text to its first word
	TransformHMAC     = "hmac"
)

// Events from which the period of a carried class counts.
const (
	FromClosed    = "closed"
	FromWithdrawn = "withdrawn"
	FromDecided   = "decided"
)

// Scopes as a policy writes them.
const (
	ScopeErasable  = "erasable"
	ScopeObligated = "obligated"
)

// Defaults of a flush: what a crash can lose at most.
const (
	DefaultFlushRecords  = 256
	DefaultFlushInterval = 5 * time.Second
)

// WithDefaults returns the policy with every optional value written out, as it
// stands in the log: what a revision meant must not depend on a later release's
// defaults. Periods of classes have none.
func (p Policy) WithDefaults() Policy {
	p.Records.Node = orPeriod(p.Records.Node, "P1Y")
	p.Records.Destruction = orPeriod(p.Records.Destruction, "P3Y")
	p.Classes = append([]ClassRule(nil), p.Classes...)
	for i := range p.Classes {
		p.Classes[i] = p.Classes[i].withDefaults()
	}
	p.Pools = append([]PoolRule(nil), p.Pools...)
	for i := range p.Pools {
		p.Pools[i] = p.Pools[i].withDefaults()
	}
	return p
}

func (c ClassRule) withDefaults() ClassRule {
	c.Scope = orText(c.Scope, ScopeErasable)
	c.Rule = c.RuleOf()
	c.Fields = append([]Field(nil), c.Fields...)
	for i := range c.Fields {
		c.Fields[i].Transform = orText(c.Fields[i].Transform, TransformNone)
	}
	return c
}

func (r PoolRule) withDefaults() PoolRule {
	r.Mode = orText(r.Mode, ModeTap)
	r.Record = orText(r.Record, RecordAsync)
	r.OnLedgerFailure = orText(r.OnLedgerFailure, FailureBlock)
	r.AfterErasure = orText(r.AfterErasure, ErasureEnrol)
	r.KeysUnavailable = orText(r.KeysUnavailable, KeysRefuse)
	if r.Flush.Records == 0 {
		r.Flush.Records = DefaultFlushRecords
	}
	if r.Flush.Interval == 0 {
		r.Flush.Interval = DefaultFlushInterval
	}
	return r
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func orPeriod(p Period, otherwise string) Period {
	if p.IsZero() {
		return MustPeriod(otherwise)
	}
	return p
}

// DefaultPolicy is the policy of `lethe serve --upstream`: one pool on every
// path. No controller has reviewed it, and doctor and every audit say so.
func DefaultPolicy() Policy {
	return Policy{
		Controller: Controller{Name: "unnamed controller"},
		Purposes: []Purpose{
			{ID: "service", Title: "Deliver the service", Basis: "contract"},
			{ID: "security", Title: "Detect and stop abuse", Basis: "legitimate-interests"},
		},
		Classes: append([]ClassRule{
			{ID: "network", Purpose: "security", Retention: MustPeriod("P14D"), Bucket: Day, Fields: []Field{{Name: "ip", Transform: TransformTruncate}, {Name: "user_agent"}, {Name: "origin"}}},
			{ID: "lifecycle", Purpose: "security", Retention: MustPeriod("P6M"), Bucket: Day, Fields: fieldsNamed("opened_at", "closed_at", "duration", "bytes", "close_reason")},
			{ID: "messages", Purpose: "service", Retention: MustPeriod("P30D"), Bucket: Day, Tiers: []Period{MustPeriod("P7D")}, Fields: fieldsNamed("at", "direction", "opcode", "size")},
		}, builtinRules()...),
		Pools:    []PoolRule{{ID: "default", Path: "/", Capture: []Class{"network", "lifecycle", "messages"}}},
		Disposal: DisposalRule{Within: MustPeriod("P30D")},
	}.WithDefaults()
}

// TrialPolicy is the policy of `lethe serve` without a configuration: the chat
// also captures a class whose buckets die within minutes, to be watched.
func TrialPolicy() Policy {
	p := DefaultPolicy()
	p.Classes = append([]ClassRule{
		{ID: "live", Purpose: "service", Retention: MustPeriod("PT2M"), Bucket: Minute, Fields: fieldsNamed("at", "direction", "opcode", "size")},
	}, p.Classes...)
	p.Pools = []PoolRule{{ID: "chat", Path: "/", Capture: []Class{"live", "network", "lifecycle", "messages"}}}
	return p.WithDefaults()
}

// builtinRules are the classes of Lethe itself (ARCHITECTURE §7).
func builtinRules() []ClassRule {
	kept := func(id Class, purpose, period, from string) ClassRule {
		return ClassRule{ID: id, Purpose: purpose, Retention: MustPeriod(period), Bucket: Month, From: from, Scope: ScopeObligated, Ground: "A17-3-b"}
	}
	return []ClassRule{
		kept(ClassConsent, "service", "P3Y", FromWithdrawn),
		kept(ClassRights, "service", "P3Y", FromClosed),
		{ID: ClassAccess, Purpose: "service", Retention: MustPeriod("P1Y"), Bucket: Month},
		{ID: ClassPreferences, Purpose: "service", Retention: MustPeriod("P1Y"), Bucket: Month},
		kept(ClassControl, "service", "P3Y", ""),
		kept(ClassActs, "security", "P3Y", ""),
	}
}

func fieldsNamed(names ...string) []Field {
	fields := make([]Field, len(names))
	for i, n := range names {
		fields[i] = Field{Name: n}
	}
	return fields
}
