package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/keys"
)

// A WholeReader reads the whole log, as eventstore.Reader does.
type WholeReader interface {
	ReadAll(ctx context.Context, from domain.Position, dir eventstore.Direction, limit int) iter.Seq2[domain.Recorded, error]
}

// A DisposalLog is what removing ciphertext needs of the log beyond Log.
type DisposalLog interface {
	eventstore.Disposer
	WholeReader
	// Scavenge returns when no node of the log has the bytes any more of what was
	// removed before the call.
	Scavenge(ctx context.Context) error
}

// A DisposalConfig is what a disposal stands on. All fields are required.
type DisposalConfig struct {
	// Whole is the same log as the ledger's.
	Whole DisposalLog
	// Witnessed returns once the leaves of the Merkle log are written up to a
	// position: what has no leaf is not removed (FORMAT §2).
	Witnessed func(ctx context.Context, at domain.Position) error
	// Passed returns once every live view has passed a position.
	Passed func(ctx context.Context, at domain.Position) error
	// Busy reports whether a connection of a ref is open or not yet recorded.
	Busy func(ref domain.SubjectRef) bool
	// Spared lists the principals that have a live token.
	Spared func(ctx context.Context) ([]domain.SubjectRef, error)
}

// A Progress is told how far a disposal has come, as positions of the log. It may
// be nil.
type Progress func(done, total uint64)

// A Disposal removes ciphertext whose keys were destroyed, and retires refs and
// blocks of which nothing is left (FORMAT §2). One runs at a time.
type Disposal struct {
	DisposalConfig
	*Ledger
	mu sync.Mutex
	// progress is the caller's, while mu is held.
	progress Progress
}

// NewDisposal returns the disposal of a ledger.
func NewDisposal(l *Ledger, c DisposalConfig) *Disposal {
	return &Disposal{DisposalConfig: c, Ledger: l}
}

// Disposed tells what a run removed.
type Disposed struct {
	Destructions int   // erasures and retirements whose streams were deleted or cut
	Buckets      int   // expired buckets
	Events       int64 // that the records of this run count
	Records      int64
	Deleted      int // streams deleted for ever
	Truncated    int // streams cut
	Retired      int // refs and blocks destroyed because nothing of them was left
}

// sweepDocument is the custodian's document of a sweep in progress.
const sweepDocument = "disposal"

// A sweep is a run in progress: which destructions it covers, and how far it has
// come. What it counts and writes follows from these bounds and the log alone,
// so that whoever finishes it writes the same.
type sweep struct {
	Command     domain.CommandID `json:"command"`
	Destruction domain.Revision  `json:"destruction"` // the last one of the stream that is looked at
	Retention   domain.Revision  `json:"retention"`   // where that stream ended before
	// Counted are the ends of the counts, one for each round of records.
	Counted  []domain.Position `json:"counted,omitempty"`
	Recorded bool              `json:"recorded,omitempty"`
	Deleted  int               `json:"deleted,omitempty"` // destructions whose streams are deleted
	Removed  bool              `json:"removed,omitempty"`

	version keys.Version
}

// Outstanding says what of the log has no keys any more and is not removed yet.
type Outstanding struct {
	Destructions int
	Buckets      int
	// Oldest is the hour of the first of the destructions; zero if there is none.
	Oldest time.Time
}

// Outstanding reads the streams destruction and retention.
func (d *Disposal) Outstanding(ctx context.Context) (Outstanding, error) {
	f, err := d.gather(ctx, eventstore.LastRevision, eventstore.LastRevision)
	if err != nil {
		return Outstanding{}, err
	}
	return f.outstanding(), nil
}

// RunDue runs once half of disposal.within has passed since the first destruction
// that is not disposed of, so that what is removed is removed in time, and many at
// once: a record that sums few persons would tell about each.
func (d *Disposal) RunDue(ctx context.Context) (done Disposed, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.inTurn(ctx, sweepDocument, func() (err error) {
		done, err = d.runDue(ctx)
		return err
	})
	return done, err
}

func (d *Disposal) runDue(ctx context.Context) (Disposed, error) {
	w, err := d.loadSweep(ctx)
	if err != nil {
		return Disposed{}, err
	}
	if w == nil {
		f, err := d.gather(ctx, eventstore.LastRevision, eventstore.LastRevision)
		if err != nil {
			return Disposed{}, err
		}
		oldest := f.outstanding().Oldest
		within := d.Policy.Policy().Disposal.Within.After(oldest).Sub(oldest)
		if oldest.IsZero() || d.Clock().Before(oldest.Add(within/2)) {
			return Disposed{}, nil
		}
	}
	return d.run(ctx, w)
}

