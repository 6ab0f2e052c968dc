package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// GiveUpWithin is for how long a journal file that one principal gave up can be
// given up by another.
const GiveUpWithin = 24 * time.Hour

// GiveUp says that a journal file with lines that the log does not have, named by
// the hash of its last line, is lost: what only it names is forgotten. Called by a
// second principal within GiveUpWithin it ends the stop, unless there is another
// file. A node that still has it would stop everything again: here it is put aside.
//
// Errors: domain.ErrNotFound, ErrSecondPrincipal with the file that is named now,
// domain.ErrForked while another file is missing.
func (l *Ledger) GiveUp(ctx context.Context, by domain.SubjectRef, last string) (Fork, error) {
	l.destroying.Lock()
	defer l.destroying.Unlock()
	return l.Journal.giveUp(ctx, by, last)
}

func (j *Journal) giveUp(ctx context.Context, by domain.SubjectRef, last string) (given Fork, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	confirmed := false
	err = j.changeHead(ctx, func(h *journalHead) (bool, error) {
		i := slices.IndexFunc(h.Forked, func(f Fork) bool { return f.SHA256 == last })
		if i < 0 {
			return false, fmt.Errorf("journal file %s: %w", last, domain.ErrNotFound)
		}
		f := &h.Forked[i]
		now := j.Clock().UTC()
		if confirmed = !f.GivenUp.IsZero() && f.GivenUp != by && now.Sub(f.At) <= GiveUpWithin; confirmed {
			given = *f
			h.Forked = slices.Delete(h.Forked, i, i+1)
			return true, nil
		}
		f.GivenUp, f.At = by, now
		given = *f
		return true, nil
	})
	if err == nil && !confirmed {
		err = fmt.Errorf("journal file %s: %w", last, ErrSecondPrincipal)
	}
	if err != nil {
		return given, err
	}
	if j.aside != nil && j.aside.fork.same(given) {
		j.aside.stands = true
	}
	return given, j.settled(ctx)
}
