package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Record seals drafts and appends them durably, each to its own stream, in the
// order given within a stream. It returns one error for each draft, nil where
// the event stands in the log. A draft whose error matches domain.ErrFenced or
// domain.ErrErased was discarded: its person is being erased. After any other
// error the same draft may be given again: it is recorded once, by its id.
//
// A draft whose bucket is past due is recorded without its body and counted.
func (l *Ledger) Record(ctx context.Context, drafts []domain.Draft) []error {
	errs := make([]error, len(drafts))
	events := l.sealAll(ctx, drafts, errs)
	for i, d := range drafts {
		if errs[i] != nil && discarded(errs[i]) {
			l.counts.Discarded.Add(uint64(d.N))
		}
	}
	l.appendAll(ctx, events, errs)
	for i, d := range drafts {
		switch {
		case errs[i] == nil:
			l.counts.Events.Add(1)
			l.counts.Records.Add(uint64(d.N))
		case errors.Is(errs[i], eventstore.ErrDeleted):
			l.counts.Discarded.Add(uint64(d.N))
		}
	}
	return errs
}

func discarded(err error) bool {
	return errors.Is(err, domain.ErrFenced) || errors.Is(err, domain.ErrErased)
}

// A spot is where a draft belongs by its time and class.
type spot struct {
	spec     domain.EventSpec
	revision uint32
	now      *moment
	bucket   domain.Bucket
}

func (l *Ledger) spotOf(d domain.Draft) (s spot, err error) {
	if s.spec, err = domain.Events.Spec(d.Type); err != nil {
		return s, err
	}
	revision, policy := l.Policy.Current()
	rule, ok := policy.Class(d.Class)
	if !ok {
		return s, fmt.Errorf("%s: class %s is not in policy revision %d", d.Type, d.Class, revision)
	}
	s.revision, s.now = revision, l.momentOf(d.At)
	s.bucket = s.now.bucket(d.At, rule.Bucket)
	return s, nil
}

// askedAtOnce bounds the people whose keys one call asks the custodian for.
const askedAtOnce = 16

// sealAll seals drafts. Those whose keys the custodian must be asked for are asked
// for beside each other, a person's one after another: the first reading often
// brings the others.
func (l *Ledger) sealAll(ctx context.Context, drafts []domain.Draft, errs []error) []domain.Sealed {
	events := make([]domain.Sealed, len(drafts))
	var missing map[domain.SubjectRef][]int
	for i, d := range drafts {
		at, err := l.spotOf(d)
		switch {
		case err != nil:
			errs[i] = err
		case len(drafts) > 1 && !l.Ring.Seals(d.Ref, d.Scope, d.Class, d.Tier, at.bucket):
			if missing == nil {
				missing = map[domain.SubjectRef][]int{}
			}
			missing[d.Ref] = append(missing[d.Ref], i)
		default:
			events[i], errs[i] = l.sealAt(ctx, d, at)
		}
	}
	var asking errgroup.Group
	asking.SetLimit(askedAtOnce)
	for _, of := range missing {
		asking.Go(func() error {
			for _, i := range of {
				events[i], errs[i] = l.sealDraft(ctx, drafts[i])
			}
			return nil // each draft has its own
		})
	}
	_ = asking.Wait()
	return events
}

// sealDraft seals one draft for the place that its time and class name.
func (l *Ledger) sealDraft(ctx context.Context, d domain.Draft) (domain.Sealed, error) {
	at, err := l.spotOf(d)
	if err != nil {
		return domain.Sealed{}, err
	}
	return l.sealAt(ctx, d, at)
}

func (l *Ledger) sealAt(ctx context.Context, d domain.Draft, at spot) (domain.Sealed, error) {
	key, err := l.sealing(ctx, d, at.bucket)
	late := errors.Is(err, domain.ErrPastDue)
	if err != nil && !late {
		return domain.Sealed{}, fmt.Errorf("key of %s/%s/%s: %w", d.Class, d.Tier, at.bucket, err)
	}
	e := domain.Envelope{
		Hour: at.now.hour, Policy: at.revision, Salt: newSalt(), Scope: d.Scope, Ref: d.Ref,
		Class: d.Class, Tier: d.Tier, Bucket: at.bucket, Gen: 1, N: d.N, Facts: d.Facts, Late: late,
	}
	if late {
		l.counts.Late.Add(uint64(d.N))
		e.Gen = l.lateGen(ctx, d)
	} else {
		e.Gen = key.Where().Gen
	}
	return l.integrity().Seal(l.ID, d.ID, l.streamOf(d, e), at.spec, e, key, d.Payload)
}

