package embedded

import (
	"context"
	"fmt"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Append implements eventstore.Appender. It blocks while the queue is full. A
// context that ends while the append waits takes it back; afterwards the outcome
// is unknown.
func (s *Store) Append(ctx context.Context, stream domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error) {
	if err := eventstore.Check(stream, expected, events); err != nil {
		return eventstore.Appended{}, err
	}
	j := newJob([]eventstore.Append{{Stream: stream, Expected: expected, Events: events}})
	if err := s.do(ctx, j); err != nil {
		return eventstore.Appended{}, fmt.Errorf("append to %s: %w", stream, err)
	}
	return j.results[0].Appended, j.results[0].Err
}

// maxJobAppends and maxJobBytes bound how much of an AppendMany stands in the
// queue as one entry, and so what one group can grow to.
const (
	maxJobAppends = 512
	maxJobBytes   = 1 << 20
)

// AppendMany implements eventstore.Appender. Its appends are placed in the order
// of the list.
func (s *Store) AppendMany(ctx context.Context, appends []eventstore.Append) []eventstore.Result {
	results := make([]eventstore.Result, len(appends))
	sound := make([]int, 0, len(appends))
	for i, a := range appends {
		if results[i].Err = eventstore.Check(a.Stream, a.Expected, a.Events); results[i].Err == nil {
			sound = append(sound, i)
		}
	}
	s.appendSound(ctx, appends, results, sound)
	return results
}

// appendSound sends the appends whose indexes are in sound, in pieces, and
// collects the answers.
func (s *Store) appendSound(ctx context.Context, appends []eventstore.Append, results []eventstore.Result, sound []int) {
	var sent []piece
	for len(sound) > 0 {
		p := piece{indexes: sound[:pieceLen(appends, sound)]}
		sound = sound[len(p.indexes):]
		p.job = newJob(p.of(appends))
		if p.err = s.enqueue(ctx, p.job); p.err != nil {
			p.indexes = append(slices.Clip(p.indexes), sound...)
			sound = nil
		}
		sent = append(sent, p)
	}
	for _, p := range sent {
		if p.err == nil {
			p.err = s.wait(ctx, p.job)
		}
		p.collect(appends, results)
	}
}

// A piece is a part of an AppendMany that goes into the queue as one job.
type piece struct {
	indexes []int
	job     *job
	err     error
}

func pieceLen(appends []eventstore.Append, sound []int) int {
	bytes := 0
	for n, i := range sound {
		for _, e := range appends[i].Events {
			bytes += e.Size()
		}
		if n > 0 && (n == maxJobAppends || bytes > maxJobBytes) {
			return n
		}
	}
	return len(sound)
}

func (p piece) of(appends []eventstore.Append) []eventstore.Append {
	out := make([]eventstore.Append, len(p.indexes))
	for k, i := range p.indexes {
		out[k] = appends[i]
	}
	return out
}

func (p piece) collect(appends []eventstore.Append, results []eventstore.Result) {
	for k, i := range p.indexes {
		if p.err != nil {
			results[i].Err = fmt.Errorf("append to %s: %w", appends[i].Stream, p.err)
			continue
		}
		results[i] = p.job.results[k]
	}
}
