package lethe

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/tlog"
)

// views are the read models of this process and the leaf entries of the Merkle
// log, with the goroutines that keep both up to date while the ledger is open.
type views struct {
	*projections.Projector
	lethe  *Lethe
	engine projections.Engine
	leaves *tlog.Log
	again  chan struct{} // holds a token once views that stopped were made anew
	stop   context.CancelFunc
	done   sync.WaitGroup
}

func (l *Lethe) openViews(ctx context.Context) error {
	engine, err := l.openViewEngine(ctx)
	if err != nil {
		return err
	}
	opt := l.loopOptions()
	opt.Tail = projections.NewTail(l.store, opt) // one reading for the views and the leaf entries
	p, err := projections.Open(ctx, l.store, engine, opt)
	if err != nil {
		return err
	}
	leaves, err := tlog.Open(filepath.Join(l.cfg.Data, "tlog"), l.cfg.Ledger, tlog.OS{}) //nolint:contextcheck // reading its own small head
	if err != nil {
		return errors.Join(err, p.Close())
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	v := &views{Projector: p, lethe: l, engine: engine, leaves: leaves, again: make(chan struct{}, 1), stop: stop}
	v.done.Go(func() {
		for v.run(running, "views", "run lethe views rebuild --all", p.Run) && v.anew(running) {
		}
	})
	v.done.Go(func() {
		v.run(running, "leaf entries", "stop, put data/tlog back as it was copied before the log, or remove it if nothing was disposed of before the copy, and start",
			projections.NewSinkLoop(l.store, opt, "leaves", leaves).Run)
	})
	l.views = v
	return nil
}

// linger is the least time between two live batches of the views. Commands that
// read them wait for what they need and cut it short; without that the views are
// this far behind. Ten transactions a second cost a busy gateway as much CPU as
// sealing and appending did.
const linger = 500 * time.Millisecond

func (l *Lethe) loopOptions() projections.Options {
	return projections.Options{
		Ledger: l.cfg.Ledger, Verify: l.ledger.Verify, Pause: pause, Linger: linger,
		Notice: func(err error) {
			if err != nil {
				l.log.Error().Err(err).Msg("the views wait")
			}
		},
	}
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// run ends with the ledger, or loudly at an event that no reader may pass, or where
// the log went back, which wants what is said and may then go on: true.
func (v *views) run(ctx context.Context, what, wants string, loop func(context.Context) error) bool {
	err := loop(ctx)
	if err == nil || ctx.Err() != nil {
		return false
	}
	back := errors.Is(err, projections.ErrLogWentBack)
	if !back {
		wants = "see lethe doctor"
	}
	v.lethe.log.Error().Err(err).Msg("the " + what + " stopped; recording goes on; " + wants)
	return back
}

// anew returns true once views that stopped were made anew here; or, after a minute,
// perhaps elsewhere. It returns false with ctx.
func (v *views) anew(ctx context.Context) bool {
	waiting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	select {
	case <-v.again:
	case <-waiting.Done():
	}
	return ctx.Err() == nil
}

// Rebuild is Projector.Rebuild, and has views go on that had stopped because the log
// went back.
func (v *views) Rebuild(ctx context.Context, progress func(projections.Progress), names ...string) ([]projections.Rebuilt, error) {
	done, err := v.Projector.Rebuild(ctx, progress, names...)
	if err == nil && len(done) > 0 && done[0].LiveDigest == "" {
		select {
		case v.again <- struct{}{}:
		default:
		}
	}
	return done, err
}

func (v *views) close(context.Context) error {
	v.stop()
	v.done.Wait()
	err := v.Close()
	if shared, ok := v.engine.(io.Closer); ok {
		err = errors.Join(err, shared.Close())
	}
	return err
}

// catchUp is how long a reader waits for the views to reach what was in the log
// when it asked.
const catchUp = 5 * time.Second

// errBehind says that the views have not read what was in the log when they were
// asked.
var errBehind = api.Unavailable("the views are behind the log; lethe views list shows by how much; try again")

// settle waits for the views; a reader who cannot wait longer is told the lag.
func (v *views) settle(ctx context.Context) error {
	if err := v.reach(ctx); !errors.Is(err, errBehind) {
		return err
	}
	return nil
}

// reach waits for the views, and answers errBehind if they do not get there.
func (v *views) reach(ctx context.Context) error {
	head, err := v.lethe.lastOwn(ctx)
	if err != nil || head == domain.Start {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	err = v.Wait(waiting, head)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return errBehind
	}
	return err
}

// lastOwn returns the position of the last event of the ledger.
func (l *Lethe) lastOwn(ctx context.Context) (domain.Position, error) {
	streams := domain.StreamsOf(l.cfg.Ledger)
	for _, limit := range []int{16, 0} { // tombstones may stand behind it, but seldom do
		for r, err := range l.store.ReadAll(ctx, domain.End, backward, limit) {
			if err != nil {
				return domain.Start, err
			}
			if name, err := streams.Parse(r.Stream()); err == nil && name.Kind != domain.StreamForeign && r.Type().Ours() {
				return r.Position, nil
			}
		}
	}
	return domain.Start, nil
}

// describe adds what the views say about a ref.
func (v *views) describe(ctx context.Context, ref domain.SubjectRef, show *api.SubjectShow) error {
	if err := v.settle(ctx); err != nil {
		return err
	}
	connections, err := v.ConnectionsOf(ctx, ref)
	if err != nil {
		return err
	}
	show.Connections.Open += projections.CountOpen(connections)
	show.Connections.Total += len(connections)
	holdings, err := v.HoldingsOf(ctx, ref)
	if err != nil {
		return err
	}
	for _, h := range holdings {
		show.Holdings = append(show.Holdings, api.Holding{
			Class: h.Class, Tier: h.Tier, Bucket: h.Bucket, Scope: scopeWord(h.Scope), Gen: int(h.Gen), Events: h.Events, Records: h.Records,
			First: h.First, Last: h.Last, Due: h.Due, Readable: h.State,
		})
	}
	return v.position(ctx, show)
}

// scopeWord is what a person reads for the letter of a scope.
func scopeWord(letter string) string {
	if letter == domain.Obligated.String() {
		return domain.ScopeObligated
	}
	return domain.ScopeErasable
}

func (v *views) position(ctx context.Context, show *api.SubjectShow) error {
	status, err := v.Positions(ctx)
	if err != nil {
		return err
	}
	for _, s := range status {
		if s.Name == "holdings" {
			show.Position, show.Lag = s.Position.Commit, int64(s.Lag) //nolint:gosec // a count of events
		}
	}
	return nil
}

// receipt finds where a receipt stands in the log.
func (v *views) receipt(ctx context.Context, id domain.ReceiptID) (domain.Stream, domain.Revision, error) {
	behind := v.reach(ctx)
	r, err := v.Receipt(ctx, id)
	if errors.Is(err, domain.ErrNotFound) {
		if behind != nil {
			return "", 0, behind
		}
		return "", 0, api.NotFound("there is no such receipt")
	}
	return r.ReceiptStream, r.ReceiptRevision, err
}
