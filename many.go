package lethe

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	storeengine "github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/eventstore/outbox"
)

// A shared is what a process has beyond one machine: its lease to open, the watch
// of what others destroy, and the outbox whose relay ships what it recorded.
type shared struct {
	lethe  *Lethe
	node   *ledger.Node
	lease  *ledger.Lease
	times  *ledger.StoreTime // of this machine's clock and the log's
	heard  *ledger.Heard
	local  *storeengine.Store // below the outbox
	outbox *outbox.Outbox
	relay  *outbox.Relay
	halted atomic.Pointer[error] // why the relay stands; nil while it runs
	forget chan chan error       // asks ship to have the outbox forget the log's ends
	// recording is the ledger as the recorder sees it: what it records goes to the
	// outbox first.
	recording *ledger.Ledger

	while   context.Context //nolint:containedctx // the time until close
	stop    context.CancelFunc
	running sync.WaitGroup
}

// many reports whether other processes work on the same log.
func (l *Lethe) many() bool { return l.cfg.Store.Engine == storeEventStoreDB }

// bootTime is a clock that goes on while the machine sleeps and that nobody sets.
func bootTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0 // it never fails on Linux; clocks that stand still end every lease
	}
	return time.Duration(t.Nano())
}

func (l *Lethe) instant() ledger.Instant {
	return ledger.Instant{Boot: bootTime(), Wall: l.opt.Clock()}
}

// newShared makes the lease, which the ledger is opened with; it can be had once
// join has returned.
func (l *Lethe) newShared() *shared {
	s := &shared{lethe: l, heard: ledger.NewHeard(l.cfg.Ledger, l.journal.Lost), forget: make(chan chan error)}
	s.lease = ledger.NewLease(ledger.LeaseConfig{
		Now: l.instant, Drop: l.ring.DropOpenings, Pause: pause, Check: l.journal.Check,
		Renew: func(ctx context.Context, begun func(domain.EventID)) error { return s.node.Renew(ctx, begun) },
	})
	s.times = ledger.NewStoreTime(ledger.StoreTimeConfig{
		Now:  l.instant,
		Echo: func(ctx context.Context, begun func()) (domain.Recorded, error) { return s.node.Echo(ctx, begun) },
	})
	l.clock.besides(s.times.Agrees)
	return s
}

// join begins this process's notes and its watch, and opens the outbox.
func (s *shared) join(ctx context.Context) (err error) {
	l := s.lethe
	if s.node, err = l.openNode(ctx); err != nil {
		return err
	}
	if err := s.times.Compare(ctx); err != nil {
		l.log.Error().Err(err).Msg("nothing is issued or destroyed by the clock")
	}
	if err := s.openOutbox(ctx); err != nil {
		return fmt.Errorf("opening the outbox: %w", err)
	}
	watch := ledger.NewWatch(l.ledger, ledger.WatchConfig{
		Whole: l.store, Lease: s.lease, Node: s.node, Pause: pause, Notice: s.notice, Heard: s.heard, Revised: l.followPolicy,
	})
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.while, s.stop = running, stop
	s.running.Go(func() { _ = watch.Run(running) }) // it ends with running alone
	s.running.Go(func() { s.ship(running) })
	return nil
}

func (s *shared) notice(err error) {
	if err != nil {
		s.lethe.log.Error().Err(err).Msg("the log cannot be watched: nothing is opened until it can; recording goes on")
	}
}

// ship runs the relay until the process ends, or, loudly, until somebody has looked.
func (s *shared) ship(ctx context.Context) {
	for ctx.Err() == nil {
		run, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- s.relay.Run(run) }()
		var asked chan error
		select {
		case asked = <-s.forget:
			stop()
			if err := <-ended; err != nil {
				s.halt(err)
			}
		case err := <-ended:
			stop()
			if err == nil || ctx.Err() != nil {
				return
			}
			s.halt(err)
			select {
			case asked = <-s.forget:
			case <-ctx.Done():
				return
			}
		}
		err := s.relay.Forget()
		if err == nil {
			s.halted.Store(nil)
		}
		asked <- err
	}
}

func (s *shared) halt(err error) {
	s.halted.Store(&err)
	does := "the outbox is not shipped any more; recording goes on until it is full; see lethe doctor"
	if errors.Is(err, outbox.ErrWentBack) {
		does = "the outbox is not shipped any more; recording goes on until it is full; run lethe keys restore-check on this node"
	}
	s.lethe.log.Error().Err(err).Msg(does)
}

// logWentBack compares the ends of the log's streams with what the outbox remembers
// of them, and where the log went back has it forget them, so that what waits is
// shipped behind the ends that there are. It returns how many events wait.
func (s *shared) logWentBack(ctx context.Context) (waiting int, err error) {
	if err = s.relay.Compare(ctx); !errors.Is(err, outbox.ErrWentBack) {
		return 0, err
	}
	waiting = s.outbox.Stats().Pending.Events
	asked := make(chan error, 1)
	select {
	case s.forget <- asked:
		err = <-asked
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("shipping the outbox to a log that went back: %w", err)
	}
	s.lethe.log.Warn().Int("events", waiting).Msg("the log went back; what the outbox holds is looked for in it, and shipped behind its present ends")
	return waiting, nil
}

// defaultOutbox bounds the outbox where the configuration says nothing.
const defaultOutbox = 4 << 30

func (s *shared) openOutbox(ctx context.Context) (err error) {
	l := s.lethe
	s.local, err = storeengine.Open(filepath.Join(l.cfg.Data, "outbox"), storeengine.Options{Clock: l.opt.Clock}) //nolint:contextcheck // a store lives until Close
	if err != nil {
		return err
	}
	size := int64(l.cfg.Store.Outbox.Size)
	if size == 0 {
		size = defaultOutbox
	}
	s.outbox, err = outbox.Open(ctx, s.local, outbox.Options{Clock: l.opt.Clock, MaxBytes: size, Scavenge: s.local.Scavenge, Logf: l.logf})
	if err != nil {
		return err
	}
	s.relay, err = outbox.NewRelay(s.outbox, outbox.RelayOptions{Log: l.store, Fates: s.heard, Notes: l.ledger.NewScribe(), Clock: l.opt.Clock})
	if err != nil {
		return err
	}
	s.recording, err = ledger.New(ledger.Config{
		ID: l.cfg.Ledger, Log: s.outbox, Ring: l.ring, Custody: l.custodian, Policy: l.policy, Journal: l.journal, Clock: l.opt.Clock,
	})
	return err
}

func (l *Lethe) logf(format string, args ...any) { l.log.Warn().Msgf(format, args...) }

// close ends the watch and the relay, which finishes what is in flight, and notes
// the end of the process. What the outbox still holds is shipped by the next one.
func (s *shared) close(ctx context.Context) error {
	var errs []error
	if s.node != nil {
		errs = append(errs, s.node.Close(ctx))
	}
	if s.stop != nil {
		s.stop()
	}
	s.running.Wait()
	if s.node != nil {
		errs = append(errs, s.withdraw(ctx))
	}
	s.lease.Close()
	if s.outbox != nil {
		errs = append(errs, s.outbox.Close())
	}
	if s.local != nil {
		errs = append(errs, s.local.Close())
	}
	return errors.Join(errs...)
}

// openNode begins the notes of this process.
func (l *Lethe) openNode(ctx context.Context) (*ledger.Node, error) {
	return l.ledger.OpenNode(ctx, domain.Name("version", l.opt.Version), domain.Name("store", l.cfg.Store.Engine), domain.Name("keys", l.cfg.Keys.Custodian))
}