// Run disposes of everything outstanding now. It finishes what an earlier run
// left: every line of it can be the last one.
func (d *Disposal) Run(ctx context.Context, p Progress) (done Disposed, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.progress = p
	defer func() { d.progress = nil }()
	err = d.inTurn(ctx, sweepDocument, func() error {
		w, err := d.loadSweep(ctx)
		if err == nil {
			done, err = d.run(ctx, w)
		}
		return err
	})
	return done, err
}

func (d *Disposal) run(ctx context.Context, w *sweep) (Disposed, error) {
	var total Disposed
	for more := true; more; {
		done, rest, err := d.sweepOnce(ctx, w)
		total.add(done)
		if err != nil {
			return total, fmt.Errorf("disposing of ciphertext: %w", err)
		}
		w, more = nil, rest
	}
	n, err := d.retire(ctx)
	total.Retired += n
	if err != nil {
		return total, fmt.Errorf("retiring refs: %w", err)
	}
	return total, nil
}

func (t *Disposed) add(o Disposed) {
	t.Destructions += o.Destructions
	t.Buckets += o.Buckets
	t.Events += o.Events
	t.Records += o.Records
	t.Deleted += o.Deleted
	t.Truncated += o.Truncated
}

// sweepOnce begins or finishes one sweep; more says that there was too much for
// one.
func (d *Disposal) sweepOnce(ctx context.Context, w *sweep) (done Disposed, more bool, err error) {
	if w == nil {
		if w, err = d.beginSweep(ctx); err != nil {
			return done, false, err
		}
	}
	f, err := d.gather(ctx, w.Destruction, w.Retention)
	if err != nil {
		return done, false, err
	}
	done.Destructions, done.Buckets = len(f.pending), len(f.pendingBuckets)
	steps := []struct {
		name string
		do   func(context.Context, *sweep, *fates, *Disposed) error
	}{
		{"recording", d.record},
		{"removing", d.remove},
		{"scavenging", d.scavenge},
		{"closing requests", d.closeRequests},
		{"cutting the ledger's own streams", d.cut},
	}
	for _, step := range steps {
		if err := step.do(ctx, w, f, &done); err != nil {
			return done, false, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	if err := d.Custody.RemoveDocument(ctx, sweepDocument, w.version); err != nil {
		return done, false, fmt.Errorf("closing the sweep: %w", err)
	}
	return done, f.more, nil
}

func (d *Disposal) beginSweep(ctx context.Context) (w *sweep, err error) {
	w = &sweep{Command: domain.New[domain.CommandID]()}
	if w.Destruction, err = d.Log.Last(ctx, d.streams.Destruction()); err != nil {
		return nil, fmt.Errorf("head of the destructions: %w", err)
	}
	if w.Retention, err = d.Log.Last(ctx, d.streams.Retention()); err != nil {
		return nil, fmt.Errorf("head of the records: %w", err)
	}
	return w, d.saveSweep(ctx, w)
}

func (d *Disposal) loadSweep(ctx context.Context) (*sweep, error) {
	value, version, err := d.Custody.Document(ctx, sweepDocument)
	if errors.Is(err, domain.ErrNotFound) {
		return nil, nil //nolint:nilnil // no sweep is in progress
	}
	if err != nil {
		return nil, fmt.Errorf("reading the sweep in progress: %w", err)
	}
	w := &sweep{version: version}
	if err := json.Unmarshal(value, w); err != nil {
		return nil, fmt.Errorf("reading the sweep in progress: %w", err)
	}
	return w, nil
}

func (d *Disposal) saveSweep(ctx context.Context, w *sweep) error {
	value, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encoding the sweep: %w", err)
	}
	if w.version, err = d.Custody.PutDocument(ctx, sweepDocument, w.version, value); err != nil {
		return fmt.Errorf("keeping the sweep: %w", err)
	}
	return nil
}

// scavenge has the removed bytes leave the disk. From here on it is disposed of.
func (d *Disposal) scavenge(ctx context.Context, _ *sweep, f *fates, _ *Disposed) error {
	if f.empty() {
		return nil
	}
	return d.Whole.Scavenge(ctx)
}
