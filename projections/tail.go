package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A Tail reads and verifies what comes at the end of the log once, for however
// many loops follow it. It keeps what one of them has read until every other has
// taken it, within bounds: who falls further behind, or comes late, reads for
// itself until it meets what is kept. So no loop waits for another, none fails
// with another, and each comes to every event behind its own place once.
//
// It reads when a loop asks, in one piece, and not when an event comes: loops
// that linger are not woken in between.
type Tail struct {
	src    Source
	parser *parser

	// turn is held by the one loop that reads at the end of what is kept.
	turn chan struct{}
	// fresh is where its holder puts what it reads.
	fresh []sighted

	// mu protects what follows.
	mu sync.Mutex
	// kept are the events strictly behind begin, up to end. What no consumer sees
	// is left out.
	kept       []sighted
	bytes      int
	begin, end domain.Position
	followers  map[*follower]struct{}
	// grown is closed and made anew when end moves.
	grown chan struct{}
}

// Bounds of what a Tail keeps for a loop that is slower than another.
const (
	maxKeptEvents = 2 * DefaultBatch
	maxKeptBytes  = 2 * maxBatchBytes
)

// NewTail makes a tail of the log for the loops that are given it in their
// options. Ledger and Verify of opt are used. It reads nothing before a loop
// runs, owns no goroutine and needs no closing; src stays the caller's.
func NewTail(src Source, opt Options) *Tail {
	return &Tail{
		src: src, parser: opt.parser(), turn: make(chan struct{}, 1), followers: map[*follower]struct{}{}, grown: make(chan struct{}),
	}
}

// A follower is one loop's place in the log. It belongs to one goroutine, save
// at, which the Tail's mutex protects.
type follower struct {
	tail *Tail
	at   domain.Position
	got  []sighted
}

// follow begins strictly behind after. The caller leaves.
func (t *Tail) follow(after domain.Position) *follower {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := &follower{tail: t, at: after}
	t.followers[f] = struct{}{}
	return f
}

func (f *follower) leave() {
	f.tail.mu.Lock()
	defer f.tail.mu.Unlock()
	delete(f.tail.followers, f)
	f.tail.trim()
}

// A place says how a follower comes to its next events.
type place int

const (
	within place = iota // of what is kept
	front               // at the end of what is kept
	apart               // before or behind what is kept
)

// next returns what stands behind the follower, at most limit events and at
// least one; it waits for that. The slice is valid until the next call. An error
// is that of the event or the reading next in order: called again, it is met
// again.
func (f *follower) next(ctx context.Context, limit int) ([]sighted, error) {
	for {
		where, grown := f.take(limit)
		if len(f.got) > 0 {
			return f.got, nil
		}
		var err error
		switch where {
		case within: // only what no consumer sees
		case apart:
			err = f.readAlone(ctx, limit)
		case front:
			err = f.readOn(ctx, limit, grown)
		}
		if err != nil || len(f.got) > 0 {
			return f.got, err
		}
	}
}

// take moves what is kept behind f into got.
func (f *follower) take(limit int) (place, <-chan struct{}) {
	t := f.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	f.forget()
	if f.at.Before(t.begin) || t.end.Before(f.at) {
		return apart, t.grown
	}
	if f.at == t.end {
		return front, t.grown
	}
	rest := t.kept[t.passed(f.at):]
	f.got = append(f.got, rest[:min(limit, len(rest))]...)
	if len(f.got) < len(rest) {
		f.at = f.got[len(f.got)-1].Position
	} else {
		f.at = t.end
	}
	t.trim()
	return within, t.grown
}

// passed is how many of the kept events stand at or before a position.
func (t *Tail) passed(at domain.Position) int {
	return sort.Search(len(t.kept), func(i int) bool { return at.Before(t.kept[i].Position) })
}

// forget lets go of what was handed over last.
func (f *follower) forget() { f.got = emptied(f.got) }

// atEnd reports whether the log ends at the follower's place. An error is met
// again by next.
func (f *follower) atEnd(ctx context.Context) bool {
	for _, err := range f.tail.src.ReadAll(ctx, f.at, eventstore.Forward, 1) {
		_ = err
		return false
	}
	return true
}

// rest gives back memory that nothing stands in. What next returned is void.
func (f *follower) rest() {
	t := f.tail
	f.got = nil
	select {
	case t.turn <- struct{}{}:
		t.fresh = nil
		t.endTurn()
	default: // who reads now uses it
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) == 0 {
		t.kept = nil
	}
}

