package embedded

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lethe-ledger/lethe/eventstore"
)

// Options of a store. The zero value of every field but Clock is the default;
// the defaults add up to less than 96 MiB.
type Options struct {
	// Clock tells the store time of events. It has no default.
	Clock func() time.Time
	// FS is where the directory lives. The default is the machine's own.
	FS vfs.FS
	// Logf takes the few lines about trouble in the background; none of them
	// holds data. The default drops them: what matters also fails an append.
	Logf func(format string, args ...any)
	// CacheBytes bounds the blocks kept for reading: 24 MiB.
	CacheBytes int64
	// MemTableBytes is how much is gathered in memory before it becomes a file;
	// up to three of them exist at once: 16 MiB, at least 8 MiB.
	MemTableBytes uint64
	// Heads is how many streams' ends and names are kept in memory, at about 300
	// bytes each: 32,768, at least 8,192.
	Heads int
	// Queue is how many callers may wait for the sequencer before the next one
	// blocks: 1,024.
	Queue int
	// Reserve is the free space below which appends answer ErrFull and disposal
	// still works, so that a full disk never meets a half-written file:
	// 128 MiB. Less than three memtables gives that up.
	Reserve uint64
}

const (
	defaultCache    = 24 << 20
	defaultMemTable = 16 << 20
	minMemTable     = 8 << 20
	memTables       = 3
	defaultHeads    = 32 << 10
	// minHeads is more than one group can touch: the sequencer relies on it.
	minHeads       = 8 << 10
	defaultQueue   = 1 << 10
	defaultReserve = 128 << 20
)

func (o Options) withDefaults() (Options, error) {
	if o.Clock == nil {
		return o, fmt.Errorf("options without a clock: %w", eventstore.ErrInvalid)
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCache
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTable
	}
	o.MemTableBytes = max(o.MemTableBytes, minMemTable)
	if o.Heads <= 0 {
		o.Heads = defaultHeads
	}
	o.Heads = max(o.Heads, minHeads)
	if o.Queue <= 0 {
		o.Queue = defaultQueue
	}
	if o.Reserve == 0 {
		o.Reserve = defaultReserve
	}
	return o, nil
}

// pebble returns the engine's options. The write-ahead log stays in the store's
// own directory: Pebble writes the path of another one down, absolutely, and then
// refuses a store that was moved or copied. The memtables count towards the
// engine's cache: without room for them on top they would leave none for blocks.
func (o Options) pebble(g *guard, l engineLog, lock *pebble.Lock) *pebble.Options {
	po := &pebble.Options{
		FS:                          g,
		Lock:                        lock,
		CacheSize:                   o.CacheBytes + memTables*int64(o.MemTableBytes), //nolint:gosec // far below
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       48,
		MaxOpenFiles:                512,
		FormatMajorVersion:          pebble.FormatValueSeparation,
		Logger:                      l,
		EventListener:               l.listener(),
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 2 },
	}
	po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	for i := range po.Levels {
		po.Levels[i].BlockSize = 32 << 10
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	po.TargetFileSizes[0] = 8 << 20
	return po
}
