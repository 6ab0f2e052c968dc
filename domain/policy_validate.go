package domain

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Problem is one thing wrong with a policy. Path names the value as a file
// would be read: classes[3].retention. Message says what to do about it.
type Problem struct {
	Path    string
	Message string
}

// String is path: message.
func (p Problem) String() string { return p.Path + ": " + p.Message }

// Bounds of a flush: what a crash can lose, and how often is appended.
const (
	MaxFlushRecords  = 4096
	MinFlushInterval = 100 * time.Millisecond
	MaxFlushInterval = time.Hour
)

// bases are the six lawful bases of GDPR Art. 6(1).
var bases = []string{"consent", "contract", "legal-obligation", "vital-interests", "public-task", "legitimate-interests"}

// builtinScopes are the classes of Lethe itself with their scope (FORMAT §1).
var builtinScopes = map[Class]Scope{
	ClassPreferences: Erasable, ClassAccess: Erasable,
	ClassConsent: Obligated, ClassRights: Obligated, ClassActs: Obligated, ClassControl: Obligated,
}

// Builtin reports whether c is a class that Lethe itself fills.
func (c Class) Builtin() bool { return builtinScopes[c] != 0 }

// countFields are numbers, of which truncating would keep everything.
var countFields = []string{"duration", "bytes", "control_frames"}

var (
	idForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	fieldForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
)

// Validate returns everything that is wrong with the policy, in its order; none
// means that it can be written to the log. Call it after WithDefaults. Whether
// minute buckets are allowed depends on the custodian and is the caller's to
// check (MinuteBuckets).
func (p *Policy) Validate() []Problem {
	v := &validation{policy: p, fields: Events.captured()}
	v.controller()
	v.purposes()
	for _, r := range p.Pools {
		for name := range r.Extract {
			v.fields[name] = true
		}
	}
	v.each("classes", len(p.Classes), func(at string, i int) { v.class(at, p.Classes[i]) })
	v.unique("classes", len(p.Classes), "id", func(i int) string { return string(p.Classes[i].ID) })
	v.builtins()
	v.each("pools", len(p.Pools), func(at string, i int) { v.pool(at, p.Pools[i]) })
	v.unique("pools", len(p.Pools), "id", func(i int) string { return p.Pools[i].ID })
	v.unique("pools", len(p.Pools), "path", func(i int) string { return p.Pools[i].Path })
	if p.Disposal.Within.IsZero() {
		v.add("disposal.within", "is missing: write how long ciphertext may outlive its keys, such as P30D")
	}
	if p.Records.Node.IsZero() || p.Records.Destruction.IsZero() {
		v.add("records", "periods node and destruction are missing: leave records out for P1Y and P3Y")
	}
	return v.problems
}

// MinuteBuckets returns the classes with minute buckets; they are for trials with
// the embedded custodian only (FORMAT §1).
func (p *Policy) MinuteBuckets() (paths []string) {
	for i, c := range p.Classes {
		if c.Bucket == Minute {
			paths = append(paths, fmt.Sprintf("classes[%d].bucket", i))
		}
	}
	return paths
}

// captured returns the names of all fields that the policy may capture.
func (t Table) captured() map[string]bool {
	names := map[string]bool{}
	for _, spec := range t.specs {
		for _, f := range spec.Fields {
			if f.Captured {
				names[f.Name] = true
			}
		}
	}
	return names
}

type validation struct {
	policy   *Policy
	fields   map[string]bool // that an event declares or a pool extracts
	problems []Problem
}

