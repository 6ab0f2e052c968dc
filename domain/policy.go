package domain

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A Policy says what is recorded, why and for how long. It stands in the log
// unsealed, in full, from the first event; every envelope names its revision.
// Encoded as JSON, its keys stand in the order of these fields.
type Policy struct {
	Controller Controller    `json:"controller" yaml:"controller"`
	Purposes   []Purpose     `json:"purposes" yaml:"purposes"`
	Classes    []ClassRule   `json:"classes" yaml:"classes"`
	Pools      []PoolRule    `json:"pools" yaml:"pools"`
	Disposal   DisposalRule  `json:"disposal" yaml:"disposal"`
	Records    RecordPeriods `json:"records" yaml:"records"`
	// Reviewed is false for the built-in policy, which no controller has looked
	// at; doctor and every audit say so.
	Reviewed bool `json:"reviewed" yaml:"reviewed,omitempty"`
	// SigningKeys are the ledger's public keys, for whoever verifies a receipt, the
	// journal or a tree head without it (FORMAT §7). The ledger writes them; a
	// configuration has none.
	SigningKeys []SigningKey `json:"signing_keys,omitempty" yaml:"-"`
}

// A SigningKey is an Ed25519 public key.
type SigningKey struct {
	ID  string `json:"id"`
	Use string `json:"use"` // receipt, journal, checkpoint
	Key []byte `json:"key"`
}

// A Controller answers for the processing (GDPR Art. 4(7)). Role addresses only:
// the policy is not sealed.
type Controller struct {
	Name    string `json:"name" yaml:"name"`
	Address string `json:"address,omitempty" yaml:"address,omitempty"`
	Contact string `json:"contact,omitempty" yaml:"contact,omitempty"`
	DPO     string `json:"dpo,omitempty" yaml:"dpo,omitempty"`
	Country string `json:"country,omitempty" yaml:"country,omitempty"`
}

// A Purpose is what data is processed for, with its lawful basis (GDPR Art. 6).
type Purpose struct {
	ID    string `json:"id" yaml:"id"`
	Title string `json:"title" yaml:"title"`
	Basis string `json:"basis" yaml:"basis"`
}

// A ClassRule is one data class: fields, why, how long.
type ClassRule struct {
	ID        Class    `json:"id" yaml:"id"`
	Purpose   string   `json:"purpose" yaml:"purpose"`
	Retention Period   `json:"retention" yaml:"retention"`
	Bucket    Width    `json:"bucket" yaml:"bucket"`
	Rule      Rule     `json:"retention_rule,omitempty" yaml:"retention_rule,omitempty"`
	From      string   `json:"from,omitempty" yaml:"from,omitempty"`
	Scope     string   `json:"scope,omitempty" yaml:"scope,omitempty"` // erasable, obligated
	Ground    string   `json:"ground,omitempty" yaml:"ground,omitempty"`
	Tiers     []Period `json:"tiers,omitempty" yaml:"tiers,omitempty"`
	Fields    []Field  `json:"fields,omitempty" yaml:"fields,omitempty"`
}

// A Field of a class, with what is done to its value before it is sealed.
type Field struct {
	Name      string `json:"name" yaml:"name"`
	Transform string `json:"transform,omitempty" yaml:"transform,omitempty"` // none, truncate, hmac
}

// A PoolRule is the part of a pool that the policy decides: what is captured,
// and what happens when it cannot be.
type PoolRule struct {
	ID              string            `json:"id" yaml:"id"`
	Path            string            `json:"path" yaml:"path"`
	Capture         []Class           `json:"capture" yaml:"capture"`
	Mode            string            `json:"mode,omitempty" yaml:"mode,omitempty"`
	Record          string            `json:"record,omitempty" yaml:"record,omitempty"`
	Flush           FlushRule         `json:"flush,omitzero" yaml:"flush,omitempty"`
	Extract         map[string]string `json:"extract,omitempty" yaml:"extract,omitempty"`
	Recipient       string            `json:"recipient,omitempty" yaml:"recipient,omitempty"`
	OnLedgerFailure string            `json:"on_ledger_failure,omitempty" yaml:"on_ledger_failure,omitempty"`
	AfterErasure    string            `json:"after_erasure,omitempty" yaml:"after_erasure,omitempty"`
	KeysUnavailable string            `json:"keys_unavailable,omitempty" yaml:"keys_unavailable,omitempty"`
}

