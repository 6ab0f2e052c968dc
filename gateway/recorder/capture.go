package recorder

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// A capture is what one pool records, worked out once from the policy.
type capture struct {
	pool     string
	classes  []class
	records  int           // a chunk is handed over at so many messages
	interval time.Duration // and at this age
	refuse   bool          // new connections while the ledger falls behind
	gap      *gap          // of a pool that lets traffic pass; nil otherwise
	wait     bool          // for the custodian, as long as the handshake may take
	dirty    *dirtyList    // chunks that wait
	width    int64         // µs; no chunk crosses a multiple of it: the narrowest bucket, an hour at most
	left     bool          // the policy has the pool no more
}

// A class is one data class of a capture.
type class struct {
	id        domain.Class
	fields    map[string]string // by name: the transform
	columns   domain.Columns
	lifecycle bool
	origin    bool
	anonymous bool // captured from connections that nobody identified, too
}

// Defaults of a pool's flush rule.
const (
	defaultRecords  = 256
	defaultInterval = 5 * time.Second
)

var (
	lifecycleFields = fieldsOf(domain.ConnectionOpened, domain.ConnectionIdled, domain.ConnectionResumed, domain.ConnectionClosed)
	originFields    = fieldsOf(domain.ConnectionOrigin)
)

func fieldsOf(types ...domain.EventType) (names []string) {
	for _, t := range types {
		spec, err := domain.Events.Spec(t)
		if err != nil {
			continue // the table's own types; its test covers them
		}
		for _, f := range spec.Fields {
			names = append(names, f.Name)
		}
	}
	return names
}

// compile works out what a pool records under a policy.
func compile(p *domain.Policy, rule domain.PoolRule) (*capture, error) {
	c := &capture{
		pool: rule.ID, dirty: &dirtyList{}, records: rule.Flush.Records, interval: rule.Flush.Interval, width: time.Hour.Microseconds(),
		refuse: rule.OnLedgerFailure == domain.FailureRefuse, wait: rule.KeysUnavailable == domain.KeysWait,
	}
	if rule.OnLedgerFailure == domain.FailurePass {
		c.gap = &gap{pool: rule.ID}
	}
	if c.records == 0 {
		c.records = defaultRecords
	}
	if c.interval == 0 {
		c.interval = defaultInterval
	}
	for _, id := range rule.Capture {
		classRule, ok := p.Class(id)
		if !ok {
			return nil, fmt.Errorf("pool %s captures class %s, which the policy does not have", rule.ID, id)
		}
		if classRule.Bucket == domain.Minute {
			c.width = time.Minute.Microseconds()
		}
		c.classes = append(c.classes, compileClass(p, classRule))
	}
	return c, nil
}

func compileClass(p *domain.Policy, rule domain.ClassRule) class {
	names := rule.Names()
	c := class{
		id: rule.ID, fields: map[string]string{}, columns: domain.ColumnsOf(names), anonymous: p.CapturesAnonymous(rule),
		lifecycle: containsAny(names, lifecycleFields), origin: containsAny(names, originFields),
	}
	for _, f := range rule.Fields {
		c.fields[f.Name] = f.Transform
	}
	return c
}

func containsAny(names, of []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(of, n) })
}

// A value is one captured field before its transform.
type value struct {
	name string
	v    any
}

// payload encodes those values that the class captures, transformed as its
// policy says; nil if there are none.
func (c class) payload(mac func(string) []byte, values ...value) []byte {
	kept := map[string]any{}
	for _, v := range values {
		transform, captured := c.fields[v.name]
		if captured && v.v != nil && v.v != "" {
			kept[v.name] = transformed(v.v, transform, mac)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	b, err := json.Marshal(kept)
	if err != nil {
		return nil // strings, numbers and times always encode
	}
	return b
}

func transformed(v any, transform string, mac func(string) []byte) any {
	switch transform {
	case "truncate":
		return truncated(v)
	case "hmac":
		return hex.EncodeToString(mac(fmt.Sprint(v)))
	}
	return v
}

// truncated keeps of an address its network (24 or 48 bits), of a time its hour,
// and of a text its first word.
func truncated(v any) any {
	switch v := v.(type) {
	case netip.Addr:
		bits := 48
		if v.Unmap().Is4() {
			bits = 24
		}
		prefix, err := v.Unmap().Prefix(bits)
		if err != nil {
			return ""
		}
		return prefix.Masked().String()
	case time.Time:
		return v.Truncate(time.Hour)
	case string:
		word, _, _ := strings.Cut(v, " ")
		return word
	}
	return v
}
