package lethe

import (
	"github.com/lethe-ledger/lethe/domain"
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

// sever closes the live connections of an erased person.
func (l *Lethe) sever(ref domain.SubjectRef) {
	if e := l.edge.Load(); e != nil {
		e.recorder.Sever(ref)
	}
}
