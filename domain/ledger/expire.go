package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// expiryDocument is the custodian's document of an expiry in progress.
const expiryDocument = "expiry"

// maxExpiry bounds the keys of one expiry, so that its note stays within the
// limits of an event; what is left goes with the next one.
const maxExpiry = 2_000

// Expired tells what a run of the retention destroyed.
type Expired struct {
	Keys    []domain.RetentionKey
	Journal uint64
}

// Expire destroys the retention keys that are past due: nothing of those periods
// opens any more, for anybody. It does so only while the clock is trusted
// (domain.ErrClock); until then past-due data reads denied. Calling it again
// finishes what a crash interrupted.
func (l *Ledger) Expire(ctx context.Context) (done Expired, err error) {
	l.destroying.Lock()
	defer l.destroying.Unlock()
	err = l.inTurn(ctx, expiryDocument, func() error {
		w, err := l.takeExpiry(ctx)
		if err != nil || w == nil {
			return err
		}
		if err := l.carryOut(ctx, w); err != nil {
			return err
		}
		done = Expired{Keys: w.Destruction.Retention, Journal: *w.Journal}
		return nil
	})
	return done, err
}

// Due returns what Expire would destroy now.
func (l *Ledger) Due(ctx context.Context) ([]keys.RetentionRecord, error) {
	return l.Ring.Due(ctx, l.Clock())
}

// takeExpiry finds the run in progress or begins one; nil if nothing is due.
func (l *Ledger) takeExpiry(ctx context.Context) (*run, error) {
	w, err := l.loadRun(ctx, expiryDocument)
	if err != nil || w != nil {
		return w, err
	}
	due, err := l.Due(ctx)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	if err := l.timely(ctx); err != nil {
		return nil, err
	}
	d := keys.Destruction{Kind: keys.DestroyRetention}
	for _, r := range due[:min(len(due), maxExpiry)] {
		d.Retention = append(d.Retention, r.RetentionKey)
	}
	return l.newRun(ctx, expiryDocument, d, true)
}

// NextDue returns how long until the next key is due, at most limit.
func (l *Ledger) NextDue(ctx context.Context, limit time.Duration) (time.Duration, error) {
	next := limit
	now := l.Clock()
	err := l.Custody.EachRetention(ctx, func(r keys.RetentionRecord) bool {
		if !r.Destroyed {
			next = min(next, r.Due.Sub(now))
		}
		return true
	})
	if err != nil {
		return limit, fmt.Errorf("listing retention keys: %w", err)
	}
	return max(next, 0), nil
}
