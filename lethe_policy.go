package lethe

import (
	"context"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// errOtherPolicy says that this node would record under rules of its own.
var errOtherPolicy = api.Refused("the policy in this node's configuration is not the one in force in the log: take that one over, or make this one the policy of all nodes with lethe policy apply")

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

// PolicyInForce returns the log's last revision and its digest.
func (l *Lethe) PolicyInForce() (revision uint32, digest string, err error) {
	revision, policy := l.policy.Current()
	digest, err = policy.Digest()
	return revision, digest, err
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