func (l *Ledger) sealing(ctx context.Context, d domain.Draft, b domain.Bucket) (*seal.Sealing, error) {
	if !d.Block.IsZero() {
		return l.Ring.SealingAnonymous(ctx, d.Block, d.Ref, d.Class, b)
	}
	return l.Ring.Sealing(ctx, d.Ref, d.Scope, d.Class, d.Tier, b)
}

// lateGen is the gen under which a late event is filed: it has no key, so the
// gen in use now is as good as any.
func (l *Ledger) lateGen(ctx context.Context, d domain.Draft) domain.Gen {
	if !d.Block.IsZero() {
		return 1
	}
	_, b, err := l.Custody.Bundle(ctx, d.Ref)
	if err != nil {
		return 1
	}
	defer b.Zero()
	return max(1, b.LastOf(d.Class))
}

func (l *Ledger) streamOf(d domain.Draft, e domain.Envelope) domain.Stream {
	if !d.Block.IsZero() {
		return l.streams.Anonymous(e.Class, e.Bucket, d.Block)
	}
	return l.streams.Of(e.Where(l.ID))
}

func newSalt() (salt [16]byte) {
	_, _ = rand.Read(salt[:]) // never fails (crypto/rand)
	return salt
}

var slotSeed = maphash.MakeSeed()

// appendAll appends what has no error yet, one append for each stream. Streams
// are locked in one order, so that batches that share streams cannot block one
// another.
func (l *Ledger) appendAll(ctx context.Context, events []domain.Sealed, errs []error) {
	groups := groupByStream(events, errs)
	for _, slot := range l.lock(groups) {
		defer slot.Unlock()
	}
	l.appendGroups(ctx, groups, events, errs)
}

// A group is the events of one stream, by their places in the batch.
type group struct {
	stream domain.Stream
	items  []int
}

func groupByStream(events []domain.Sealed, errs []error) []group {
	index := make(map[domain.Stream]int, len(events))
	groups := make([]group, 0, len(events))
	places := make([]int, len(events)) // of which each event first gets one
	for i, e := range events {
		if errs[i] != nil {
			continue
		}
		at, ok := index[e.Stream()]
		if !ok {
			at = len(groups)
			index[e.Stream()] = at
			groups = append(groups, group{stream: e.Stream(), items: places[i : i : i+1]})
		}
		groups[at].items = append(groups[at].items, i)
	}
	return groups
}

