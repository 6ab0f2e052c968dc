package lethe

import (
	"context"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// TrustClock implements api.Service.
func (l *Lethe) TrustClock(ctx context.Context, c api.Caller, now time.Time) (api.KeysStatus, error) {
	if _, err := l.began(ctx, c, "keys.trust-clock", domain.SubjectRef{}, now.UTC().Format(time.RFC3339)); err != nil {
		return api.KeysStatus{}, err
	}
	if !l.clock.confirm(now) {
		return api.KeysStatus{}, api.Refused(fmt.Sprintf("this machine's clock says %s, which is not within a minute: set it, then say what time it is", l.opt.Clock().UTC().Format(time.RFC3339)))
	}
	if err := l.clock.trusted(); err != nil {
		return api.KeysStatus{}, api.Refused(fmt.Sprintf("the clock is not trusted all the same: %v", err))
	}
	return l.KeysStatus(ctx, c)
}
