package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// gensWithout is how many gens without a stream end the search for the last one:
// a gen that was issued may never have been recorded under.
const gensWithout = 8

// LastGen returns the highest gen of a person's class that the log shows, deleted
// streams included, in the tiers of a policy; 0 if there is none. A custodian
// that was restored from a backup may not know it (FORMAT §1).
func LastGen(ctx context.Context, log Log, streams domain.Streams, policy *domain.Policy, ref domain.SubjectRef, class domain.Class) (last domain.Gen, err error) {
	tiers := []domain.Tier{domain.OwnTier}
	if rule, ok := policy.Class(class); ok {
		tiers = append(tiers, tiersOf(rule)...)
	}
	for gen := domain.Gen(1); gen <= last+gensWithout; gen++ {
		for _, tier := range tiers {
			s := streams.Of(domain.Where{Ref: ref, Class: class, Tier: tier, Gen: gen})
			revision, err := log.Last(ctx, s)
			if err != nil && !errors.Is(err, eventstore.ErrDeleted) {
				return 0, fmt.Errorf("head of stream %s: %w", s, err)
			}
			if err != nil || revision != domain.NoStream {
				last = gen
			}
		}
	}
	return last, nil
}
