package recorder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway"
)

// A Ledger records drafts. It MUST keep the promises of ledger.Ledger.Record: one
// error for each draft, and a draft given again is recorded once.
type Ledger interface {
	Record(ctx context.Context, drafts []domain.Draft) []error
}

// Subjects knows persons by what the operator calls them.
type Subjects interface {
	// Subject returns the person's ref, enrolling them on first sight.
	Subject(ctx context.Context, externalID string) (domain.SubjectRef, error)
	// Anonymous hands out a ref for a connection that nobody identified.
	Anonymous(ctx context.Context) (domain.BlockID, domain.SubjectRef, error)
}

// Options of a Recorder. Ledger, Subjects, Policy, Clock and MAC are required.
type Options struct {
	Ledger   Ledger
	Subjects Subjects
	Policy   *domain.Policy
	Clock    func() time.Time
	// MAC is a keyed hash for the transform "hmac".
	MAC func(string) []byte
	// Workers seal and append, each with a queue of its own; 0 means 2.
	Workers int
	// Queue bounds the chunks that wait in each queue; 0 means 1024.
	Queue int
	// Gaps keeps what pools with on_ledger_failure: pass let pass unrecorded. It may
	// be nil where no pool does.
	Gaps Gaps
	// Failed is told of an error that keeps a worker from going on, before it
	// tries again. It must not block.
	Failed func(error)
}

// A Recorder implements gateway.Recorder over a ledger. Its goroutines end with
// Close.
type Recorder struct {
	opt      Options
	captured atomic.Pointer[captured]
	// following orders the policies that are taken over.
	following sync.Mutex
	workers   []*worker
	live      liveSet
	chunks    sync.Pool
	refusals  refusals
	asking    chan struct{} // a place for each who asks the custodian
	debts     debts
	counts    Counts

	stop    context.CancelFunc // ends the sweeper and the keeper of gaps
	abandon context.CancelFunc // ends workers that cannot finish
	done    sync.WaitGroup
}

// Counts are what a recorder did since it was made.
type Counts struct {
	Messages  atomic.Uint64 // handed to the ledger's queues
	Recorded  atomic.Uint64 // of them, durable
	Discarded atomic.Uint64 // of them, of persons being erased
	Retries   atomic.Uint64
	Waits     atomic.Uint64 // how often a queue was full
}

// New makes a recorder for the pools of a policy and starts its goroutines.
func New(opt Options) (*Recorder, error) {
	if opt.Workers == 0 {
		opt.Workers = 2
	}
	if opt.Queue == 0 {
		opt.Queue = 1024
	}
	if opt.Failed == nil {
		opt.Failed = func(error) {}
	}
	r := &Recorder{opt: opt, asking: make(chan struct{}, askingAtOnce)}
	if err := r.Follow(opt.Policy); err != nil {
		return nil, err
	}
	r.start()
	return r, nil
}

func (r *Recorder) start() {
	sweeping, stop := context.WithCancel(context.Background())
	working, abandon := context.WithCancel(context.Background())
	r.stop, r.abandon = stop, abandon
	for range r.opt.Workers {
		w := &worker{recorder: r, jobs: make(chan job, r.opt.Queue)}
		r.workers = append(r.workers, w)
		r.done.Go(func() { w.run(working) })
	}
	r.done.Go(func() { r.sweep(sweeping) })
	if r.startDebts() {
		r.done.Go(func() { r.oweOpen(sweeping) })
	}
}

// Close ends a recorder whose recordings are all closed: it appends what waits
// and returns when everything is durable, or with an error when ctx ends before.
// What a pool that lets traffic pass could not record by then is owed as a gap.
func (r *Recorder) Close(ctx context.Context) error {
	r.stop()
	for _, w := range r.workers {
		close(w.jobs)
	}
	finished := make(chan struct{})
	go func() { r.done.Wait(); close(finished) }()
	select {
	case <-finished:
		r.abandon()
		return r.oweLast()
	case <-ctx.Done():
		r.abandon()
		<-finished
		return errors.Join(fmt.Errorf("recording what was left: %w", ctx.Err()), r.oweLast())
	}
}

// Counts returns the recorder's counters; they are live.
func (r *Recorder) Counts() *Counts { return &r.counts }

// Waiting returns how many chunks wait to be recorded.
func (r *Recorder) Waiting() (n int) {
	for _, w := range r.workers {
		n += len(w.jobs)
	}
	return n
}

// Sever ends the live connections of a person. It does not wait for them.
func (r *Recorder) Sever(ref domain.SubjectRef) { r.live.sever(ref) }

// Open returns how many connections of a person are live.
func (r *Recorder) Open(ref domain.SubjectRef) int { return r.live.count(ref) }

// Refused implements gateway.Recorder.
func (r *Recorder) Refused(pool string, reason gateway.Refusal) {
	r.refusals.add(pool, reason.String())
}

// TakeRefusals returns the refusals since the last call and forgets them; the
// caller notes them in the log.
func (r *Recorder) TakeRefusals() []Refusals { return r.refusals.take() }

// ReturnRefusals counts again what could not be noted.
func (r *Recorder) ReturnRefusals(of []Refusals) {
	for _, n := range of {
		r.refusals.addN(n.Pool, n.Reason, n.Count)
	}
}

// errNoPool says that the gateway has a pool that the policy has not.
var errNoPool = errors.New("the policy has no such pool")

// Admit implements gateway.Recorder.
func (r *Recorder) Admit(ctx context.Context, id gateway.Identity, c gateway.Connection) (gateway.Recording, error) {
	capture := r.pools()[c.Pool]
	if capture == nil || capture.left {
		return nil, fmt.Errorf("pool %s: %w", c.Pool, errNoPool)
	}
	rec := &recording{
		recorder: r, capture: capture, sever: c.Sever,
		connection: domain.New[domain.ConnectionID](), command: domain.New[domain.CommandID](),
	}
	if err := r.identify(ctx, id, rec); err != nil {
		return nil, fmt.Errorf("%w: %w", gateway.ErrKeysUnavailable, err)
	}
	rec.worker = r.workers[int(rec.ref[0])%len(r.workers)]
	if capture.refuse && len(rec.worker.jobs) == cap(rec.worker.jobs) {
		return nil, gateway.ErrLedgerFull
	}
	r.live.add(rec)
	return rec, nil
}

// What a person meets whose keys have to be asked for (ARCHITECTURE §3): few ask
// at once, and each is answered within its time from the call, not from the
// queue. The queue is bounded by the handshake's time.
const (
	askingAtOnce = 32
	askingTime   = 2 * time.Second
)

// identify finds the ref of whoever connects.
func (r *Recorder) identify(ctx context.Context, id gateway.Identity, rec *recording) (err error) {
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !rec.capture.wait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askingTime)
		defer cancel()
	}
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		if id.Anonymous() {
			rec.block, rec.ref, err = r.opt.Subjects.Anonymous(ctx)
		} else {
			rec.ref, err = r.opt.Subjects.Subject(ctx, id.ExternalID)
		}
		if err == nil || !rec.capture.wait || !errors.Is(err, domain.ErrUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}