// readAlone reads behind a place that is not in what is kept.
func (f *follower) readAlone(ctx context.Context, limit int) error {
	t := f.tail
	end, err := t.read(ctx, f.at, limit, &f.got)
	if err == nil && end == f.at {
		if t.isBehind(f.at) {
			return f.beginAnew(ctx)
		}
		end, err = t.await(ctx, f.at, &f.got)
	}
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f.at = end
	return nil
}

// isBehind reports whether what is kept ends before at.
func (t *Tail) isBehind(at domain.Position) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end.Before(at)
}

// beginAnew, at the end of the log, makes what is kept begin there: the others
// are further behind, and come to it by themselves.
func (f *follower) beginAnew(ctx context.Context) error {
	t := f.tail
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer t.endTurn()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.end.Before(f.at) {
		clear(t.kept)
		t.kept, t.bytes, t.begin, t.end = t.kept[:0], 0, f.at, f.at
		t.moved()
	}
	return nil
}

// readOn reads at the end of what is kept, or waits for another follower who does.
func (f *follower) readOn(ctx context.Context, limit int, grown <-chan struct{}) error {
	t := f.tail
	select {
	case t.turn <- struct{}{}:
	case <-grown:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	defer t.endTurn()
	select {
	case <-grown:
		return nil
	default:
	}
	defer func() { t.fresh = emptied(t.fresh) }()
	end, err := t.read(ctx, f.at, limit, &t.fresh)
	if err == nil && end == f.at {
		end, err = t.await(ctx, f.at, &t.fresh)
	}
	if err != nil {
		return err
	}
	t.keep(t.fresh, end)
	return nil
}

func (t *Tail) endTurn() { <-t.turn }

// read reads what is in the log behind at: at most limit events that consumers
// see. It returns the position up to which it read. What comes before an error
// is kept back with it, because the error will be met again.
func (t *Tail) read(ctx context.Context, at domain.Position, limit int, into *[]sighted) (domain.Position, error) {
	bytes := 0
	for rec, err := range t.src.ReadAll(ctx, at, eventstore.Forward, 0) {
		if err == nil {
			err = t.add(rec, into)
		}
		if err != nil && len(*into) > 0 {
			return at, nil
		}
		if err != nil {
			return at, fmt.Errorf("following the log: %w", err)
		}
		at, bytes = rec.Position, bytes+rec.Size()
		if len(*into) >= limit || bytes >= maxBatchBytes {
			return at, nil
		}
	}
	return at, ctx.Err()
}

func (t *Tail) add(rec domain.Recorded, into *[]sighted) error {
	s, ok, err := t.parser.sight(rec)
	if ok && err == nil {
		*into = append(*into, s)
	}
	return err
}

// await waits for the first event behind at.
func (t *Tail) await(ctx context.Context, at domain.Position, into *[]sighted) (domain.Position, error) {
	sub, err := t.src.SubscribeAll(ctx, at)
	if err != nil {
		return at, fmt.Errorf("subscribing to the log: %w", err)
	}
	d := eventstore.Delivery{CaughtUp: true}
	for err == nil && d.CaughtUp {
		d, err = sub.Next(ctx)
	}
	if err == nil {
		err = t.add(d.Event, into)
	}
	if err = errors.Join(err, sub.Close()); err != nil {
		return at, fmt.Errorf("following the log: %w", err)
	}
	return d.Event.Position, nil
}

// keep adds what was read up to end.
func (t *Tail) keep(got []sighted, end domain.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept, t.end = append(t.kept, got...), end
	for i := range got {
		t.bytes += got[i].Size()
	}
	drop, left := 0, t.bytes
	for drop < len(t.kept)-len(got) && (len(t.kept)-drop > maxKeptEvents || left > maxKeptBytes) {
		left -= t.kept[drop].Size()
		drop++
	}
	t.drop(drop)
	t.moved()
}

func (t *Tail) moved() {
	close(t.grown)
	t.grown = make(chan struct{})
}

// trim lets go of what every follower has passed.
func (t *Tail) trim() {
	drop := len(t.kept)
	for f := range t.followers {
		drop = min(drop, t.passed(f.at))
	}
	t.drop(drop)
}

// drop removes the first n events; what is kept then begins behind them.
func (t *Tail) drop(n int) {
	if n == 0 {
		return
	}
	t.begin = t.kept[n-1].Position
	for i := range n {
		t.bytes -= t.kept[i].Size()
	}
	if n == len(t.kept) {
		t.kept = emptied(t.kept)
		return
	}
	t.kept = slices.Delete(t.kept, 0, n)
}
