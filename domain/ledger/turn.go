package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// turnTime is how long one process has work for itself that any may do. Whoever
// takes longer is joined by another one: every step is idempotent, and what is
// kept changes by compare-and-set, so that the slower one stops.
const turnTime = 10 * time.Minute

// A turn is the custodian's document of who does such work now.
type turn struct {
	Holder domain.WriterID `json:"holder"`
	Until  time.Time       `json:"until"`
}

// inTurn does work that only one process should do at a time: not at all where
// another one has the turn, and at once where this process is alone.
func (l *Ledger) inTurn(ctx context.Context, work string, do func() error) error {
	if l.Many == nil {
		return do()
	}
	release, ok, err := l.takeTurn(ctx, "turn/"+work)
	if err != nil || !ok {
		return err
	}
	return errors.Join(do(), release())
}

func (l *Ledger) takeTurn(ctx context.Context, name string) (release func() error, ok bool, err error) {
	value, version, err := l.Custody.Document(ctx, name)
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return nil, false, fmt.Errorf("reading %s: %w", name, err)
	}
	var now turn
	if err == nil {
		if err := json.Unmarshal(value, &now); err != nil {
			return nil, false, fmt.Errorf("reading %s: %w", name, err)
		}
	}
	if now.Holder != l.self && l.Clock().Before(now.Until) {
		return nil, false, nil
	}
	value, err = json.Marshal(turn{Holder: l.self, Until: l.Clock().Add(turnTime)})
	if err != nil {
		return nil, false, fmt.Errorf("encoding %s: %w", name, err)
	}
	version, err = l.Custody.PutDocument(ctx, name, version, value)
	if errors.Is(err, domain.ErrConflict) {
		return nil, false, nil // somebody else was first
	}
	if err != nil {
		return nil, false, fmt.Errorf("taking %s: %w", name, err)
	}
	return func() error {
		err := l.Custody.RemoveDocument(context.WithoutCancel(ctx), name, version)
		if errors.Is(err, domain.ErrConflict) {
			return nil // it took longer, and somebody else has it now
		}
		return err
	}, true, nil
}
