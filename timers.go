package lethe

import (
	"context"
	"errors"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/keys/vault"
)

// minutely notes the time and the refusals, issues keys ahead and tries again
// what is not finished.
func (e *edge) minutely(ctx context.Context) {
	if e.lethe.cfg.Keys.erases() {
		e.try(ctx, "noting destructions again", e.noteLost)
	}
	for pause(ctx, time.Minute) == nil {
		e.try(ctx, "noting the time", e.noteTime)
		e.try(ctx, "noting refusals", e.noteRefusals)
		e.try(ctx, "noting gaps", e.gaps.Pay)
		e.try(ctx, "issuing keys ahead", e.lethe.ring.IssueAhead)
		e.try(ctx, "comparing the erasure journals", e.lethe.journal.Check)
		if e.lethe.cfg.Keys.erases() {
			e.try(ctx, "finishing erasures", e.lethe.ledger.ResumeAll)
			e.try(ctx, "looking whether the keys were restored", e.restoreWatch)
			e.try(ctx, "noting destructions again", e.noteLost)
		}
	}
}

// noteTime notes the time while the clock is trusted: a replay stops at such notes,
// and the next process believes the last one. Beyond one machine it first compares
// the clock with the log's where that is not known.
func (e *edge) noteTime(ctx context.Context) error {
	if s := e.lethe.shared; s != nil && e.lethe.clock.trusted() != nil {
		if err := s.times.Compare(ctx); err != nil {
			return err
		}
	}
	if e.lethe.clock.trusted() != nil {
		return nil // metrics and doctor say so
	}
	return e.node.Time(ctx)
}

// try runs one duty of the timer; a failure is told and tried again next time.
func (e *edge) try(ctx context.Context, what string, do func(context.Context) error) {
	if err := do(ctx); err != nil && ctx.Err() == nil {
		e.lethe.log.Error().Err(err).Msg(what + " failed; it is tried again")
	}
}

// restoreWatch destroys again what came back with a custodian that was restored
// while this process ran.
func (e *edge) restoreWatch(ctx context.Context) error {
	found, err := e.lethe.ledger.RestoreWatch(ctx)
	if found.Behind > 0 {
		e.lethe.log.Warn().Uint64("lines", found.Behind).Int("persons", found.Again.Subjects).Int("classes", found.Again.Gens).
			Msg("the custodian was restored from an older copy: what the erasure journal names is destroyed again")
	}
	return err
}

// noteLost notes destructions again where the log went back behind their notes.
func (e *edge) noteLost(ctx context.Context) error {
	n, err := e.lethe.disposal.NoteLostDue(ctx)
	if n > 0 {
		e.lethe.log.Warn().Int("destructions", n).Msg("the log went back: destructions whose notes it lost are noted again")
	}
	return err
}

func (e *edge) noteRefusals(ctx context.Context) error {
	taken := e.recorder.TakeRefusals()
	for i, r := range taken {
		pool := r.Pool
		if pool == "" {
			pool = "none"
		}
		err := e.node.Note(ctx, domain.ConnectionRefused, domain.Name("pool", pool), domain.Name("reason", r.Reason), domain.Int("count", r.Count))
		if err != nil {
			e.recorder.ReturnRefusals(taken[i+1:]) // this one is settled with the next note
			return err
		}
	}
	return nil
}

// How often left-overs of broken-off calls are looked for in Vault, and how far
// back: a sweep passes over what is younger than a day.
const (
	sweepEvery = 24 * time.Hour
	sweepBack  = 48 * time.Hour
)

// sweepVault destroys what broken-off calls left in Vault. The first sweep looks at
// everything.
func (e *edge) sweepVault(ctx context.Context) {
	custodian, ok := e.lethe.custodian.(*vault.Custodian)
	if !ok {
		return
	}
	for since := (time.Time{}); ; since = e.lethe.opt.Clock().Add(-sweepEvery - sweepBack) {
		e.try(ctx, "sweeping Vault", func(ctx context.Context) error {
			swept, err := custodian.Sweep(ctx, since)
			if swept.Keys+swept.Persons+swept.Blocks+swept.Finished > 0 {
				e.lethe.log.Info().Int("keys", swept.Keys).Int("persons", swept.Persons).Int("blocks", swept.Blocks).
					Int("finished", swept.Finished).Msg("what broken-off calls left in Vault is destroyed")
			}
			return err
		})
		if pause(ctx, sweepEvery) != nil {
			return
		}
	}
}

// disposeEvery is how often it is looked whether ciphertext is due to be removed.
const disposeEvery = time.Hour

// dispose removes ciphertext in time, many persons at once.
func (e *edge) dispose(ctx context.Context) {
	for {
		e.try(ctx, "disposing of ciphertext", func(ctx context.Context) error {
			done, err := e.lethe.disposal.RunDue(ctx)
			if done != (ledger.Disposed{}) {
				e.lethe.log.Info().Int("destructions", done.Destructions).Int("buckets", done.Buckets).Int64("events", done.Events).
					Int("deleted", done.Deleted).Int("cut", done.Truncated).Int("retired", done.Retired).Msg("ciphertext of destroyed keys is disposed of")
			}
			return err
		})
		if pause(ctx, disposeEvery) != nil {
			return
		}
	}
}

// Bounds of the waits between two looks at what is due.
const (
	longestWait  = time.Minute
	shortestWait = time.Second
)

// expire destroys retention keys as they come due, beginning at once.
func (e *edge) expire(ctx context.Context) {
	for {
		done, err := e.lethe.ledger.Expire(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, domain.ErrClock):
			e.lethe.log.Warn().Err(err).Msg("keys are past due and not destroyed: their data reads denied until the clock is trusted")
		case err != nil:
			e.lethe.log.Error().Err(err).Msg("expiry failed; it is tried again")
		case len(done.Keys) > 0:
			e.lethe.log.Info().Int("keys", len(done.Keys)).Msg("retention keys destroyed as due")
		}
		wait, err := e.lethe.ledger.NextDue(ctx, longestWait)
		if err != nil {
			wait = longestWait
		}
		if pause(ctx, max(wait, shortestWait)) != nil {
			return
		}
	}
}
