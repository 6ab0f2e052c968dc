package recorder

import (
	"errors"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// A Gap is what a pool with on_ledger_failure: pass let pass unrecorded, while the
// ledger took no more. Nothing in it is about a person.
type Gap struct {
	// ID is the id of its event in the log.
	ID   domain.EventID
	Pool string
	// From and To hold everything that is missing.
	From, To time.Time
	// Connections of which anything is missing, each counted once; Messages, and
	// Bytes as their sizes say (FORMAT §5).
	Connections, Messages, Bytes int64
	// Open says that the gap goes on. What still waits in memory is in its counts
	// then, because it would be missing if the process died now.
	Open bool
	// Feared says that nothing is missing so far: all of it waits.
	Feared bool
}

// None says that nothing is missing: what was feared stands in the log.
func (g Gap) None() bool { return g.Connections == 0 }

// errNoGaps says that a recorder has nobody to owe gaps to.
var errNoGaps = errors.New("nobody keeps its gaps")

// Missing counts what a pool let pass since the recorder was made.
type Missing struct {
	Pool                               string
	Gaps, Connections, Messages, Bytes int64
}

// A gap is the state of one pool's gap: of fixed size, whatever is missing.
type gap struct {
	pool string

	mu      sync.Mutex // protects what follows, and the missing of its recordings
	id      domain.EventID
	number  uint64 // of the gap that is open, or of the last one
	open    bool
	changed bool // since it was last owed
	from    time.Time
	to      time.Time
	lost    tally
	waiting tally     // in queues, or on its way into the log
	since   time.Time // of what waits
	total   Missing
}

// A tally counts what is missing, or would be.
type tally struct{ connections, messages, bytes int64 }

// missing is what a gap knows of one recording.
type missing struct {
	number uint64 // of the last gap that has something of it
	queued int    // jobs that wait
}

// lose counts a job, and reports whether a gap begins with it.
func (g *gap) lose(j *job, now time.Time) (begins bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open {
		g.begin(j.at)
	}
	if begins = g.lost == (tally{}); begins {
		g.total.Gaps++
	}
	if m := &j.recording.missing; m.number != g.number {
		m.number = g.number
		g.lost.connections++
		g.total.Connections++
	}
	g.changed = true
	if j.at.Before(g.from) {
		g.from = j.at
	}
	if now.After(g.to) {
		g.to = now
	}
	g.lost.messages += j.messages
	g.lost.bytes += j.bytes
	g.total.Messages += j.messages
	g.total.Bytes += j.bytes
	return begins
}

func (g *gap) begin(at time.Time) {
	g.id, g.open, g.changed = domain.Event(domain.New[domain.CommandID](), 0), true, true
	g.number++
	g.from, g.to, g.lost = at, at, tally{}
}

// wait counts a job that is queued, arrive one that is not any more.
func (g *gap) wait(j *job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changed = true
	if g.waiting.connections == 0 {
		g.since = j.at
	}
	m := &j.recording.missing
	if m.queued++; m.queued == 1 {
		g.waiting.connections++
	}
	g.waiting.messages += j.messages
	g.waiting.bytes += j.bytes
}

func (g *gap) arrive(j *job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changed = true
	m := &j.recording.missing
	if m.queued--; m.queued == 0 {
		g.waiting.connections--
	}
	g.waiting.messages -= j.messages
	g.waiting.bytes -= j.bytes
}

// look returns the gap that is open, with what waits, if it has changed since it was
// last looked at. While the ledger takes nothing one is feared before anything is
// missing; if all of it is recorded after all, it ends as a gap of nothing.
func (g *gap) look(now time.Time, stuck bool) (Gap, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open && stuck && g.waiting.connections > 0 {
		g.begin(now)
	}
	if !g.open || !g.changed {
		return Gap{}, false
	}
	g.changed = false
	said := g.gap(now)
	if said.None() && g.waiting.connections == 0 {
		g.open = false
		return said, true
	}
	said.Open, said.Feared = true, said.None()
	if g.waiting.connections > 0 && g.since.Before(said.From) {
		said.From = g.since
	}
	said.Connections += g.waiting.connections
	said.Messages += g.waiting.messages
	said.Bytes += g.waiting.bytes
	return said, true
}

// end closes the gap that is open. What is missing afterwards is another one's.
func (g *gap) end() (Gap, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open {
		return Gap{}, false
	}
	g.open = false
	return g.gap(g.to), true
}

func (g *gap) gap(to time.Time) Gap {
	return Gap{ID: g.id, Pool: g.pool, From: g.from, To: to, Connections: g.lost.connections, Messages: g.lost.messages, Bytes: g.lost.bytes}
}
