package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// A run is a destruction in progress that nobody asked for: retention keys that
// are due, or a ref or block that nothing needs any more. There is at most one of
// each name, and the custodian's document of that name holds it.
type run struct {
	Destruction keys.Destruction `json:"destruction"`
	After       domain.Revision  `json:"after"`
	Plan        *keys.Plan       `json:"plan,omitempty"`
	Journal     *uint64          `json:"journal,omitempty"`
	// Settled is said once nothing can stop the destruction: of a retirement, when
	// behind the fence there was still nothing alive.
	Settled bool `json:"settled,omitempty"`

	name    string
	version keys.Version
}

// newRun keeps a destruction before anything of it is done.
func (l *Ledger) newRun(ctx context.Context, name string, d keys.Destruction, settled bool) (*run, error) {
	last, err := l.Log.Last(ctx, l.streams.Destruction())
	if err != nil {
		return nil, fmt.Errorf("head of the destructions: %w", err)
	}
	d.Command = domain.New[domain.CommandID]()
	w := &run{Destruction: d, After: last, Settled: settled, name: name}
	return w, l.saveRun(ctx, w)
}

// carryOut is the same walk as an erasure's, without a request.
func (l *Ledger) carryOut(ctx context.Context, w *run) error {
	if w.Journal == nil {
		if err := l.unforked(ctx); err != nil {
			return err
		}
		if err := l.Ring.Fence(ctx, w.Destruction); err != nil {
			return err
		}
	}
	if w.Plan == nil {
		plan, err := l.Ring.Plan(ctx, w.Destruction)
		if err != nil {
			return fmt.Errorf("planning the %s: %w", w.name, err)
		}
		w.Plan = &plan // kept before the journal names it: a replay may destroy it first
		if err := l.saveRun(ctx, w); err != nil {
			return err
		}
	}
	if err := l.begun(ctx, w.Destruction, w.After, *w.Plan); err != nil {
		return err
	}
	if w.Destruction.Kind == keys.DestroySubject {
		l.Sever(w.Destruction.Ref) // whoever connected between the look and the fence
	}
	if w.Journal == nil {
		if err := l.everywhere(ctx); err != nil {
			return err
		}
		seq, err := l.Journal.Name(ctx, w.Destruction.Command, journalKind(w.Destruction.Kind), w.Plan.Tags)
		if err != nil {
			return fmt.Errorf("journalling the %s: %w", w.name, err)
		}
		w.Journal = &seq
		l.mirrored(ctx, seq)
		if err := l.saveRun(ctx, w); err != nil {
			return err
		}
	}
	if err := l.Ring.Execute(ctx, w.Destruction, *w.Plan, *w.Journal); err != nil {
		return fmt.Errorf("destroying the keys of the %s: %w", w.name, err)
	}
	if err := l.Ring.Unfence(ctx, w.Destruction); err != nil {
		return err
	}
	if err := l.done(ctx, w.Destruction, w.After, *w.Plan, w.Journal); err != nil {
		return err
	}
	return l.closeRun(ctx, w)
}

// resumeRun finishes the run that a crash left behind, if there is one.
func (l *Ledger) resumeRun(ctx context.Context, name string) error {
	l.destroying.Lock()
	defer l.destroying.Unlock()
	work := name
	if name == retirementDocument {
		work = sweepDocument // which retirements are a part of
	}
	return l.inTurn(ctx, work, func() error {
		w, err := l.loadRun(ctx, name)
		switch {
		case err != nil || w == nil:
			return err
		case !w.Settled:
			return l.abandon(ctx, w)
		}
		return l.carryOut(ctx, w)
	})
}

// abandon ends a run that destroyed nothing.
func (l *Ledger) abandon(ctx context.Context, w *run) error {
	if err := l.Ring.Unfence(ctx, w.Destruction); err != nil {
		return err
	}
	return l.closeRun(ctx, w)
}

// journalKind is the word of a journal line for a destruction. FORMAT §7 has none
// for a block; replay finds its key by its tag, whatever the line's kind.
func journalKind(k keys.DestructionKind) string {
	if k == keys.DestroyBlock {
		return string(domain.JournalSubject)
	}
	return string(k)
}

// loadRun returns the run in progress; nil if there is none.
func (l *Ledger) loadRun(ctx context.Context, name string) (*run, error) {
	value, version, err := l.Custody.Document(ctx, name)
	if errors.Is(err, domain.ErrNotFound) {
		return nil, nil //nolint:nilnil // nothing is in progress
	}
	if err != nil {
		return nil, fmt.Errorf("reading the %s in progress: %w", name, err)
	}
	w := &run{name: name, version: version}
	if err := json.Unmarshal(value, w); err != nil {
		return nil, fmt.Errorf("reading the %s in progress: %w", name, err)
	}
	return w, nil
}

func (l *Ledger) saveRun(ctx context.Context, w *run) error {
	value, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encoding the %s: %w", w.name, err)
	}
	if w.version, err = l.Custody.PutDocument(ctx, w.name, w.version, value); err != nil {
		return fmt.Errorf("keeping the %s: %w", w.name, err)
	}
	return nil
}

func (l *Ledger) closeRun(ctx context.Context, w *run) error {
	if err := l.Custody.RemoveDocument(ctx, w.name, w.version); err != nil {
		return fmt.Errorf("closing the %s: %w", w.name, err)
	}
	return nil
}
