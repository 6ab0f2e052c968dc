package domain

import (
	"fmt"
	"slices"
	"strings"
)

// roleWords begin the local part of addresses that name a role, not a person.
var roleWords = []string{
	"abuse", "admin", "compliance", "contact", "data", "datenschutz", "dpd", "dpo", "gdpr", "hello", "help", "info",
	"legal", "mail", "office", "privacy", "privacidad", "protection", "rgpd", "security", "service", "support", "team",
}

// Warnings returns what a policy may say but a controller should know.
func (p *Policy) Warnings() []Problem {
	v := &validation{policy: p}
	for _, f := range []struct{ path, value string }{
		{"controller.contact", p.Controller.Contact},
		{"controller.dpo", p.Controller.DPO},
		{"controller.name", p.Controller.Name},
		{"controller.address", p.Controller.Address},
	} {
		if personalAddress(f.value) {
			v.add(f.path, "looks like a person's own address; the policy stands in the log in clear for ever: use a role address")
		}
	}
	v.anonymous()
	return v.problems
}

// anonymous warns of classes that connections nobody identified leave empty.
func (v *validation) anonymous() {
	for i, c := range v.policy.Classes {
		captured := slices.ContainsFunc(v.policy.Pools, func(r PoolRule) bool { return slices.Contains(r.Capture, c.ID) })
		if captured && c.Bucket.Valid() && !v.policy.CapturesAnonymous(c) {
			v.add(fmt.Sprintf("classes[%d].bucket", i), "class %s is not captured from anonymous connections: %s holds less than two buckets of a %s",
				c.ID, v.policy.Period(c, AnonTier), c.Bucket)
		}
	}
}

// personalAddress guesses: an e-mail address whose local part begins with no
// word of a role.
func personalAddress(s string) bool {
	for word := range strings.FieldsSeq(s) {
		local, _, ok := strings.Cut(strings.Trim(word, "<>(),;"), "@")
		isRole := func(role string) bool { return strings.HasPrefix(strings.ToLower(local), role) }
		if ok && !slices.ContainsFunc(roleWords, isRole) {
			return true
		}
	}
	return false
}
