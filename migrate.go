package lethe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
	storeengine "github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/gateway/api"
	keysengine "github.com/lethe-ledger/lethe/keys/embedded"
	"github.com/lethe-ledger/lethe/projections/tlog"
)

// A Migration tells what stands in both logs, and what Migrate did for it.
type Migration struct {
	Events  int64 `json:"events"`  // of the ledger, without those that were disposed of
	Streams int64 `json:"streams"` // that have events
	Deleted int64 `json:"deleted"` // streams that are deleted for ever
	Filled  int64 `json:"filled"`  // revisions of truncated events, which hold nothing
	Copied  int64 `json:"copied"`  // events that this run appended
	// Verified: both logs were read whole, and every event has the same leaf entry
	// and the same revision in the same order. Leaves is hex SHA-256 over the entries.
	Verified bool   `json:"verified"`
	Leaves   string `json:"leaves"`
	// Switched: the data directory goes on with the new log.
	Switched bool `json:"switched"`
}

// MigrateOptions are what a program gives to Migrate.
type MigrateOptions struct {
	Options
	// CopyOnly leaves the data directory with the old log, which can go on.
	CopyOnly bool
	// Progress may be nil.
	Progress api.Progress
}

// Migrate copies the embedded log of from.Data into the EventStoreDB of to: the
// same events in the same streams at the same revisions, and in the same order. It
// holds the locks of the directory meanwhile. What stands there already is compared
// and left, so that calling it again finishes it; a log that holds something else is
// refused, naming the stream. At the end both are read whole and compared.
//
// Keys stay where they are, so that both configurations have the same data
// directory. Then its views, which are made anew, and the place of its leaf entries
// are switched to the new log. The old log stays; it must not be served again.
func Migrate(ctx context.Context, from, to *Config, opt MigrateOptions) (done Migration, err error) {
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if err := migrates(from, to); err != nil {
		return done, err
	}
	l := &Lethe{cfg: to, opt: opt.Options, log: opt.Logger}
	release, err := l.resting(ctx)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, release()) }()
	old, copied, err := l.openBoth(ctx)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, old.Close(), copied.Close()) }()
	leaves, err := tlog.Open(filepath.Join(to.Data, "tlog"), to.Ledger, tlog.OS{}) //nolint:contextcheck // reading its own small head
	if err != nil {
		return done, err
	}
	t, err := newTransfer(old, copied, to.Ledger, leaves, opt.Progress)
	if err != nil {
		return done, err
	}
	if err := t.run(ctx); err != nil || opt.CopyOnly {
		return t.done, err
	}
	return t.done, t.changeOver(to.Data)
}

// openBoth opens the log to copy, under its lock, and the one to copy to.
func (l *Lethe) openBoth(ctx context.Context) (old, copied eventstore.Store, err error) {
	old, err = storeengine.Open(filepath.Join(l.cfg.Data, "log"), storeengine.Options{Clock: l.opt.Clock}) //nolint:contextcheck // a store lives until Close
	if err != nil {
		return nil, nil, fmt.Errorf("opening the log to copy: %w", err)
	}
	if copied, err = l.openRemoteStore(ctx); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("opening the log to copy to: %w", err), old.Close())
	}
	return old, copied, nil
}

// migrates refuses what is no migration from one configuration to the other.
func migrates(from, to *Config) error {
	switch {
	case to.Store.Engine != storeEventStoreDB:
		return api.Usage("the configuration to migrate to has store.engine " + to.Store.Engine + ": write eventstoredb, with its url")
	case from.Store.Engine != storeEmbedded:
		return api.Usage("only an embedded log is copied, and store.engine of --config is " + from.Store.Engine)
	case to.Keys.Custodian != keysEmbedded:
		return api.Usage("keys stay where they are, and this release moves none into " + to.Keys.Custodian + ": write keys.custodian: embedded, with the same data directory")
	case !sameFolder(from.Data, to.Data):
		return api.Usage(fmt.Sprintf("keys stay where they are: the configuration to migrate to has data: %s, and the log is in %s; name the same directory", to.Data, from.Data))
	}
	for _, name := range []string{"keys", "log"} {
		if !exists(filepath.Join(to.Data, name)) {
			return api.NotFound(fmt.Sprintf("there is no ledger in %s: it has no %s", to.Data, name))
		}
	}
	return nil
}

func sameFolder(a, b string) bool {
	one, err := filepath.Abs(a)
	two, err2 := filepath.Abs(b)
	return errors.Join(err, err2) == nil && one == two
}

// resting takes the lock of the keys, and looks whether they are this ledger's and
// nothing is in progress that would not be found in another log.
func (l *Lethe) resting(ctx context.Context) (release func() error, err error) {
	c, err := keysengine.Open(filepath.Join(l.cfg.Data, "keys"), keysengine.Options{})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	value, _, err := c.Document(ctx, identityDocument)
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return nil, fmt.Errorf("reading which ledger this is: %w", err)
	}
	var have identity
	if err := json.Unmarshal(value, &have); err != nil || have.Ledger != l.cfg.Ledger {
		return nil, fmt.Errorf("%w: %s holds %q, the configuration says %q", ErrOtherLedger, l.cfg.Data, have.Ledger, l.cfg.Ledger)
	}
	bound, err := ledger.BoundToLog(ctx, c)
	if err != nil {
		return nil, err
	}
	if bound {
		return nil, api.Refused("a disposal of ciphertext was interrupted, and goes by places in the old log: finish it by lethe retention dispose")
	}
	return c.Close, nil
}

// changeOver has the data directory go on with the new log: positions differ, and
// views and leaf entries stand on them. Views are of the log and made anew by the
// next start; leaf entries may be all that is left of events, and are kept.
func (t *transfer) changeOver(data string) error {
	if t.place != nil {
		if err := t.leaves.Move(*t.place); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(data, "views")); err != nil {
		return fmt.Errorf("removing the views of the old log: %w", err)
	}
	t.done.Switched = true
	return nil
}
