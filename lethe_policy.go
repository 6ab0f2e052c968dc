package lethe

import (
	"context"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
)

// currentPolicy is the policy in force: the log's, and before its first revision
// the configuration's.
func (l *Lethe) currentPolicy() *domain.Policy {
	if l.policy != nil {
		if p := l.policy.Policy(); p != nil {
			return p
		}
	}
	return &l.cfg.Policy
}

// wantedPolicy is the configuration's policy with the ledger's public keys.
func (l *Lethe) wantedPolicy(ctx context.Context) (*domain.Policy, error) {
	public, err := l.ring.PublicKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	want := l.cfg.Policy
	for _, k := range public {
		want.SigningKeys = append(want.SigningKeys, domain.SigningKey{ID: k.ID, Use: string(k.Use), Key: k.Key})
	}
	return &want, nil
}

// sever closes the live connections of an erased person.
func (l *Lethe) sever(ref domain.SubjectRef) {
	if e := l.edge.Load(); e != nil {
		e.recorder.Sever(ref)
	}
}

// lastGen is the highest gen of a person's class that the log shows.
func (l *Lethe) lastGen(ctx context.Context, ref domain.SubjectRef, class domain.Class) (domain.Gen, error) {
	return ledger.LastGen(ctx, l.store, domain.StreamsOf(l.cfg.Ledger), l.currentPolicy(), ref, class)
}
