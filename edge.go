package lethe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/gateway"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/gateway/console"
	"github.com/lethe-ledger/lethe/gateway/recorder"
)

// Addresses are where a serving process takes connections, as URLs.
type Addresses struct {
	Gateway string
	Admin   string
	// Page shows a trial living; its fragment holds the token of this process, so
	// it is for a terminal and never for a log. Empty otherwise.
	Page string
}

// An edge is what exists while a process serves: the gateway with its recorder,
// the admin API, and the timers.
type edge struct {
	lethe    *Lethe
	config   atomic.Pointer[Config] // whose node settings are in force
	node     *ledger.Node
	recorder *recorder.Recorder
	gaps     *gaps
	// recording is the ledger that the recorder records to.
	recording *ledger.Ledger
	gateway   *gateway.Gateway
	admin     *http.Server
	api       *api.Server
	chat      *console.Chat // the upstream of a trial; nil otherwise
	page      string        // the URL of the trial's page
	listener  struct{ gateway, admin net.Listener }

	running sync.WaitGroup
	stop    context.CancelFunc // ends timers
	failed  chan error         // of a listener
}

// How long a drain may take: connections first, then what they left to record.
// Closes are spread over half of the first, so that many clients do not come
// back at once, and few do not wait.
const (
	drainTime          = 2 * time.Second
	drainPerConnection = 4 * time.Millisecond
	maxDrainTime       = 20 * time.Second
	recordTime         = 30 * time.Second
)

// Serve takes connections until ctx ends, then drains: it stops accepting, closes
// every connection with 1001, appends what is left, notes the end and returns
// nil. ready is told the addresses once connections are accepted.
func (l *Lethe) Serve(ctx context.Context, ready func(Addresses)) error {
	e := &edge{lethe: l, failed: make(chan error, 2)}
	e.config.Store(l.cfg)
	addresses, err := e.start(ctx)
	if err != nil {
		return errors.Join(err, e.shutdown(context.WithoutCancel(ctx)))
	}
	ready(addresses)
	select {
	case <-ctx.Done():
	case err = <-e.failed:
	}
	return errors.Join(err, e.shutdown(context.WithoutCancel(ctx)))
}

func (e *edge) start(ctx context.Context) (at Addresses, err error) {
	l := e.lethe
	e.recording = l.ledger
	if l.shared != nil {
		e.node, e.recording = l.shared.node, l.shared.recording
	} else if e.node, err = l.openNode(ctx); err != nil {
		return at, err
	}
	if err = e.noteTime(ctx); err != nil && !errors.Is(err, domain.ErrClock) {
		return at, err
	}
	if err = e.startTrial(ctx); err != nil {
		return at, err
	}
	if err = e.openGaps(ctx); err != nil {
		return at, err
	}
	e.recorder, err = recorder.New(recorder.Options{ //nolint:contextcheck // its goroutines end with Close, behind ctx
		Ledger: e.recording, Subjects: l, Policy: l.currentPolicy(), Clock: l.opt.Clock, Gaps: e.gaps,
		MAC: func(s string) []byte { sum := l.ring.MAC([]byte("lethe/field/v1" + s)); return sum[:] },
		Failed: func(err error) {
			l.log.Error().Err(err).Msg("recording waits; it is tried again, and each pool does as its on_ledger_failure says")
		},
	})
	if err != nil {
		return at, err
	}
	if err = e.listen(ctx); err != nil {
		return at, err
	}
	settings, err := e.settings()
	if err != nil {
		return at, err
	}
	e.gateway, err = gateway.New(gateway.Config{Recorder: e.recorder, Clock: l.opt.Clock, Log: l.log}, settings)
	if err != nil {
		return at, err
	}
	return e.accept(ctx)
}

// listen opens both listeners before either is served, so that a port in use
// stops the start.
func (e *edge) listen(ctx context.Context) (err error) {
	var lc net.ListenConfig
	if e.listener.gateway, err = lc.Listen(ctx, "tcp", e.lethe.cfg.Listen.Address); err != nil {
		return fmt.Errorf("listening for WebSocket clients: %w", err)
	}
	if e.listener.admin, err = lc.Listen(ctx, "tcp", e.lethe.cfg.Admin.Address); err != nil {
		return fmt.Errorf("listening for the admin API: %w", err)
	}
	return nil
}

// accept serves both listeners and starts the timers.
func (e *edge) accept(ctx context.Context) (at Addresses, err error) {
	how, err := e.lethe.cfg.listen()
	if err != nil {
		return at, err
	}
	if e.admin, err = e.adminServer(); err != nil {
		return at, err
	}
	timers, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	e.lethe.edge.Store(e)
	e.lethe.followPolicy() // a revision may have come since the recorder was made
	e.running.Go(func() { e.serve("gateway", e.gateway.Serve(e.listener.gateway, how)) })
	e.running.Go(func() { e.serve("admin API", e.admin.Serve(e.listener.admin)) })
	e.running.Go(func() { e.minutely(timers) })
	if e.lethe.cfg.Keys.erases() {
		e.running.Go(func() { e.expire(timers) })
		e.running.Go(func() { e.dispose(timers) })
		e.running.Go(func() { e.sweepVault(timers) })
	}
	scheme := "ws"
	if how.TLS != nil {
		scheme = "wss"
	}
	return Addresses{
		Gateway: scheme + "://" + e.listener.gateway.Addr().String(), Admin: "http://" + e.listener.admin.Addr().String(), Page: e.page,
	}, nil
}

func (e *edge) serve(what string, err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		e.failed <- fmt.Errorf("serving the %s: %w", what, err)
	}
}

// shutdown ends in the order in which things are used: connections, then what
// they left to record, then the notes, and the admin API last, so that a drain
// can be watched.
func (e *edge) shutdown(ctx context.Context) error {
	var errs []error
	if e.gateway != nil {
		draining, cancel := context.WithTimeout(ctx, e.drainTime())
		errs = append(errs, e.gateway.Drain(draining))
		cancel()
	}
	recording, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	if e.recorder != nil {
		errs = append(errs, e.recorder.Close(recording))
	}
	if e.stop != nil {
		e.stop()
	}
	if e.gaps != nil {
		e.try(recording, "noting gaps", e.gaps.Pay) // or the next process does
	}
	if e.node != nil && e.lethe.shared == nil {
		errs = append(errs, e.node.Close(recording))
	}
	if e.api != nil {
		errs = append(errs, e.api.Close(recording))
	}
	if e.admin != nil {
		errs = append(errs, e.admin.Close())
		e.lethe.removeAdmin()
	}
	errs = append(errs, e.stopTrial())
	e.closeListeners() // those that nobody served
	e.running.Wait()
	if e.gaps != nil {
		errs = append(errs, e.gaps.close())
	}
	e.lethe.edge.Store(nil)
	return errors.Join(errs...)
}

func (e *edge) drainTime() time.Duration {
	var open int64
	for _, p := range e.gateway.Snapshot() {
		open += p.Open
	}
	return min(drainTime+time.Duration(open)*drainPerConnection, maxDrainTime)
}

func (e *edge) closeListeners() {
	for _, l := range []net.Listener{e.listener.gateway, e.listener.admin} {
		if l != nil {
			_ = l.Close() // closed before, where it was served
		}
	}
}
