package lethe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// openDisposal joins what removing ciphertext must know: how far the leaves of the
// Merkle log and the views are, who is connected, and who may act.
func (l *Lethe) openDisposal(context.Context) error {
	whole, ok := l.store.(ledger.DisposalLog)
	if !ok {
		return errors.New("the store cannot dispose of ciphertext")
	}
	l.disposal = ledger.NewDisposal(l.ledger, ledger.DisposalConfig{
		Whole: whole, Witnessed: l.views.witnessed, Passed: l.views.passed, Busy: l.busy, Spared: l.tokenHolders,
	})
	if l.shared != nil {
		l.shared.running.Go(func() { l.shared.reportLeaves(l.shared.while) })
	}
	return nil
}

// busy reports whether a connection of a ref is open.
func (l *Lethe) busy(ref domain.SubjectRef) bool {
	e := l.edge.Load()
	return e != nil && e.recorder.Live(ref) > 0
}

// tokenHolders are the refs of principals with a live token.
func (l *Lethe) tokenHolders(ctx context.Context) (refs []domain.SubjectRef, err error) {
	list, err := l.tokens.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range list.Tokens {
		ref, err := l.ledger.EnrolPrincipal(ctx, t.Name)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// disposalWait bounds the wait for views and leaves; what is not disposed of then
// goes with the next try.
const disposalWait = time.Minute

// passed waits until every live view has read up to a position.
func (v *views) passed(ctx context.Context, at domain.Position) error {
	waiting, cancel := context.WithTimeout(ctx, disposalWait)
	defer cancel()
	if err := v.Wait(waiting, at); err != nil {
		return fmt.Errorf("the views are behind the log: %w", err)
	}
	return nil
}

// witnessed waits until every event of the ledger that is in the log has its leaf.
func (v *views) witnessed(ctx context.Context, _ domain.Position) error {
	head, err := v.lethe.lastOwn(ctx)
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, disposalWait)
	defer cancel()
	for {
		if at, _, _, _ := v.leaves.Last(); !at.Before(head) {
			break
		}
		if err := pause(waiting, 20*time.Millisecond); err != nil {
			return fmt.Errorf("the leaf entries are behind the log: %w", err)
		}
	}
	if v.lethe.shared == nil {
		return nil
	}
	return v.lethe.shared.witnessedBySecond(waiting, head)
}

// Dispose implements api.Service.
func (l *Lethe) Dispose(ctx context.Context, c api.Caller, dryRun bool, p api.Progress) (api.Disposal, error) {
	if _, err := l.began(ctx, c, "retention.dispose", domain.SubjectRef{}, ""); err != nil {
		return api.Disposal{}, err
	}
	if dryRun {
		o, err := l.disposal.Outstanding(ctx)
		said := api.Disposal{DryRun: true, Destructions: o.Destructions, Buckets: o.Buckets}
		if !o.Oldest.IsZero() {
			said.Oldest = o.Oldest.UTC().Format(time.RFC3339)
		}
		return said, err
	}
	var progress ledger.Progress
	if p != nil {
		progress = func(done, total uint64) { p(int64(done), int64(total)) } //nolint:gosec // positions of one log
	}
	done, err := l.disposal.Run(ctx, progress)
	return api.Disposal{
		Destructions: done.Destructions, Buckets: done.Buckets, Events: done.Events, Records: done.Records,
		Deleted: done.Deleted, Truncated: done.Truncated, Retired: done.Retired,
	}, err
}