func (l *Ledger) lock(groups []group) []*sync.Mutex {
	numbers := make([]int, len(groups))
	for i, g := range groups {
		numbers[i] = int(maphash.String(slotSeed, string(g.stream)) % uint64(len(l.slots))) //nolint:gosec // below 1024
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	locks := make([]*sync.Mutex, len(numbers))
	for i, n := range numbers {
		locks[i] = &l.slots[n]
		locks[i].Lock()
	}
	return locks
}

// appendTries bounds how often one call follows a stream that another writer
// moves; the caller may call again.
const appendTries = 8

func (l *Ledger) appendGroups(ctx context.Context, groups []group, events []domain.Sealed, errs []error) {
	for range appendTries {
		appends := make([]eventstore.Append, 0, len(groups))
		ready := groups[:0:0]
		for _, g := range groups {
			a, err := l.prepare(ctx, &g, events)
			if err != nil {
				fail(g, errs, err)
				continue
			}
			if len(a.Events) > 0 {
				ready, appends = append(ready, g), append(appends, a)
			}
		}
		if len(appends) == 0 {
			return
		}
		groups = l.settle(ready, appends, l.Log.AppendMany(ctx, appends), errs)
	}
	for _, g := range groups {
		fail(g, errs, fmt.Errorf("stream %s keeps moving: %w", g.stream, domain.ErrConflict))
	}
}

// prepare finds where a group is to be appended. After an append of unknown
// outcome it first looks which of the events stand in the stream already.
func (l *Ledger) prepare(ctx context.Context, g *group, events []domain.Sealed) (eventstore.Append, error) {
	if from, doubt := l.doubts.get(g.stream); doubt {
		if err := l.resolve(ctx, g, from, events); err != nil {
			return eventstore.Append{}, err
		}
	}
	expected, err := l.head(ctx, g.stream)
	return eventstore.Append{Stream: g.stream, Expected: expected, Events: pick(events, g.items)}, err
}

// resolve drops the events from g that stand behind revision from.
func (l *Ledger) resolve(ctx context.Context, g *group, from domain.Revision, events []domain.Sealed) error {
	there := map[domain.EventID]bool{}
	last := from
	for r, err := range l.Log.ReadStream(ctx, g.stream, from+1, eventstore.Forward, 0) {
		if err != nil {
			return fmt.Errorf("settling stream %s: %w", g.stream, err)
		}
		there[r.ID()], last = true, r.Revision
	}
	g.items = slices.DeleteFunc(slices.Clone(g.items), func(i int) bool { return there[events[i].ID()] })
	l.heads.Add(g.stream, last)
	l.doubts.clear(g.stream)
	return nil
}

// settle notes the outcomes and returns the groups to try again.
func (l *Ledger) settle(groups []group, appends []eventstore.Append, results []eventstore.Result, errs []error) []group {
	var again []group
	for i, r := range results {
		g := groups[i]
		if r.Err == nil {
			l.heads.Add(g.stream, r.Appended.Revision)
			continue
		}
		var wrong *eventstore.WrongRevision
		switch {
		case errors.As(r.Err, &wrong) && wrong.Actual != appends[i].Expected:
			l.heads.Add(g.stream, wrong.Actual)
			again = append(again, g)
		default:
			l.heads.Remove(g.stream)
			l.doubts.note(g.stream, appends[i].Expected, r.Err)
			fail(g, errs, r.Err)
		}
	}
	return again
}

// doubts remembers, for each stream whose last append has an unknown outcome,
// the revision that the append expected. Retrying at a newer revision without
// looking would record twice.
type doubts struct {
	mu sync.Mutex
	at map[domain.Stream]domain.Revision
}

func (d *doubts) get(s domain.Stream) (domain.Revision, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.at[s]
	return r, ok
}

// note keeps the oldest doubt; an error that says nothing was written leaves none.
func (d *doubts) note(s domain.Stream, expected domain.Revision, err error) {
	if errors.Is(err, eventstore.ErrDeleted) || errors.Is(err, eventstore.ErrTooLarge) || errors.Is(err, eventstore.ErrInvalid) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, older := d.at[s]; !older {
		d.at[s] = expected
	}
}

func (d *doubts) clear(s domain.Stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.at, s)
}

// fail gives each event of a group its error. A stream that was deleted for ever
// is that of somebody who was erased, or of whom nothing was left.
func fail(g group, errs []error, err error) {
	if errors.Is(err, eventstore.ErrDeleted) {
		err = fmt.Errorf("%w: %w", domain.ErrErased, err)
	}
	for _, i := range g.items {
		errs[i] = err
	}
}

// pick returns the events at the places items, which mostly is one.
func pick(events []domain.Sealed, items []int) []domain.Sealed {
	if len(items) == 1 {
		return events[items[0] : items[0]+1 : items[0]+1]
	}
	picked := make([]domain.Sealed, len(items))
	for i, item := range items {
		picked[i] = events[item]
	}
	return picked
}

// head returns the last revision of a stream as far as this process knows.
func (l *Ledger) head(ctx context.Context, s domain.Stream) (domain.Revision, error) {
	if r, ok := l.heads.Get(s); ok {
		return r, nil
	}
	r, err := l.Log.Last(ctx, s)
	if err != nil {
		return 0, fmt.Errorf("head of stream %s: %w", s, err)
	}
	return r, nil
}
