package domain

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
)

// DecodeEnvelope reads the canonical bytes of an envelope of the given type.
// Unknown keys, keys in another order or twice, spaces and escapes are refused.
func DecodeEnvelope(spec EventSpec, raw []byte) (Envelope, error) {
	c := cursor{rest: string(raw)}
	e := Envelope{}
	c.literal(`{"v":1,"hour":"`)
	e.Hour = Hour(c.text())
	c.literal(`,"policy":`)
	e.Policy = uint32(c.number(math.MaxUint32)) //nolint:gosec // bounded by number
	c.literal(`,"salt":"`)
	c.salt(&e.Salt)
	if c.has(`,"scope":"`) {
		e.Scope = c.scope()
		c.literal(`,"ref":"`)
		e.Ref = c.ref()
	}
	e.Class = Class(c.optional(`,"class":"`))
	e.Tier = Tier(c.optional(`,"tier":"`))
	e.Bucket = Bucket(c.optional(`,"bucket":"`))
	e.Gen = Gen(c.optionalNumber(`,"gen":`)) //nolint:gosec // bounded by number
	e.N = uint32(c.optionalNumber(`,"n":`))  //nolint:gosec // bounded by number
	e.Late = c.has(`,"late":true`)
	c.literal(`,"facts":{`)
	e.Facts = c.facts(spec.Facts)
	c.literal(`}}`)
	if c.failed || c.rest != "" {
		return Envelope{}, fmt.Errorf("%s: %w", spec.Type, ErrEnvelope)
	}
	if err := e.valid(); err != nil {
		return Envelope{}, fmt.Errorf("%s: %w", spec.Type, err)
	}
	return e, nil
}

// A cursor walks the one canonical spelling and fails for good at the first
// byte that differs.
type cursor struct {
	rest   string
	failed bool
}

func (c *cursor) fail() { c.failed, c.rest = true, "" }

func (c *cursor) has(s string) bool {
	if len(c.rest) < len(s) || c.rest[:len(s)] != s {
		return false
	}
	c.rest = c.rest[len(s):]
	return true
}

func (c *cursor) literal(s string) {
	if !c.has(s) {
		c.fail()
	}
}

// text reads up to the closing quote; only what needs no escape is allowed.
func (c *cursor) text() string {
	for i := range len(c.rest) {
		if c.rest[i] == '"' {
			s := c.rest[:i]
			c.rest = c.rest[i+1:]
			if i == 0 || i > maxNameBytes {
				c.fail()
			}
			return s
		}
		if !nameByte[c.rest[i]] {
			break
		}
	}
	c.fail()
	return ""
}

func (c *cursor) optional(key string) string {
	if !c.has(key) {
		return ""
	}
	return c.text()
}

// number reads a decimal without sign and leading zeros.
func (c *cursor) number(limit uint64) uint64 {
	i := 0
	for i < len(c.rest) && c.rest[i] >= '0' && c.rest[i] <= '9' {
		i++
	}
	n, err := strconv.ParseUint(c.rest[:i], 10, 64)
	if err != nil || n > limit || (c.rest[0] == '0' && i > 1) {
		c.fail()
		return 0
	}
	c.rest = c.rest[i:]
	return n
}

// optionalNumber reads a number that is left out when it is 0.
func (c *cursor) optionalNumber(key string) uint64 {
	if !c.has(key) {
		return 0
	}
	n := c.number(math.MaxUint32)
	if n == 0 {
		c.fail()
	}
	return n
}

func (c *cursor) salt(dst *[16]byte) {
	s := c.text()
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(dst) {
		c.fail()
		return
	}
	copy(dst[:], b)
}

func (c *cursor) scope() Scope {
	s := c.text()
	if len(s) != 1 {
		c.fail()
		return 0
	}
	return Scope(s[0])
}

func (c *cursor) ref() SubjectRef {
	ref, err := Parse[SubjectRef](c.text())
	if err != nil {
		c.fail()
	}
	return ref
}

// facts reads the declared facts in their order.
func (c *cursor) facts(specs []FactSpec) Facts {
	facts := make(Facts, 0, len(specs))
	for _, spec := range specs {
		sep := ""
		if len(facts) > 0 {
			sep = ","
		}
		if !c.has(sep + `"` + spec.Name + `":`) {
			if spec.Required {
				c.fail()
			}
			continue
		}
		f := c.fact(spec)
		if f.valid(spec.Kind) != nil {
			c.fail()
		}
		facts = append(facts, f)
	}
	return facts
}

func (c *cursor) fact(spec FactSpec) Fact {
	f := Fact{name: spec.Name, kind: spec.Kind}
	switch spec.Kind {
	case FactInt:
		f.n = int64(c.number(math.MaxInt64)) //nolint:gosec // bounded by number
	case FactBool:
		c.literal("true")
		f.n = 1
	case FactName, FactUUID:
		c.literal(`"`)
		f.text = c.text()
	case FactList:
		f.list = c.list()
	}
	return f
}

func (c *cursor) list() []string {
	c.literal(`["`)
	list := []string{c.text()}
	for !c.failed && c.has(`,"`) {
		list = append(list, c.text())
		if len(list) > maxListNames {
			c.fail()
		}
	}
	c.literal(`]`)
	return list
}
