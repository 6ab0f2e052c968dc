package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// dueOf is when a bucket's key is to die: as recorded when it was issued, or
// earlier if the policy shortened the period since (ARCHITECTURE §7).
func (r *Ring) dueOf(rec RetentionRecord) time.Time {
	if due, ok := r.Policy().Due(rec.RetentionKey); ok && due.Before(rec.Due) {
		return due
	}
	return rec.Due
}

// retention returns R for sealing, issuing it where that is allowed.
func (r *Ring) retention(ctx context.Context, k domain.RetentionKey) (RetentionRecord, seal.Secret, error) {
	now := r.Clock()
	if _, err := domain.ParseBucket(string(k.Bucket)); err != nil {
		return RetentionRecord{}, seal.Secret{}, err
	}
	if k.Bucket.Start().After(now.Add(maxAhead)) {
		return RetentionRecord{}, seal.Secret{}, domain.ErrNotDue
	}
	if r.Dead.Has(r.retentionTag(k)) {
		return RetentionRecord{}, seal.Secret{}, domain.ErrPastDue
	}
	rec, key, err := r.Custodian.Retention(ctx, k)
	if errors.Is(err, domain.ErrNotFound) {
		rec, key, err = r.issueRetention(ctx, k, now)
	}
	if err != nil {
		return RetentionRecord{}, seal.Secret{}, err
	}
	if rec.Destroyed || !now.Before(r.dueOf(rec)) {
		key.Zero()
		return rec, seal.Secret{}, domain.ErrPastDue
	}
	return rec, key, nil
}

// issueRetention makes R of a bucket. The caller has looked its tag up.
func (r *Ring) issueRetention(ctx context.Context, k domain.RetentionKey, now time.Time) (RetentionRecord, seal.Secret, error) {
	due, err := r.dueOfNew(k)
	if err != nil {
		return RetentionRecord{}, seal.Secret{}, err
	}
	if !now.Before(due) {
		return RetentionRecord{}, seal.Secret{}, domain.ErrPastDue
	}
	if err := r.ClockTrusted(); err != nil {
		return RetentionRecord{}, seal.Secret{}, fmt.Errorf("issuing a retention key: %w: %w", domain.ErrClock, err)
	}
	return r.Custodian.IssueRetention(ctx, k, due)
}

// dueOfNew is the due date of a bucket that the policy in force has.
func (r *Ring) dueOfNew(k domain.RetentionKey) (time.Time, error) {
	policy := r.Policy()
	rule, ok := policy.Class(k.Class)
	if !ok || !slices.Contains(tiersOf(policy, rule), k.Tier) || rule.Bucket != k.Bucket.Width() {
		return time.Time{}, fmt.Errorf("the policy has no bucket %s", k)
	}
	due, _ := policy.Due(k)
	return due, nil
}

// tiersOf lists the tiers in which a class is collected.
func tiersOf(p *domain.Policy, rule domain.ClassRule) []domain.Tier {
	tiers := []domain.Tier{domain.OwnTier}
	for _, period := range rule.Tiers {
		tiers = append(tiers, domain.Tier(period.String()))
	}
	if rule.ScopeOf() == domain.Erasable && p.CapturesAnonymous(rule) {
		tiers = append(tiers, domain.AnonTier)
	}
	return tiers
}

// bucketsAhead is how many buckets behind the present one get their R early:
// max(2 widths, 48 h), and 2 buckets where they are minutes or hours. For every
// width both are two buckets (FORMAT §4).
const bucketsAhead = 2

// issuers is how many retention keys are asked for at once; a custodian that
// commits in groups makes one commit of them.
const issuers = 16

// IssueAhead issues the retention keys of the buckets that begin soon, for every
// class and tier of the policy. Call it at start and at least once per width of
// the narrowest bucket; until it was called, sealing issues what it needs. It
// returns domain.ErrClock while the clock is not trusted.
func (r *Ring) IssueAhead(ctx context.Context) error {
	now := r.Clock()
	r.spent.sweep(now)
	missing, err := r.missingAhead(ctx, now)
	if err != nil {
		return fmt.Errorf("issuing keys ahead: %w", err)
	}
	slots := make(chan struct{}, issuers)
	errs := make([]error, len(missing))
	var wg sync.WaitGroup
	for i, k := range missing {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			_, key, err := r.issueRetention(ctx, k, now)
			key.Zero()
			if err != nil && !errors.Is(err, domain.ErrPastDue) {
				errs[i] = fmt.Errorf("issuing %s ahead: %w", k, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// missingAhead lists the keys that are neither recorded nor named as dead.
func (r *Ring) missingAhead(ctx context.Context, now time.Time) (missing []domain.RetentionKey, err error) {
	policy := r.Policy()
	for _, rule := range policy.Classes {
		for _, tier := range tiersOf(policy, rule) {
			k := domain.RetentionKey{Class: rule.ID, Tier: tier, Bucket: domain.BucketAt(now, rule.Bucket)}
			for range 1 + bucketsAhead {
				_, key, err := r.Custodian.Retention(ctx, k)
				key.Zero()
				if err != nil && !errors.Is(err, domain.ErrNotFound) {
					return nil, err
				}
				if err != nil && !r.Dead.Has(r.retentionTag(k)) {
					missing = append(missing, k)
				}
				k.Bucket = k.Bucket.Next()
			}
		}
	}
	return missing, nil
}

// Due lists the live retention keys that are past due at now. Where the policy
// shortened a period since a key was issued, it records the earlier date first;
// handles made under the later one are dropped. Destroying them is the caller's
// (DestroyRetention); until then they open nothing.
func (r *Ring) Due(ctx context.Context, now time.Time) (due []RetentionRecord, err error) {
	var shortened []RetentionRecord
	err = r.Custodian.EachRetention(ctx, func(rec RetentionRecord) bool {
		if rec.Destroyed {
			return true
		}
		if d := r.dueOf(rec); d.Before(rec.Due) {
			rec.Due = d
			shortened = append(shortened, rec)
		}
		if !now.Before(rec.Due) {
			due = append(due, rec)
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("listing what is due: %w", err)
	}
	for _, rec := range shortened {
		if err := r.Custodian.SetDue(ctx, rec.RetentionKey, rec.Due); err != nil {
			return nil, fmt.Errorf("bringing %s forward: %w", rec.RetentionKey, err)
		}
	}
	if len(shortened) > 0 {
		keys := make([]domain.RetentionKey, len(shortened))
		for i, rec := range shortened {
			keys[i] = rec.RetentionKey
		}
		r.purgeRetention(keys)
	}
	return due, nil
}
