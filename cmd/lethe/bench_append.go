package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"golang.org/x/sync/errgroup"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/embedded"
)

// appendCallers each wait for their event before they append the next.
const appendCallers = 128

// appendFigures compare single appends with Pebble alone.
type appendFigures struct {
	Events int    `json:"events"`
	Ours   spread `json:"events_per_s"`
	Bare   spread `json:"bare_events_per_s"`
	Ratio  spread `json:"ratio"`
}

func (f appendFigures) sheet() *sheet {
	s := spreadSheet("single appends", "figure")
	s.with(f.Ours, "the store", "events/s")
	s.with(f.Bare, "bare Pebble", "events/s")
	s.with(f.Ratio, "the store ÷ bare Pebble", "ratio")
	return s
}

// singleAppends appends events of a log anew, one each, and then writes the keys
// and bytes that came of it to bare Pebble under the same options, one synced
// batch an event.
func (b *bench) singleAppends(ctx context.Context, log string) (f appendFigures, err error) {
	f.Events = pick(b.quick, 2_000, 60_000)
	events, err := readEvents(ctx, log, f.Events)
	if err != nil {
		return f, err
	}
	f.Events = len(events)
	var ours, bare []float64
	for run := range b.runsOr(3) {
		dir := filepath.Join(b.dir, "append", strconv.Itoa(run))
		rate, err := appendSingly(ctx, filepath.Join(dir, "ours"), events)
		if err != nil {
			return f, err
		}
		ours = append(ours, rate)
		if rate, err = writeBare(ctx, filepath.Join(dir, "ours"), filepath.Join(dir, "bare")); err != nil {
			return f, err
		}
		bare = append(bare, rate)
		if err := os.RemoveAll(dir); err != nil {
			return f, err
		}
	}
	f.Ours, f.Bare, f.Ratio = spreadOf(ours), spreadOf(bare), spreadOf(ratios(ours, bare))
	return f, nil
}

// readEvents takes the last traffic events of a log.
func readEvents(ctx context.Context, log string, n int) (events []domain.Sealed, err error) {
	s, err := embedded.Open(log, embedded.Options{Clock: time.Now}) //nolint:contextcheck // a store lives until Close
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for r, err := range s.ReadAll(ctx, domain.End, eventstore.Backward, 0) {
		if err != nil {
			return nil, err
		}
		if r.Type() != domain.TrafficRecorded {
			continue
		}
		if events = append(events, r.Sealed); len(events) == n {
			break
		}
	}
	return events, nil
}

// appendSingly returns events a second. The events of one stream have one caller.
func appendSingly(ctx context.Context, dir string, events []domain.Sealed) (rate float64, err error) {
	s, err := embedded.Open(dir, embedded.Options{Clock: time.Now}) //nolint:contextcheck // a store lives until Close
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	turns, callers := make([][]domain.Sealed, appendCallers), map[domain.Stream]int{}
	for _, e := range events {
		caller, known := callers[e.Stream()]
		if !known {
			caller = len(callers) % appendCallers
			callers[e.Stream()] = caller
		}
		turns[caller] = append(turns[caller], e)
	}
	return timed(len(events), func(caller int) error {
		last := map[domain.Stream]domain.Revision{}
		for _, e := range turns[caller] {
			expected, known := last[e.Stream()]
			if !known {
				expected = domain.NoStream
			}
			a, err := s.Append(ctx, e.Stream(), expected, []domain.Sealed{e})
			if err != nil {
				return err
			}
			last[e.Stream()] = a.Revision
		}
		return nil
	})
}

// timed runs the callers and returns how many of n a second they did.
func timed(n int, call func(caller int) error) (rate float64, err error) {
	var g errgroup.Group
	began := time.Now()
	for caller := range appendCallers {
		g.Go(func() error { return call(caller) })
	}
	err = g.Wait()
	return float64(n) / time.Since(began).Seconds(), err
}

// A written is what one append left in Pebble: the event and its index entry.
type written struct{ key, value, indexKey, indexValue []byte }

// writeBare writes what stands in the store at from to bare Pebble at to.
func writeBare(ctx context.Context, from, to string) (rate float64, err error) {
	opt, err := optionsOf(from)
	if err != nil {
		return 0, err
	}
	list, err := readWritten(from, opt)
	if err != nil {
		return 0, err
	}
	if opt, err = optionsOf(from); err != nil {
		return 0, err
	}
	db, err := pebble.Open(to, opt)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var mu sync.Mutex // protects list
	take := func() (w written, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(list) == 0 {
			return w, false
		}
		w, list = list[0], list[1:]
		return w, true
	}
	return timed(len(list), func(int) error {
		for {
			w, ok := take()
			if !ok || ctx.Err() != nil {
				return ctx.Err()
			}
			if err := w.write(db); err != nil {
				return err
			}
		}
	})
}

func (w written) write(db *pebble.DB) error {
	batch := db.NewBatch()
	return errors.Join(batch.Set(w.key, w.value, nil), batch.Set(w.indexKey, w.indexValue, nil), batch.Commit(pebble.Sync), batch.Close())
}

// The kinds of key that an append writes (package embedded): the event under its
// position, and its position under stream and revision.
const (
	pebbleLog   = 'l'
	pebbleIndex = 'i'
)

// readWritten reads back events in the order of the log.
func readWritten(dir string, opt *pebble.Options) (list []written, err error) {
	opt.ReadOnly = true
	db, err := pebble.Open(dir, opt)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	places := map[uint64]int{}
	err = scan(db, pebbleLog, func(key, value []byte) {
		places[binary.BigEndian.Uint64(key[1:])] = len(list)
		list = append(list, written{key: key, value: value})
	})
	matched := 0
	err = errors.Join(err, scan(db, pebbleIndex, func(key, value []byte) {
		position, _ := binary.Uvarint(value)
		if at, ok := places[position]; ok {
			list[at].indexKey, list[at].indexValue = key, value
			matched++
		}
	}))
	if err == nil && (matched != len(list) || matched == 0) {
		err = fmt.Errorf("of %d events %d have an index entry: the store's layout has changed", len(list), matched)
	}
	return list, err
}

func scan(db *pebble.DB, kind byte, each func(key, value []byte)) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return err
	}
	for it.First(); it.Valid(); it.Next() {
		each(append([]byte(nil), it.Key()...), append([]byte(nil), it.Value()...))
	}
	return it.Close()
}

// optionsOf reads the options that a store's Pebble wrote down.
func optionsOf(dir string) (*pebble.Options, error) {
	files, err := filepath.Glob(filepath.Join(dir, "OPTIONS-*"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("%s holds no options of Pebble", dir))
	}
	text, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		return nil, err
	}
	opt := &pebble.Options{Logger: quietPebble{}}
	return opt, opt.Parse(string(text), &pebble.ParseHooks{
		NewFilterPolicy: func(string) (pebble.FilterPolicy, error) { return bloom.FilterPolicy(10), nil },
		SkipUnknown:     func(string, string) bool { return true },
	})
}

// quietPebble drops what Pebble says in passing.
type quietPebble struct{}

func (quietPebble) Infof(string, ...any)  {}
func (quietPebble) Errorf(string, ...any) {}

// Fatalf must not return: Pebble cannot go on.
func (quietPebble) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