func (v *validation) add(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (v *validation) each(list string, n int, one func(at string, i int)) {
	for i := range n {
		one(fmt.Sprintf("%s[%d]", list, i), i)
	}
}

// unique wants a value only once in a list.
func (v *validation) unique(list string, n int, key string, value func(int) string) {
	first := map[string]int{}
	for i := range n {
		s := value(i)
		if j, twice := first[s]; twice && s != "" {
			v.add(fmt.Sprintf("%s[%d].%s", list, i, key), "%q is that of %s[%d], too: give each its own", s, list, j)
			continue
		}
		first[s] = i
	}
}

// word wants one of the given words.
func (v *validation) word(at, have string, want ...string) {
	if !slices.Contains(want, have) {
		v.add(at, "%q is not known: write %s", have, alternatives(want))
	}
}

func alternatives(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func (v *validation) controller() {
	if v.policy.Controller.Name == "" {
		v.add("controller.name", "is missing: name who answers for the processing (GDPR Art. 4(7))")
	}
}

func (v *validation) purposes() {
	if len(v.policy.Purposes) == 0 {
		v.add("purposes", "is empty: name at least one purpose with its lawful basis")
	}
	v.each("purposes", len(v.policy.Purposes), func(at string, i int) {
		purpose := v.policy.Purposes[i]
		if !idForm.MatchString(purpose.ID) {
			v.add(at+".id", "%q: want up to 32 lower-case letters, digits and hyphens", purpose.ID)
		}
		if purpose.Title == "" {
			v.add(at+".title", "is missing: say in a few words what the data is for; the person reads it")
		}
		v.word(at+".basis", purpose.Basis, bases...)
	})
	v.unique("purposes", len(v.policy.Purposes), "id", func(i int) string { return v.policy.Purposes[i].ID })
}

func (v *validation) class(at string, c ClassRule) {
	if err := c.ID.Validate(); err != nil {
		v.add(at+".id", "%s", err)
	} else if c.ID.Reserved() {
		v.add(at+".id", "%s is reserved for Lethe's own streams: choose another name", c.ID)
	}
	if !slices.ContainsFunc(v.policy.Purposes, func(p Purpose) bool { return p.ID == c.Purpose }) {
		v.add(at+".purpose", "%q is not among the purposes: add it there, or correct it here", c.Purpose)
	}
	v.periods(at, c)
	v.word(at+".retention_rule", string(c.RuleOf()), string(AtMost), string(AtLeast))
	v.word(at+".scope", orText(c.Scope, ScopeErasable), ScopeErasable, ScopeObligated)
	if c.From != "" {
		v.word(at+".from", c.From, FromClosed, FromWithdrawn, FromDecided)
	}
	if c.ScopeOf() == Obligated && !validName(c.Ground) {
		v.add(at+".ground", "is missing: what an erasure leaves needs its legal ground, such as A17-3-b")
	}
	for i, f := range c.Fields {
		v.field(fmt.Sprintf("%s.fields[%d]", at, i), f)
	}
	v.unique(at+".fields", len(c.Fields), "name", func(i int) string { return c.Fields[i].Name })
}

// periods checks retention, width and tiers against one another.
func (v *validation) periods(at string, c ClassRule) {
	if c.Retention.IsZero() {
		v.add(at+".retention", "is missing: class %s needs a period such as P30D; there is no default", c.ID)
	}
	if !c.Bucket.Valid() {
		v.word(at+".bucket", string(c.Bucket), string(HourW), string(Day), string(Month), string(Year), string(Minute))
		return
	}
	if !c.Retention.IsZero() && !c.Retention.Covers(2, c.Bucket) {
		v.add(at+".retention", "%s is less than two buckets of a %s: lengthen it, or take a narrower bucket", c.Retention, c.Bucket)
	}
	for i, tier := range c.Tiers {
		v.tier(fmt.Sprintf("%s.tiers[%d]", at, i), c, tier)
	}
	v.unique(at+".tiers", len(c.Tiers), "period", func(i int) string { return c.Tiers[i].String() })
}

func (v *validation) tier(at string, c ClassRule, tier Period) {
	switch {
	case tier.IsZero():
		v.add(at, "is empty: write a period such as P7D")
	case !tier.Covers(2, c.Bucket):
		v.add(at, "%s is less than two buckets of a %s: lengthen it, or take a narrower bucket", tier, c.Bucket)
	case !c.Retention.IsZero() && tier != c.Retention && tier.Shorter(c.Retention) == c.Retention:
		v.add(at, "%s is longer than the class's own %s: a person can only shorten", tier, c.Retention)
	}
}

func (v *validation) field(at string, f Field) {
	switch {
	case !fieldForm.MatchString(f.Name):
		v.add(at+".name", "%q: want a lower-case letter and up to 31 letters, digits and underscores", f.Name)
	case !v.fields[f.Name]:
		v.add(at+".name", "no event has a field %q and no pool extracts it: known are %s", f.Name, strings.Join(slices.Sorted(maps.Keys(v.fields)), ", "))
	}
	v.word(at+".transform", orText(f.Transform, TransformNone), TransformNone, TransformTruncate, TransformHMAC)
	if f.Transform == TransformTruncate && slices.Contains(countFields, f.Name) {
		v.add(at+".transform", "truncate is for addresses, times and texts: leave it out for %s", f.Name)
	}
	if columnNames[f.Name] != 0 && f.Transform != "" && f.Transform != TransformNone {
		v.add(at+".transform", "%s is a column of message metadata and stays as it is: leave transform out", f.Name)
	}
}

func (v *validation) builtins() {
	for _, id := range slices.Sorted(maps.Keys(builtinScopes)) {
		i := slices.IndexFunc(v.policy.Classes, func(c ClassRule) bool { return c.ID == id })
		if i < 0 {
			v.add("classes", "the built-in class %s is missing: add it with its period and bucket month", id)
			continue
		}
		if want := builtinScopes[id]; v.policy.Classes[i].ScopeOf() != want {
			name := map[Scope]string{Erasable: ScopeErasable, Obligated: ScopeObligated}[want]
			v.add(fmt.Sprintf("classes[%d].scope", i), "the built-in class %s is %s: write scope: %s", id, name, name)
		}
		if len(v.policy.Classes[i].Fields) > 0 {
			v.add(fmt.Sprintf("classes[%d].fields", i), "the built-in class %s has fields of its own: leave fields out", id)
		}
	}
}

func (v *validation) pool(at string, r PoolRule) {
	if !idForm.MatchString(r.ID) {
		v.add(at+".id", "%q: want up to 32 lower-case letters, digits and hyphens", r.ID)
	}
	if !strings.HasPrefix(r.Path, "/") || (path.Clean(r.Path) != r.Path && path.Clean(r.Path)+"/" != r.Path) || strings.ContainsAny(r.Path, "?#%*") {
		v.add(at+".path", "%q: want a clean path that begins with /, such as /chat; one that ends in / covers all below it", r.Path)
	}
	v.capture(at, r)
	v.word(at+".mode", orText(r.Mode, ModeTap), ModeTap, ModeMessage)
	v.word(at+".record", orText(r.Record, RecordAsync), RecordAsync, RecordBeforeForward)
	v.word(at+".on_ledger_failure", orText(r.OnLedgerFailure, FailureBlock), FailureBlock, FailureRefuse, FailurePass)
	v.word(at+".after_erasure", orText(r.AfterErasure, ErasureEnrol), ErasureEnrol, ErasureRefuse, ErasureUnrecorded)
	v.word(at+".keys_unavailable", orText(r.KeysUnavailable, KeysRefuse), KeysRefuse, KeysWait)
	if r.Flush.Records < 0 || r.Flush.Records > MaxFlushRecords {
		v.add(at+".flush.records", "%d: want 1 to %d records", r.Flush.Records, MaxFlushRecords)
	}
	if r.Flush.Interval != 0 && (r.Flush.Interval < MinFlushInterval || r.Flush.Interval > MaxFlushInterval) {
		v.add(at+".flush.interval", "%s: want 100ms to 1h", r.Flush.Interval)
	}
}

// capture checks what a pool records, and that what it extracts has a class.
func (v *validation) capture(at string, r PoolRule) {
	if len(r.Capture) == 0 {
		v.add(at+".capture", "is empty: name the classes that the pool records")
	}
	var fields []string
	for i, id := range r.Capture {
		c, ok := v.policy.Class(id)
		here := fmt.Sprintf("%s.capture[%d]", at, i)
		switch {
		case !ok:
			v.add(here, "class %q is not among the classes: add it there, or correct it here", id)
		case id.Builtin() || c.ScopeOf() == Obligated:
			v.add(here, "class %s is not captured from traffic: name a class of the policy that is erasable", id)
		case slices.Contains(r.Capture[:i], id):
			v.add(here, "class %s is captured twice: name it once", id)
		}
		fields = append(fields, c.Names()...)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Extract)) {
		if !slices.Contains(fields, name) {
			v.add(at+".extract."+name, "field %q is in no class that the pool captures: add it to the fields of one", name)
		}
	}
	if r.Mode != ModeMessage && (len(r.Extract) > 0 || r.Recipient != "") {
		v.add(at+".mode", "extract and recipient need mode: message; a tap does not look into payloads")
	}
}
