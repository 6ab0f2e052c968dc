package lethe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/projections"
)

// Doctor implements api.Service: what an operator should know.
func (l *Lethe) Doctor(ctx context.Context, _ api.Caller) (api.Doctor, error) {
	var d api.Doctor
	add := func(level, subject, message string) {
		d.Findings = append(d.Findings, api.Finding{Level: level, Subject: subject, Message: message})
	}
	if !l.currentPolicy().Reviewed {
		add("warning", "policy", "The policy was not reviewed by a controller: purposes, classes and periods are built in. Write one in lethe.yaml.")
	}
	if err := l.clock.trusted(); err != nil {
		add("warning", "clock", fmt.Sprintf("No key is issued or destroyed by the clock: %v.", err))
	} else {
		add("ok", "clock", "The clock is trusted.")
	}
	if err := l.views.Err(); errors.Is(err, projections.ErrLogWentBack) {
		add("error", "views", fmt.Sprintf("The views do not move: %v. Run lethe views rebuild --all.", err))
	} else if err != nil {
		add("error", "views", fmt.Sprintf("The views do not move: %v.", err))
	} else {
		add("ok", "views", "The views follow the log.")
	}
	status, err := l.ring.Status(ctx)
	if err != nil {
		return d, err
	}
	if status.Fenced > 0 {
		add("warning", "erasures", fmt.Sprintf("%d persons are fenced: an erasure is not finished. It is tried again each minute; see the log.", status.Fenced))
	}
	if err := l.journal.Check(ctx); err != nil {
		add("error", "journal", fmt.Sprintf("Nothing is opened or erased: %v.", err))
	}
	add("ok", "journal", fmt.Sprintf("%d lines in the log and in %s.", l.journal.Lines(), l.cfg.Journal.Path))
	if err := l.examineDisposal(ctx, add); err != nil {
		return d, err
	}
	if err := l.examineGaps(ctx, add); err != nil {
		return d, err
	}
	if l.shared != nil {
		l.shared.examine(add)
	}
	l.examine(add)
	return d, nil
}

// examineDisposal says whether ciphertext is removed in time.
func (l *Lethe) examineDisposal(ctx context.Context, add func(level, subject, message string)) error {
	o, err := l.disposal.Outstanding(ctx)
	if err != nil {
		return err
	}
	if o.Oldest.IsZero() {
		add("ok", "disposal", "No ciphertext of destroyed keys is left in the log.")
		return nil
	}
	due := l.currentPolicy().Disposal.Within.After(o.Oldest)
	said := fmt.Sprintf("Ciphertext of %d erasures and %d expired buckets is still in the log, since %s; it goes by itself before %s.",
		o.Destructions, o.Buckets, o.Oldest.UTC().Format(time.DateOnly), due.UTC().Format(time.DateOnly))
	if l.opt.Clock().After(due) {
		add("error", "disposal", said+" That has passed: see the log, or run lethe retention dispose.")
		return nil
	}
	add("note", "disposal", said)
	return nil
}

// examineGaps says what is missing in the record, and what the log has yet to be told.
func (l *Lethe) examineGaps(ctx context.Context, add func(level, subject, message string)) error {
	if e := l.edge.Load(); e != nil && e.gaps.count() > 0 {
		add("warning", "gaps", fmt.Sprintf("Traffic passed unrecorded, and %d gaps are not in the log yet: it takes no more, or it is away.", e.gaps.count()))
	}
	found, err := l.views.Gaps(ctx)
	if err != nil {
		return fmt.Errorf("listing gaps: %w", err)
	}
	if len(found) == 0 {
		add("ok", "gaps", "No gap in the record is known.")
		return nil
	}
	last := found[len(found)-1]
	add("note", "gaps", fmt.Sprintf("%d gaps are in the record; the last one, of pool %s, from %s to %s: %d connections, about %d bytes. lethe views query gaps lists them.",
		len(found), last.Pool, time.Unix(last.Since, 0).UTC().Format(time.RFC3339), time.Unix(last.Until, 0).UTC().Format(time.RFC3339), last.Connections, last.Bytes))
	return nil
}

// behindAfter is how old what waits in an outbox may be before it is worth a word.
const behindAfter = time.Minute

// behind is the age of the oldest event that the log has not taken yet.
func (s *shared) behind() time.Duration {
	oldest := s.outbox.Stats().Oldest
	if oldest.IsZero() {
		return 0
	}
	return max(s.lethe.opt.Clock().Sub(oldest), 0)
}

func (s *shared) examine(add func(level, subject, message string)) {
	stats := s.outbox.Stats()
	if err := s.halted.Load(); err != nil {
		add("error", "outbox", fmt.Sprintf("%d events wait and are not shipped: %v. If the log was restored from a copy, run lethe keys restore-check on this node.", stats.Pending.Events, *err))
	} else if s.behind() > behindAfter {
		add("warning", "outbox", fmt.Sprintf("%d events wait for the log, the oldest for %s: is it away?", stats.Pending.Events, s.behind().Round(time.Second)))
	} else {
		add("ok", "outbox", fmt.Sprintf("%d events wait for the log.", stats.Pending.Events))
	}
	if err := s.lease.Allowed(); err != nil {
		add("note", "lease", "Nothing is being opened now; a lease is had when something is.")
	}
}
