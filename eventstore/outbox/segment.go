package outbox

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// A segment is a stream of the local store. Outbox.mu protects it.
type segment struct {
	number  uint64
	stream  domain.Stream
	last    domain.Revision // belongs to the sequencer
	bytes   int64
	pending int // events in it that are
}

const segmentPrefix = "outbox-"

func newSegment(number uint64) *segment {
	return &segment{number: number, stream: domain.Stream(fmt.Sprintf("%s%016x", segmentPrefix, number)), last: domain.NoStream}
}

// segmentNumber reads the name of a segment.
func segmentNumber(s domain.Stream) (uint64, bool) {
	hex, ok := strings.CutPrefix(string(s), segmentPrefix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil
}

// current is the segment to be written. It needs mu.
func (b *Outbox) current() *segment {
	s := b.segments[len(b.segments)-1]
	if s.bytes < b.opt.SegmentBytes {
		return s
	}
	s = newSegment(s.number + 1)
	b.segments = append(b.segments, s)
	return s
}

// settledSegment reports whether the oldest segment can go. Only the oldest may:
// a page says what became of events in its own segment and in older ones. It
// needs mu.
func (b *Outbox) settledSegment() bool {
	return len(b.segments) > 1 && b.segments[0].pending == 0
}

// janitor deletes settled segments until ctx ends, and scavenges now and then.
func (b *Outbox) janitor(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.tidy:
		}
		if err := b.deleteSettled(ctx); err != nil && ctx.Err() == nil {
			b.opt.Logf("outbox: %v", err)
			wait(ctx, time.Second)
			notify(b.tidy)
		}
	}
}

// wait returns after d or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (b *Outbox) deleteSettled(ctx context.Context) error {
	for {
		s := b.oldestSettled()
		if s == nil {
			return b.scavenge(ctx)
		}
		if err := b.carry(s); err != nil {
			return fmt.Errorf("carry the state in segment %d: %w", s.number, err)
		}
		if err := b.local.Delete(ctx, s.stream); err != nil {
			return fmt.Errorf("delete segment %d: %w", s.number, err)
		}
		b.mu.Lock()
		b.segments[0] = nil
		b.segments = b.segments[1:]
		b.used -= s.bytes
		b.deleted += s.bytes
		b.mu.Unlock()
	}
}

func (b *Outbox) oldestSettled() *segment {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.settledSegment() || b.broken != nil {
		return nil
	}
	return b.segments[0]
}

// carried is how many streams are stated by one unit; with names as long as a fact
// may be, they fit a page.
const carried = 1000

// carry writes again what the book says in segment s alone: the ends of streams,
// and debts. Streams of which nothing is pending are forgotten instead when too
// many are remembered.
func (b *Outbox) carry(s *segment) error {
	for {
		more := false
		err := b.commit(&unit{page: maxPageBytes, place: func(c *commit) error {
			more = b.carrySome(c, s)
			return nil
		}})
		if err != nil || !more {
			return err
		}
	}
}

func (b *Outbox) carrySome(c *commit, s *segment) (more bool) {
	n := 0
	for _, l := range b.lanes {
		if l.stated != s {
			continue
		}
		if len(l.pending) == 0 && !l.busy && l.tail == l.next && len(b.lanes) > b.opt.Streams {
			delete(b.lanes, l.stream)
			continue
		}
		if n++; n > carried {
			return true
		}
		c.restate(l)
	}
	for _, d := range b.debts {
		if d.segment == s {
			c.owe(d.Debt)
		}
	}
	return false
}

// scavengeAfter is the least that is worth a rewrite of the local store.
const scavengeAfter = 64 << 20

func (b *Outbox) scavenge(ctx context.Context) error {
	b.mu.Lock()
	due := b.opt.Scavenge != nil && b.deleted >= max(scavengeAfter, b.opt.MaxBytes/8, b.used)
	if due {
		b.deleted = 0
	}
	b.mu.Unlock()
	if !due {
		return nil
	}
	if err := b.opt.Scavenge(ctx); err != nil {
		return fmt.Errorf("scavenge the outbox: %w", err)
	}
	return nil
}

func seconds(t time.Time) uint32 { return uint32(max(t.Unix(), 0)) } //nolint:gosec // until 2106
