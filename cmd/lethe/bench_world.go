package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	lethe "github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/keys"
	custodian "github.com/lethe-ledger/lethe/keys/embedded"
)

// A world is a ledger over the real engines without gateway and views, in the
// directories where lethe.Open looks for them.
type world struct {
	*ledger.Ledger
	custodian *custodian.Custodian
	store     *embedded.Store
	ring      *keys.Ring
	policy    *ledger.PolicyLog
	journal   *ledger.Journal
}

func benchConfig(data string) *lethe.Config {
	c := lethe.UpstreamConfig("ws://127.0.0.1:1")
	c.SetData(data)
	return c
}

func openWorld(ctx context.Context, data string) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
			w = nil
		}
	}()
	cfg := benchConfig(data)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return w, err
	}
	if w.custodian, err = custodian.Open(filepath.Join(data, "keys"), custodian.Options{}); err != nil {
		return w, err
	}
	if w.store, err = embedded.Open(filepath.Join(data, "log"), embedded.Options{Clock: time.Now}); err != nil { //nolint:contextcheck // a store lives until Close
		return w, err
	}
	w.ring, err = keys.NewRing(ctx, keys.RingConfig{
		Custodian: w.custodian, Ledger: cfg.Ledger, Namespace: "subjects", Clock: time.Now,
		Policy: func() *domain.Policy { return &cfg.Policy }, ClockTrusted: func() error { return nil }, Dead: keys.NewDead(),
	})
	if err != nil {
		return w, err
	}
	return w, w.openLedger(ctx, cfg)
}

func (w *world) openLedger(ctx context.Context, cfg *lethe.Config) (err error) {
	if w.policy, err = ledger.OpenPolicyLog(ctx, w.store, cfg.Ledger, w.ring.Integrity(), time.Now); err != nil {
		return err
	}
	if err := w.policy.Apply(ctx, &cfg.Policy, ""); err != nil {
		return err
	}
	w.journal, _, err = ledger.OpenJournal(ctx, ledger.JournalConfig{
		ID: cfg.Ledger, Log: w.store, Heads: w.custodian, Ring: w.ring, Integrity: w.ring.Integrity(),
		Dead: w.ring.Dead, Clock: time.Now, Path: cfg.Journal.Path,
	})
	if err != nil {
		return err
	}
	w.Ledger, err = ledger.New(ledger.Config{
		ID: cfg.Ledger, Log: w.store, Ring: w.ring, Custody: w.custodian, Policy: w.policy, Journal: w.journal, Clock: time.Now,
	})
	return err
}

// noteTime vouches for the clock, so that the directory can be opened at once.
func (w *world) noteTime(ctx context.Context) error {
	n, err := w.OpenNode(ctx, domain.Name("version", "bench"), domain.Name("store", "embedded"), domain.Name("keys", "embedded"))
	if err != nil {
		return err
	}
	return errors.Join(n.Time(ctx), n.Close(ctx))
}

// Close closes what was opened.
func (w *world) Close() error {
	var errs []error
	if w.journal != nil {
		errs = append(errs, w.journal.Close())
	}
	if w.store != nil {
		errs = append(errs, w.store.Close())
	}
	if w.ring != nil {
		w.ring.Close()
	}
	if w.custodian != nil {
		errs = append(errs, w.custodian.Close())
	}
	return errors.Join(errs...)
}

// A person with one connection, whose next event has the index.
type person struct {
	ref        domain.SubjectRef
	connection domain.ConnectionID
	command    domain.CommandID
	index      uint32
}

// enrol makes people known, many at a time, as a morning's connections do.
func (w *world) enrol(ctx context.Context, n int) ([]*person, error) {
	people := make([]*person, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(128)
	for i := range people {
		g.Go(func() error {
			who, err := w.ring.Person(fmt.Sprintf("person-%d@example.com", i), domain.Erasable)
			if err != nil {
				return err
			}
			s, _, err := w.ring.Enrol(ctx, who)
			people[i] = &person{ref: s.Ref, connection: domain.New[domain.ConnectionID](), command: domain.New[domain.CommandID]()}
			return err
		})
	}
	return people, g.Wait()
}

// Blocks are columns of message metadata like those of a busy connection: times
// in microseconds, about 100 ms apart at random, sizes from 20 to 2,000 bytes.
type blocks struct {
	perEvent int
	list     []*domain.TrafficBuilder
}

func newBlocks(perEvent int) blocks {
	random := rand.New(rand.NewPCG(1, uint64(perEvent))) //nolint:gosec // not a secret, and the same each time
	b := blocks{perEvent: perEvent, list: make([]*domain.TrafficBuilder, 256)}
	for i := range b.list {
		at, t := time.Now().UnixMicro(), &domain.TrafficBuilder{}
		for range perEvent {
			at += int64(random.ExpFloat64() * 100_000)
			size := uint64(20 + random.ExpFloat64()*200)
			t.Add(at, domain.Direction(random.IntN(2)), domain.Text, min(size, 2000))
		}
		b.list[i] = t
	}
	return b
}

// draft is what the recorder makes of one chunk.
func (b blocks) draft(p *person, at time.Time, i int) domain.Draft {
	const all = domain.ColumnAt | domain.ColumnDirection | domain.ColumnOpcode | domain.ColumnSize
	block := b.list[i%len(b.list)]
	p.index++
	return domain.Draft{
		ID: domain.Event(p.command, p.index), Type: domain.TrafficRecorded, At: at, Scope: domain.Erasable, Ref: p.ref,
		Class: "messages", Tier: domain.OwnTier, N: uint32(b.perEvent), //nolint:gosec // at most 256
		Facts:   domain.NewFacts(domain.Name("pool", "default"), domain.UUID("connection", p.connection)),
		Payload: block.Encode(make([]byte, 0, 16+12*b.perEvent), all),
	}
}

// Callers and the drafts of one call are those of the gateway's recorder.
const (
	floodCallers = 2
	floodBatch   = 512
)

// flood records events until until says stop; it returns how many are durable.
// Each caller has people of its own.
func (w *world) flood(ctx context.Context, people []*person, b blocks, until func(events int) bool) (events int, err error) {
	var mu sync.Mutex // protects events
	g, ctx := errgroup.WithContext(ctx)
	for caller := range floodCallers {
		g.Go(func() error {
			drafts := make([]domain.Draft, floodBatch)
			for next := caller; ; {
				mu.Lock()
				stop := until(events)
				mu.Unlock()
				if stop {
					return nil
				}
				now := time.Now()
				for i := range drafts {
					drafts[i] = b.draft(people[next%len(people)], now, next)
					next += floodCallers
				}
				if err := errors.Join(w.Record(ctx, drafts)...); err != nil {
					return err
				}
				mu.Lock()
				events += len(drafts)
				mu.Unlock()
			}
		})
	}
	err = g.Wait()
	return events, err
}
