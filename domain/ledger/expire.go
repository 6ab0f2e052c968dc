package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// expiryDocument is the custodian's document of an expiry in progress: there is
// at most one.
const expiryDocument = "expiry"

// maxExpiry bounds the keys of one expiry, so that its note stays within the
// limits of an event; what is left goes with the next one.
const maxExpiry = 2_000

// An expiry is a run of the retention in progress.
type expiry struct {
	Destruction keys.Destruction `json:"destruction"`
	After       domain.Revision  `json:"after"`
	Plan        *keys.Plan       `json:"plan,omitempty"`
	Journal     *uint64          `json:"journal,omitempty"`

	version keys.Version
}

// Expired tells what a run of the retention destroyed.
type Expired struct {
	Keys    []domain.RetentionKey
	Journal uint64
}

// Expire destroys the retention keys that are past due: nothing of those periods
// opens any more, for anybody. It does so only while the clock is trusted
// (domain.ErrClock); until then past-due data reads denied. Calling it again
// finishes what a crash interrupted.
func (l *Ledger) Expire(ctx context.Context) (Expired, error) {
	l.destroying.Lock()
	defer l.destroying.Unlock()
	w, err := l.takeExpiry(ctx)
	if err != nil || w == nil {
		return Expired{}, err
	}
	return l.runExpiry(ctx, w)
}

// Due returns what Expire would destroy now.
func (l *Ledger) Due(ctx context.Context) ([]keys.RetentionRecord, error) {
	return l.Ring.Due(ctx, l.Clock())
}

func (l *Ledger) resumeExpiry(ctx context.Context) error {
	w, err := l.loadExpiry(ctx)
	if err != nil || w == nil {
		return err
	}
	_, err = l.runExpiry(ctx, w)
	return err
}

// takeExpiry finds the run in progress or begins one; nil if nothing is due.
func (l *Ledger) takeExpiry(ctx context.Context) (*expiry, error) {
	w, err := l.loadExpiry(ctx)
	if err != nil || w != nil {
		return w, err
	}
	due, err := l.Due(ctx)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	w = &expiry{Destruction: keys.Destruction{Command: domain.New[domain.CommandID](), Kind: keys.DestroyRetention}}
	for _, r := range due[:min(len(due), maxExpiry)] {
		w.Destruction.Retention = append(w.Destruction.Retention, r.RetentionKey)
	}
	if w.After, err = l.Log.Last(ctx, l.streams.Destruction()); err != nil {
		return nil, fmt.Errorf("head of the destructions: %w", err)
	}
	return w, l.saveExpiry(ctx, w)
}

// runExpiry is the same walk as an erasure's, without a request.
func (l *Ledger) runExpiry(ctx context.Context, w *expiry) (Expired, error) {
	if w.Journal == nil {
		if err := l.Ring.Fence(ctx, w.Destruction); err != nil {
			return Expired{}, err
		}
	}
	if w.Plan == nil {
		plan, err := l.Ring.Plan(ctx, w.Destruction)
		if err != nil {
			return Expired{}, fmt.Errorf("planning the expiry: %w", err)
		}
		w.Plan = &plan
	}
	if err := l.begun(ctx, w.Destruction, w.After, *w.Plan); err != nil {
		return Expired{}, err
	}
	if w.Journal == nil {
		seq, err := l.Journal.Name(ctx, w.Destruction.Command, string(keys.DestroyRetention), w.Plan.Tags)
		if err != nil {
			return Expired{}, fmt.Errorf("journalling the expiry: %w", err)
		}
		w.Journal = &seq
		if err := l.saveExpiry(ctx, w); err != nil {
			return Expired{}, err
		}
	}
	if err := l.Ring.Execute(ctx, w.Destruction, *w.Plan, *w.Journal); err != nil {
		return Expired{}, fmt.Errorf("destroying expired keys: %w", err)
	}
	if err := l.done(ctx, w.Destruction, w.After, *w.Plan, w.Journal); err != nil {
		return Expired{}, err
	}
	if err := l.Custody.RemoveDocument(ctx, expiryDocument, w.version); err != nil {
		return Expired{}, fmt.Errorf("closing the expiry: %w", err)
	}
	return Expired{Keys: w.Destruction.Retention, Journal: *w.Journal}, nil
}

func (l *Ledger) loadExpiry(ctx context.Context) (*expiry, error) {
	value, version, err := l.Custody.Document(ctx, expiryDocument)
	if errors.Is(err, domain.ErrNotFound) {
		return nil, nil //nolint:nilnil // no expiry is in progress
	}
	if err != nil {
		return nil, fmt.Errorf("reading the expiry in progress: %w", err)
	}
	w := &expiry{version: version}
	if err := json.Unmarshal(value, w); err != nil {
		return nil, fmt.Errorf("reading the expiry in progress: %w", err)
	}
	return w, nil
}

func (l *Ledger) saveExpiry(ctx context.Context, w *expiry) error {
	value, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encoding the expiry: %w", err)
	}
	if w.version, err = l.Custody.PutDocument(ctx, expiryDocument, w.version, value); err != nil {
		return fmt.Errorf("keeping the expiry: %w", err)
	}
	return nil
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
