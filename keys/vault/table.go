package vault

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2"

	"github.com/lethe-ledger/lethe/domain"
)

// Sizes of a table's document, as stored.
const (
	largeTable = 256 << 10 // reported by Stats
	fullTable  = 768 << 10 // takes no further entry; Vault's own limit is 1 MiB
)

// snapshots is how many tables are remembered to write from.
const snapshots = 128

// A table is a small map that changes as a whole, by compare-and-set of the one
// document that holds it.
type table map[string][]byte

// tableDocument holds a table: sorted, lp(key) ‖ lp(value) each.
type tableDocument struct {
	Version int    `json:"version"`
	Entries []byte `json:"entries"`
}

const tableVersion = 1

func (t table) document() tableDocument {
	d := tableDocument{Version: tableVersion}
	for _, key := range slices.Sorted(maps.Keys(t)) {
		d.Entries = domain.AppendLPString(d.Entries, key)
		d.Entries = domain.AppendLP(d.Entries, t[key])
	}
	return d
}

func (d tableDocument) table() (table, error) {
	t := table{}
	if d.Version != tableVersion {
		return nil, fmt.Errorf("%w: a table of version %d; is this program older than its data?", ErrDamaged, d.Version)
	}
	for r := (reader{rest: d.Entries}); len(r.rest) > 0; {
		key, value := r.lp(), r.lp()
		if r.failed {
			return nil, fmt.Errorf("%w: a table that cannot be read", ErrDamaged)
		}
		t[string(key)] = value
	}
	return t, nil
}

// shardOf spreads random bytes over n tables.
func shardOf(random []byte, n uint32) uint32 { return binary.BigEndian.Uint32(random) % n }

// A snapshot is a table as it stood at a version.
type snapshot struct {
	table   table
	version uint64
}

// tables reads and writes tables. A snapshot is remembered so that a write can
// begin from what was read a moment before; what is answered is always read
// anew.
type tables struct {
	store
	recent  *lru.Cache[string, snapshot]
	turns   turns
	largest atomic.Int64 // bytes of the largest one read, as stored
}

func newTables(s store) (*tables, error) {
	recent, err := lru.New[string, snapshot](snapshots)
	return &tables{store: s, recent: recent, turns: newTurns()}, err
}

// read reads a table. Errors: errAbsent.
func (t *tables) read(ctx context.Context, path string) (snapshot, error) {
	var d tableDocument
	version, err := t.store.read(ctx, path, &d)
	if err != nil {
		return snapshot{}, err
	}
	entries, err := d.table()
	if err != nil {
		return snapshot{}, err
	}
	t.largest.Store(max(t.largest.Load(), int64(base64.StdEncoding.EncodedLen(len(d.Entries)))))
	s := snapshot{table: entries, version: version}
	t.recent.Add(path, s)
	return s, nil
}

// must reads a table that initialising made: its absence is damage.
func (t *tables) must(ctx context.Context, path string) (snapshot, error) {
	s, err := t.read(ctx, path)
	if errors.Is(err, errAbsent) {
		return s, fmt.Errorf("a table is missing: %w", ErrSetup)
	}
	return s, err
}

// An edit changes a table, a copy of its own, and says whether it did. next is
// the version that the table gets. It may run more than once.
type edit func(t table, next uint64) (changed bool, err error)

// update applies an edit by compare-and-set, as often as it takes, and returns
// the version that stands then. An edit that changed nothing saw what stood.
// fetch says what an absent table means.
func (t *tables) update(ctx context.Context, path string, fetch fetcher, e edit) (version uint64, err error) {
	release, err := t.turns.take(ctx, path)
	if err != nil {
		return 0, err
	}
	defer release()
	from, remembered := t.recent.Get(path)
	for {
		if !remembered {
			if from, err = fetch(ctx, path); err != nil {
				return 0, inner(err)
			}
		}
		how, err := t.try(ctx, path, from, e)
		switch {
		case err != nil:
			return 0, err
		case how == written:
			return from.version + 1, nil
		case how == idle && !remembered:
			return from.version, nil
		}
		remembered = false
	}
}

// remove is update for an edit that takes something out: when it returns nil,
// the version before is in Vault no more.
func (t *tables) remove(ctx context.Context, path string, fetch fetcher, e edit) error {
	version, err := t.update(ctx, path, fetch, e)
	if err != nil || version == 0 {
		return err
	}
	return t.outdated(ctx, path, version-1)
}

// A fetcher reads a table from Vault, and knows what its absence means.
type fetcher func(context.Context, string) (snapshot, error)

// An outcome of trying to write a table.
type outcome int

const (
	written outcome = iota
	idle            // the edit changed nothing
	beaten          // somebody else wrote meanwhile
)

func (t *tables) try(ctx context.Context, path string, from snapshot, e edit) (outcome, error) {
	next := snapshot{table: maps.Clone(from.table), version: from.version + 1}
	changed, err := e(next.table, next.version)
	if err != nil || !changed {
		return idle, err
	}
	d := next.table.document()
	if stored := base64.StdEncoding.EncodedLen(len(d.Entries)); stored > fullTable && len(next.table) > len(from.table) {
		return idle, fmt.Errorf("%w: %d bytes", ErrFull, stored)
	}
	_, err = t.write(ctx, path, from.version, d)
	if errors.Is(err, errConflict) {
		t.recent.Remove(path)
		return beaten, nil
	}
	if err != nil {
		t.recent.Remove(path)
		return idle, inner(err)
	}
	t.recent.Add(path, next)
	return written, nil
}
