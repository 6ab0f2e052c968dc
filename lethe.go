// Package lethe opens a ledger: it is the only place where adapters meet, and
// what the command and a Go server that embeds Lethe share.
//
// On one machine everything is embedded: the log and the custodian below one
// data directory, read models in SQLite beside them, and the erasure journal in a
// folder of its own, because it must not be restored together with the keys.
package lethe

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/keys"
)

// Options are what a program gives to Open beside the configuration.
type Options struct {
	Logger  zerolog.Logger
	Clock   func() time.Time // nil: the machine's
	Version string
	// ConfirmPolicy is the digest of a policy that shortens a period; without it
	// such a policy is refused.
	ConfirmPolicy string
	// ApplyPolicy makes the configuration's policy the one in force also where other
	// processes follow the log's.
	ApplyPolicy bool
}

// A Lethe is an open ledger. It is safe for concurrent use. Close it once.
type Lethe struct {
	cfg    *Config
	opt    Options
	log    zerolog.Logger
	clock  *clock
	tokens *tokens

	custodian keys.Custodian
	ring      *keys.Ring
	store     eventstore.Store
	policy    *ledger.PolicyLog
	journal   *ledger.Journal
	ledger    *ledger.Ledger
	views     *views
	disposal  *ledger.Disposal
	shared    *shared              // beyond one machine; nil on one
	edge      atomic.Pointer[edge] // while serving
}

// ErrKeysMissing says that a log stands without the keys that open it.
var ErrKeysMissing = errors.New("the log is there but its keys are not: restore the keys folder from its backup, or move the log away to begin a new ledger; nothing was changed")

// Open opens the ledger that cfg describes, under its lock, and makes it on first
// use. It finishes what a crash interrupted: journal lines, erasures, expiries.
// Errors name what to do.
func Open(ctx context.Context, cfg *Config, opt Options) (l *Lethe, err error) {
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	l = &Lethe{cfg: cfg, opt: opt, log: opt.Logger, clock: newClock(opt.Clock)}
	if l.many() {
		l.clock.besides(func() error { return ledger.ErrNotCompared })
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close(context.WithoutCancel(ctx)))
			l = nil
		}
	}()
	for _, step := range []func(context.Context) error{l.locate, l.openEngines, l.identify, l.openRing, l.openJournal, l.openLedger, l.openViews, l.openDisposal} {
		if err := step(ctx); err != nil {
			return l, err
		}
	}
	return l, nil
}

// locate makes paths independent of the directory that a command runs in. The
// caller's configuration stays as it is.
func (l *Lethe) locate(context.Context) error {
	own := *l.cfg
	for _, path := range []*string{&own.Data, &own.Journal.Path} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("locating %s: %w", *path, err)
		}
		*path = absolute
	}
	l.cfg = &own
	return nil
}

func (l *Lethe) openRing(ctx context.Context) error {
	if err := l.clock.readLog(ctx, l.store, l.cfg.Ledger); err != nil {
		return err
	}
	var err error
	l.ring, err = keys.NewRing(ctx, keys.RingConfig{
		Custodian: l.custodian, Ledger: l.cfg.Ledger, Namespace: "subjects", Clock: l.opt.Clock,
		Policy: l.currentPolicy, ClockTrusted: l.clock.trusted, Dead: keys.NewDead(), LogGen: l.lastGen,
	})
	if err != nil {
		return err
	}
	l.policy, err = ledger.OpenPolicyLog(ctx, l.store, l.cfg.Ledger, l.ring.Integrity(), l.opt.Clock)
	if err != nil {
		return err
	}
	if l.cfg.adopt && l.policy.Policy() != nil {
		return nil
	}
	want, err := l.wantedPolicy(ctx)
	if err != nil {
		return err
	}
	if l.many() && !l.opt.ApplyPolicy {
		if differs, err := l.policy.Differs(want); err != nil || differs {
			return errors.Join(err, errOtherPolicy)
		}
	}
	err = l.policy.Apply(ctx, want, l.opt.ConfirmPolicy)
	if errors.Is(err, ledger.ErrPolicyShortens) {
		return api.Refused(err.Error())
	}
	return err
}

func (l *Lethe) openJournal(ctx context.Context) error {
	j, found, err := ledger.OpenJournal(ctx, ledger.JournalConfig{
		ID: l.cfg.Ledger, Log: l.store, Heads: l.custodian, Ring: l.ring, Integrity: l.ring.Integrity(),
		Dead: l.ring.Dead, Clock: l.opt.Clock, Path: l.cfg.Journal.Path,
	})
	if err != nil {
		return fmt.Errorf("opening the erasure journal: %w", err)
	}
	l.journal = j
	if found.Stopped != nil {
		l.log.Error().Err(found.Stopped).Msg("nothing is opened or erased; recording goes on")
	}
	if found.Lines > 0 || found.FileLines > 0 {
		l.log.Warn().Int("lines", found.Lines).Int("file_lines", found.FileLines).Msg("erasure journal mended and carried out again")
	}
	return nil
}

func (l *Lethe) openLedger(ctx context.Context) error {
	var err error
	var many *ledger.Many
	if l.many() {
		l.shared = l.newShared()
		many = &ledger.Many{Lease: l.shared.lease, Pause: pause, StoreTime: l.shared.times}
	}
	l.ledger, err = ledger.New(ledger.Config{
		ID: l.cfg.Ledger, Log: l.store, Ring: l.ring, Custody: l.custodian, Policy: l.policy, Journal: l.journal,
		Clock: l.opt.Clock, Sever: l.sever, Many: many,
	})
	if err != nil {
		return err
	}
	if l.shared != nil {
		if err := l.shared.join(ctx); err != nil {
			return err
		}
	}
	if l.cfg.Keys.erases() {
		if err := l.ledger.ResumeAll(ctx); err != nil {
			l.log.Error().Err(err).Msg("an erasure is not finished yet; it will be tried again")
		}
	}
	if err := l.ring.IssueAhead(ctx); err != nil {
		l.log.Warn().Err(err).Msg("retention keys could not be issued ahead; they will be")
	}
	return nil
}

// Close closes everything in the order in which it is used: views read the log,
// the ring uses the custodian.
func (l *Lethe) Close(ctx context.Context) error {
	var errs []error
	if l.views != nil {
		errs = append(errs, l.views.close(ctx))
	}
	if l.shared != nil {
		errs = append(errs, l.shared.close(ctx))
	}
	if l.journal != nil {
		errs = append(errs, l.journal.Close())
	}
	if l.store != nil {
		errs = append(errs, l.store.Close())
	}
	if l.ring != nil {
		l.ring.Close()
	}
	if l.custodian != nil {
		errs = append(errs, l.custodian.Close())
	}
	return errors.Join(errs...)
}
