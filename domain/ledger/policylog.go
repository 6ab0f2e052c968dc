package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A PolicyLog is the policy as the log has it: revision and content, from the
// first event on. It is safe for concurrent use.
type PolicyLog struct {
	log       Log
	integrity seal.Integrity
	stream    domain.Stream
	clock     func() time.Time

	mu       sync.RWMutex
	revision uint32
	policy   *domain.Policy
}

// ErrPolicyShortens says that a policy would destroy keys earlier than the one
// in force; the operator confirms it by its digest.
var ErrPolicyShortens = errors.New("the policy shortens a retention period")

// OpenPolicyLog reads the policy in force, if there is one.
func OpenPolicyLog(ctx context.Context, log Log, id domain.LedgerID, i seal.Integrity, clock func() time.Time) (*PolicyLog, error) {
	p := &PolicyLog{log: log, integrity: i, stream: domain.StreamsOf(id).Policy(), clock: clock}
	for r, err := range log.ReadStream(ctx, p.stream, eventstore.LastRevision, eventstore.Backward, 1) {
		if err != nil {
			return nil, fmt.Errorf("reading the policy: %w", err)
		}
		if err := p.take(r); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Revisions reads every revision, the first one first.
func (p *PolicyLog) Revisions(ctx context.Context) (all []*domain.Policy, err error) {
	for r, err := range p.log.ReadStream(ctx, p.stream, 0, eventstore.Forward, 0) {
		if err != nil {
			return nil, fmt.Errorf("reading the policy: %w", err)
		}
		policy, err := p.read(r)
		if err != nil {
			return nil, err
		}
		all = append(all, policy)
	}
	return all, nil
}

// read returns the policy of a revision whose tag is right.
func (p *PolicyLog) read(r domain.Recorded) (*domain.Policy, error) {
	if err := p.integrity.Verify(r.Sealed); err != nil {
		return nil, fmt.Errorf("policy revision %d: %w", r.Revision+1, err)
	}
	doc, err := seal.DocumentOf(r.Sealed)
	if err != nil {
		return nil, err
	}
	policy := &domain.Policy{}
	if err := json.Unmarshal(doc, policy); err != nil {
		return nil, fmt.Errorf("policy revision %d: %w", r.Revision+1, err)
	}
	return policy, nil
}

func (p *PolicyLog) take(r domain.Recorded) error {
	policy, err := p.read(r)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revision, p.policy = uint32(r.Revision)+1, policy //nolint:gosec // revisions of one stream of policies
	return nil
}

// Follow takes a revision that another process appended.
func (p *PolicyLog) Follow(r domain.Recorded) error {
	if revision, _ := p.Current(); r.Stream() != p.stream || uint32(r.Revision)+1 <= revision { //nolint:gosec // revisions of one stream of policies
		return nil
	}
	return p.take(r)
}

// Differs reports whether want is another policy than the one in force; never
// before there is one.
func (p *PolicyLog) Differs(want *domain.Policy) (bool, error) {
	_, current := p.Current()
	if current == nil {
		return false, nil
	}
	have, err := current.Digest()
	if err != nil {
		return false, err
	}
	digest, err := want.Digest()
	return have != digest, err
}

// Current returns the revision in force, from 1, and the policy. The caller must
// not change it. Before the first Apply the revision is 0 and the policy nil.
func (p *PolicyLog) Current() (uint32, *domain.Policy) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.revision, p.policy
}

// Policy returns the policy in force.
func (p *PolicyLog) Policy() *domain.Policy {
	_, policy := p.Current()
	return policy
}

// Apply makes want the policy in force: nothing happens if it is already, else a
// revision is appended. A policy that shortens a period is refused with
// ErrPolicyShortens unless confirm is its digest.
func (p *PolicyLog) Apply(ctx context.Context, want *domain.Policy, confirm string) error {
	digest, err := want.Digest()
	if err != nil {
		return err
	}
	revision, current := p.Current()
	if current != nil {
		if have, err := current.Digest(); err != nil || have == digest {
			return err
		}
		if lost := Shortens(current, want); confirm != digest && len(lost) > 0 {
			return fmt.Errorf("%w, and destroys keys that are past the new one: %s; to go on, lethe serve --confirm %s",
				ErrPolicyShortens, strings.Join(lost, ", "), digest)
		}
	}
	event, err := p.event(want, revision, digest)
	if err != nil {
		return err
	}
	at, err := p.log.Append(ctx, p.stream, domain.Revision(revision)-1, []domain.Sealed{event})
	if err != nil {
		return fmt.Errorf("appending policy revision %d: %w", revision+1, err)
	}
	return p.take(domain.Recorded{Sealed: event, Revision: at.Revision})
}

func (p *PolicyLog) event(want *domain.Policy, revision uint32, digest string) (domain.Sealed, error) {
	doc, err := want.Encode()
	if err != nil {
		return domain.Sealed{}, err
	}
	spec, err := domain.Events.Spec(domain.PolicyRevised)
	if err != nil {
		return domain.Sealed{}, err
	}
	e := domain.Envelope{
		Hour: domain.HourOf(p.clock()), Policy: revision + 1, Salt: newSalt(), Class: domain.ClassPolicy,
		Facts: domain.NewFacts(domain.Int("revision", int64(revision)+1), domain.Name("digest", digest)),
	}
	return p.integrity.Document(domain.Event(domain.New[domain.CommandID](), 0), p.stream, spec, e, doc)
}

// Shortens lists the classes that lose time, as "class/tier from to": keys issued
// under the old policy would die earlier under the new one.
func Shortens(old, want *domain.Policy) (lost []string) {
	at := domain.Bucket("2024-02-29") // any fixed day orders periods alike
	for _, before := range old.Classes {
		after, ok := want.Class(before.ID)
		if !ok {
			lost = append(lost, string(before.ID)+" is left out")
			continue
		}
		for _, tier := range append([]domain.Tier{domain.OwnTier, domain.AnonTier}, tiersOf(before)...) {
			if at.Due(after.RuleOf(), want.Period(after, tier)).Before(at.Due(before.RuleOf(), old.Period(before, tier))) {
				lost = append(lost, fmt.Sprintf("%s/%s from %s to %s", before.ID, tier, old.Period(before, tier), want.Period(after, tier)))
			}
		}
	}
	return lost
}

func tiersOf(c domain.ClassRule) []domain.Tier {
	tiers := make([]domain.Tier, len(c.Tiers))
	for i, p := range c.Tiers {
		tiers[i] = domain.Tier(p.String())
	}
	return tiers
}
