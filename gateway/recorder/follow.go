package recorder

import (
	"fmt"
	"maps"

	"github.com/lethe-ledger/lethe/domain"
)

// A captured is what a policy has recorded. It is never changed: another policy
// makes another one.
type captured struct {
	policy *domain.Policy
	pools  map[string]*capture // also pools that a policy has left out since
	gaps   map[string]*gap     // also of pools that let traffic pass before
}

// Follow takes another policy over, for connections to come; live ones keep what
// they began with, but for classes that the policy leaves out: nothing more is
// recorded of those, and it is counted as discarded. With an error nothing has
// changed.
func (r *Recorder) Follow(p *domain.Policy) error {
	r.following.Lock()
	defer r.following.Unlock()
	next, err := r.compileAll(p, r.captured.Load())
	if err != nil {
		return err
	}
	r.captured.Store(next)
	return nil
}

// compileAll works out what is recorded under a policy behind another one; before
// may be nil.
func (r *Recorder) compileAll(p *domain.Policy, before *captured) (*captured, error) {
	next := &captured{policy: p, pools: map[string]*capture{}, gaps: map[string]*gap{}}
	if before != nil {
		maps.Copy(next.gaps, before.gaps)
	}
	for _, rule := range p.Pools {
		c, err := compile(p, rule)
		if err != nil {
			return nil, err
		}
		if before != nil && before.pools[rule.ID] != nil {
			c.dirty = before.pools[rule.ID].dirty
		}
		if c.gap != nil && r.opt.Gaps == nil {
			return nil, fmt.Errorf("pool %s lets traffic pass: %w", rule.ID, errNoGaps)
		}
		if known := next.gaps[rule.ID]; c.gap != nil && known != nil {
			c.gap = known
		} else if c.gap != nil {
			next.gaps[rule.ID] = c.gap
		}
		next.pools[rule.ID] = c
	}
	if before == nil {
		return next, nil
	}
	for id, c := range before.pools {
		if next.pools[id] == nil {
			gone := *c
			gone.left = true
			next.pools[id] = &gone
		}
	}
	return next, nil
}

// pools are those of the policy, and those with live connections of before.
func (r *Recorder) pools() map[string]*capture { return r.captured.Load().pools }

// records reports whether the policy still has a class.
func (r *Recorder) records(c domain.Class) bool {
	_, ok := r.captured.Load().policy.Class(c)
	return ok
}
