package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// closeRequests says in the files of requests that what they asked for is
// disposed of, and that they are completed; and forgets what the custodian kept
// of those whose own period is over.
func (d *Disposal) closeRequests(ctx context.Context, _ *sweep, f *fates, _ *Disposed) error {
	disposed := map[domain.CommandID]bool{}
	for _, one := range f.pending {
		disposed[one.note.Command] = true
	}
	var requests, past []domain.RequestID
	err := d.Custody.EachDocument(ctx, erasureDocument, func(_ string, value []byte) bool {
		w, err := decodeErasure(value)
		switch {
		case err != nil || w.Done.IsZero():
		case w.Disposed.IsZero() && disposed[w.Destruction.Command]:
			requests = append(requests, w.Request)
		case d.pastFile(w):
			past = append(past, w.Request)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("listing requests: %w", err)
	}
	for _, request := range requests {
		if err := d.complete(ctx, request); err != nil {
			return fmt.Errorf("request %s: %w", request, err)
		}
	}
	for _, request := range past {
		if err := d.forget(ctx, request); err != nil {
			return fmt.Errorf("request %s: %w", request, err)
		}
	}
	return nil
}

// pastFile reports whether the period of a request's file is over.
func (d *Disposal) pastFile(w *erasure) bool {
	rule, ok := d.Policy.Policy().Class(w.FileClass)
	return ok && !w.Disposed.IsZero() && !rule.Retention.After(w.Disposed).After(d.Clock())
}

// complete ends a request. Its file may be gone by then: its own period is none of
// the request's.
func (d *Disposal) complete(ctx context.Context, request domain.RequestID) error {
	d.destroying.Lock()
	defer d.destroying.Unlock()
	w, err := d.load(ctx, request)
	if err != nil {
		return err
	}
	if err := d.noteCompleted(ctx, w); err != nil && !errors.Is(err, domain.ErrNotFound) {
		return err
	}
	w.Disposed = d.Clock().UTC()
	return d.save(ctx, w)
}

// noteCompleted puts the end of a request into its file.
func (l *Ledger) noteCompleted(ctx context.Context, w *erasure) error {
	_, err := l.file(ctx, w, entry{
		step: "completed", typ: domain.RequestCompleted, facts: domain.NewFacts(domain.UUID("request", w.Request)),
		record: map[string]any{"at": l.Clock().UTC().Format(time.RFC3339)},
	})
	return err
}

func (d *Disposal) forget(ctx context.Context, request domain.RequestID) error {
	w, err := d.load(ctx, request)
	if err != nil {
		return err
	}
	if err := d.Custody.RemoveDocument(ctx, erasureDocument+request.String(), w.version); err != nil {
		return fmt.Errorf("forgetting it: %w", err)
	}
	return nil
}