// A FlushRule bounds what a crash can lose under record: async.
type FlushRule struct {
	Records  int           `json:"records,omitempty" yaml:"records,omitempty"`
	Interval time.Duration `json:"interval,omitempty" yaml:"interval,omitempty"`
}

// A DisposalRule bounds how long ciphertext outlives its keys; it is also the
// longest period of anonymous data.
type DisposalRule struct {
	Within Period `json:"within" yaml:"within"`
}

// RecordPeriods are the periods of the ledger's own streams that end.
type RecordPeriods struct {
	Node        Period `json:"node" yaml:"node"`
	Destruction Period `json:"destruction" yaml:"destruction"`
}

// ScopeOf returns the scope of the class's refs.
func (c ClassRule) ScopeOf() Scope {
	if c.Scope == "obligated" {
		return Obligated
	}
	return Erasable
}

// RuleOf returns the retention rule, with the defaults: what the law keeps is
// kept at least as long, the rest at most.
func (c ClassRule) RuleOf() Rule {
	switch {
	case c.Rule != "":
		return c.Rule
	case c.ScopeOf() == Obligated:
		return AtLeast
	}
	return AtMost
}

// Names returns the names of the class's fields.
func (c ClassRule) Names() []string {
	names := make([]string, len(c.Fields))
	for i, f := range c.Fields {
		names[i] = f.Name
	}
	return names
}

// Class returns the rule of a class.
func (p *Policy) Class(id Class) (ClassRule, bool) {
	i := slices.IndexFunc(p.Classes, func(c ClassRule) bool { return c.ID == id })
	if i < 0 {
		return ClassRule{}, false
	}
	return p.Classes[i], true
}

// Pool returns the rule of a pool.
func (p *Policy) Pool(id string) (PoolRule, bool) {
	i := slices.IndexFunc(p.Pools, func(r PoolRule) bool { return r.ID == id })
	if i < 0 {
		return PoolRule{}, false
	}
	return p.Pools[i], true
}

// ClassesOf returns the classes of a scope in the policy's order.
func (p *Policy) ClassesOf(s Scope) (classes []Class) {
	for _, c := range p.Classes {
		if c.ScopeOf() == s {
			classes = append(classes, c.ID)
		}
	}
	return classes
}

// Period returns the retention period of a class in a tier. Anonymous data lives
// for the shorter of the class's period and the disposal's, so that an erasure
// reaches it in time (FORMAT §2).
func (p *Policy) Period(c ClassRule, t Tier) Period {
	switch t {
	case OwnTier:
		return c.Retention
	case AnonTier:
		return c.Retention.Shorter(p.Disposal.Within)
	}
	period, err := ParsePeriod(string(t))
	if err != nil {
		return c.Retention
	}
	return period
}

// Due returns when a retention key is due under this policy, and false for a
// class that the policy does not have.
func (p *Policy) Due(k RetentionKey) (time.Time, bool) {
	c, ok := p.Class(k.Class)
	if !ok {
		return time.Time{}, false
	}
	return k.Bucket.Due(c.RuleOf(), p.Period(c, k.Tier)), true
}

// CapturesAnonymous reports whether connections that nobody identified are
// recorded in the class: its anonymous period must hold two buckets.
func (p *Policy) CapturesAnonymous(c ClassRule) bool {
	return p.Period(c, AnonTier).Covers(2, c.Bucket)
}

// Encode returns the policy as it stands in the log.
func (p *Policy) Encode() ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding the policy: %w", err)
	}
	return b, nil
}

// Digest is the SHA-256 of the encoded policy, in hex; it is what an operator
// confirms before a period is shortened.
func (p *Policy) Digest() (string, error) {
	b, err := p.Encode()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// DecodePolicy reads a policy as it stands in the log. An unknown key is an
// error: a policy of a later release must not be half understood.
func DecodePolicy(document []byte) (Policy, error) {
	var p Policy
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return Policy{}, fmt.Errorf("decoding the policy: %w", err)
	}
	return p, nil
}
