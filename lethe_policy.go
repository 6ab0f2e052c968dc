package lethe

import (
	"context"
	"fmt"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/gateway"
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

// followPolicy takes the policy in force over while the process serves: what is
// captured, and the paths of pools, for connections to come. Live ones go on.
func (l *Lethe) followPolicy() {
	e := l.edge.Load()
	if e == nil {
		return // who begins to serve takes it then
	}
	err := e.recorder.Follow(l.currentPolicy())
	if err == nil {
		var settings gateway.Settings
		if settings, err = e.settings(); err == nil {
			err = e.gateway.Reload(settings)
		}
	}
	revision, _ := l.policy.Current()
	if err != nil {
		l.log.Error().Err(err).Uint32("revision", revision).Msg("connections to come are recorded as before: the policy in force cannot be taken over; put it into this node's configuration and restart")
		return
	}
	for _, rule := range l.currentPolicy().Pools {
		if _, ok := e.config.Load().Pools[rule.ID]; !ok {
			l.log.Warn().Str("pool", rule.ID).Msg("the policy in force has a pool that this node's configuration does not say how to serve")
		}
	}
}

// servedPolicy is the policy in force without the pools that a configuration does
// not say how to serve.
func (l *Lethe) servedPolicy(c *Config) *domain.Policy {
	served := *l.currentPolicy()
	served.Pools = slices.DeleteFunc(slices.Clone(served.Pools), func(rule domain.PoolRule) bool {
		_, ok := c.Pools[rule.ID]
		return !ok
	})
	return &served
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
