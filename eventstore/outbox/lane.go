package outbox

import (
	"cmp"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// A lane is a stream as the outbox knows it. Outbox.mu protects it; what is
// written of it changes in the sequencer alone, and what is about shipping by
// whoever has it (busy).
type lane struct {
	number uint64
	stream domain.Stream
	stated *segment // holds its last statement; nil until that is committed
	// next numbers its events, and is one more than its last revision here; tail is
	// next with what the sequencer lays down at the moment.
	next, tail uint64
	// acked is the highest revision in the log at which an event of this outbox is
	// known to stand.
	acked   domain.Revision
	pending []place
	intent  intent

	busy, queued bool
	due          time.Time // not shipped before

	shipping
}

// An intent is an append that was fixed: everything pending up to event number
// last, behind expected.
type intent struct {
	set      bool
	last     uint64
	expected domain.Revision
}

// shipping is what the relay remembers of a lane while the process lives.
type shipping struct {
	// at is where the next intent goes, if above acked: behind foreign events.
	at domain.Revision
	// doubt: the intent may have been sent, and its outcome is unknown.
	doubt bool
	// loaded: events with a lower number were read when the outbox was opened. If it
	// is an older copy of itself, they may stand in the log.
	loaded uint64
	// hidden: events with a lower number may stand where the log was truncated.
	hidden uint64
	// saw is the end of the stream that refused an append of unknown outcome.
	saw sight
}

// A sight is an event at a revision of the log.
type sight struct {
	set      bool
	revision domain.Revision
	id       domain.EventID
}

// A place is where a pending event lies in the local store.
type place struct {
	seq      uint64
	segment  *segment
	revision domain.Revision
	size     int32
	at       uint32         // when it came, Unix seconds
	event    *domain.Sealed // nil where it must be read from the store
}

func (l *lane) where() domain.Revision { return max(l.at, l.acked) }

// fixed is what the intent covers.
func (l *lane) fixed() []place {
	n, found := slices.BinarySearchFunc(l.pending, l.intent.last, func(p place, seq uint64) int { return cmp.Compare(p.seq, seq) })
	if found {
		n++
	}
	return l.pending[:n]
}

// take removes the events of runs and gives each to gone.
func (l *lane) take(runs []run, gone func(place)) {
	in := func(p place) bool {
		for _, r := range runs {
			if p.seq >= r.first && p.seq-r.first < r.count {
				return true
			}
		}
		return false
	}
	n, count := 0, total(runs)
	for n < len(l.pending) && in(l.pending[n]) {
		gone(l.pending[n])
		l.pending[n] = place{}
		n++
	}
	rest := l.pending[n:]
	if len(rest) == 0 {
		l.pending = nil
		return
	}
	if n >= count {
		l.pending = rest
		return
	}
	l.pending = slices.DeleteFunc(rest, func(p place) bool {
		away := in(p)
		if away {
			gone(p)
		}
		return away
	})
}

func total(runs []run) (n int) {
	for _, r := range runs {
		n += int(r.count) //nolint:gosec // no more than are pending
	}
	return n
}

// runsOf writes event numbers, which rise, as runs.
func runsOf(seqs []uint64) []run {
	var runs []run
	for _, s := range seqs {
		if n := len(runs); n > 0 && runs[n-1].first+runs[n-1].count == s {
			runs[n-1].count++
			continue
		}
		runs = append(runs, run{first: s, count: 1})
	}
	return runs
}

// schedule is the heap of lanes that rest until they are due.
type schedule []*lane

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].due.Before(s[j].due) }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
}

func (s *schedule) Push(x any) {
	if l, ok := x.(*lane); ok {
		*s = append(*s, l)
	}
}

func (s *schedule) Pop() any {
	old := *s
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	return l
}
