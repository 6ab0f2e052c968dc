package lethe

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/keys"
)

func receiptKeys(all []keys.PublicKey) (public []ed25519.PublicKey) {
	for _, k := range all {
		if k.Use == keys.SignReceipt {
			public = append(public, k.Key)
		}
	}
	return public
}

// RetentionStatus implements api.Service: every retention key that was ever
// issued, by class, as the custodian has it.
func (l *Lethe) RetentionStatus(ctx context.Context, _ api.Caller) (api.RetentionStatus, error) {
	now := l.opt.Clock()
	buckets := map[domain.Class][]api.RetentionBucket{}
	policy := l.currentPolicy()
	err := l.custodian.EachRetention(ctx, func(r keys.RetentionRecord) bool {
		due := r.Due
		if earlier, ok := policy.Due(r.RetentionKey); ok && earlier.Before(due) {
			due = earlier
		}
		buckets[r.Class] = append(buckets[r.Class], api.RetentionBucket{
			Tier: string(r.Tier), Bucket: string(r.Bucket), Due: due.UTC().Format(time.RFC3339), State: keyState(r, due, now),
		})
		return true
	})
	if err != nil {
		return api.RetentionStatus{}, fmt.Errorf("listing retention keys: %w", err)
	}
	status := api.RetentionStatus{Classes: []api.RetentionClass{}}
	for _, rule := range policy.Classes {
		class := api.RetentionClass{Class: string(rule.ID), Retention: rule.Retention.String(), Rule: string(rule.RuleOf()), Buckets: buckets[rule.ID]}
		if class.Buckets == nil {
			class.Buckets = []api.RetentionBucket{}
		}
		status.Classes = append(status.Classes, class)
	}
	return status, nil
}

func keyState(r keys.RetentionRecord, due, now time.Time) string {
	switch {
	case r.Destroyed:
		return "expired"
	case !now.Before(due):
		return "due"
	}
	return "live"
}

// RetentionRun implements api.Service.
func (l *Lethe) RetentionRun(ctx context.Context, c api.Caller, dryRun bool) (api.RetentionRun, error) {
	run := api.RetentionRun{DryRun: dryRun, Destroyed: []string{}}
	if _, err := l.began(ctx, c, "retention.run", domain.SubjectRef{}, ""); err != nil {
		return run, err
	}
	if dryRun {
		due, err := l.ledger.Due(ctx)
		for _, r := range due {
			run.Destroyed = append(run.Destroyed, r.String())
		}
		return run, err
	}
	for {
		done, err := l.ledger.Expire(ctx)
		if err != nil || len(done.Keys) == 0 {
			return run, err
		}
		for _, k := range done.Keys {
			run.Destroyed = append(run.Destroyed, k.String())
		}
	}
}

// KeysStatus implements api.Service.
func (l *Lethe) KeysStatus(ctx context.Context, _ api.Caller) (api.KeysStatus, error) {
	s, err := l.ring.Status(ctx)
	status := api.KeysStatus{
		Custodian: l.cfg.Keys.Custodian, State: "ready", Subjects: int64(s.Subjects), Buckets: int64(s.Buckets),
		Handles: int64(s.Handles), Blocks: int64(s.Blocks), Destroyed: int64(s.Dead),
	}
	if errors.Is(err, domain.ErrUnavailable) {
		status.State = "sealed"
		return status, nil
	}
	if distrust := l.clock.trusted(); err == nil && distrust != nil {
		status.State, status.Reason = "degraded", fmt.Sprintf("no key is issued or destroyed by the clock: %v", distrust)
	}
	return status, err
}

// RestoreCheck implements api.Service. Who asks is recorded before; unless a restored
// custodian does not know them any more, who are known anew once the check has dropped
// what was kept in memory.
func (l *Lethe) RestoreCheck(ctx context.Context, c api.Caller, lost string) (api.RestoreCheck, error) {
	var found ledger.Restored
	var failed error
	p, err := l.began(ctx, c, "keys.restore-check", domain.SubjectRef{}, lost)
	unknown := errors.Is(err, domain.ErrNotFound)
	if unknown {
		found, failed = l.ledger.RestoreCheck(ctx)
		p, err = l.began(ctx, c, "keys.restore-check", domain.SubjectRef{}, lost)
	}
	if err == nil && lost != "" {
		err = l.giveUp(ctx, p.Ref, lost)
	}
	if err != nil {
		return api.RestoreCheck{}, err
	}
	if !unknown {
		found, failed = l.ledger.RestoreCheck(ctx)
	}
	again := found.Again
	check := api.RestoreCheck{
		Lines: found.Lines, Behind: found.Behind, Put: found.Put, Subjects: again.Subjects, Classes: again.Gens, Kept: again.Kept,
		Linked: again.Linked, Blocks: again.Blocks, Buckets: again.Retention, Rescued: again.Rescued,
	}
	if failed != nil {
		return check, failed
	}
	return check, l.logWentBack(ctx, &check)
}

// logWentBack tells a log that went back again what was destroyed, and this node's
// outbox that it did.
func (l *Lethe) logWentBack(ctx context.Context, check *api.RestoreCheck) (err error) {
	if check.Noted, err = l.disposal.NoteLost(ctx); err != nil || l.shared == nil {
		return err
	}
	check.Outbox, err = l.shared.logWentBack(ctx)
	return err
}

// giveUp says that a journal file is lost.
func (l *Lethe) giveUp(ctx context.Context, by domain.SubjectRef, lost string) error {
	file, err := l.ledger.GiveUp(ctx, by, lost)
	switch {
	case errors.Is(err, ledger.ErrSecondPrincipal):
		return api.Refused("the file is not given up yet: another principal must say the same until " + file.At.Add(ledger.GiveUpWithin).UTC().Format(time.RFC3339))
	case errors.Is(err, domain.ErrNotFound):
		return api.NotFound("no journal file of that name is missing; lethe doctor names those that are")
	}
	return err
}

// TokenCreate implements api.Service.
func (l *Lethe) TokenCreate(ctx context.Context, c api.Caller, name, role string) (api.Token, error) {
	if _, err := l.began(ctx, c, "token.create", domain.SubjectRef{}, name); err != nil {
		return api.Token{}, err
	}
	return l.tokens.create(ctx, name, role)
}

// TokenList implements api.Service.
func (l *Lethe) TokenList(ctx context.Context, _ api.Caller) (api.TokenList, error) {
	return l.tokens.list(ctx)
}

// TokenRevoke implements api.Service.
func (l *Lethe) TokenRevoke(ctx context.Context, c api.Caller, name string) error {
	if _, err := l.began(ctx, c, "token.revoke", domain.SubjectRef{}, name); err != nil {
		return err
	}
	return l.tokens.revoke(ctx, name)
}
