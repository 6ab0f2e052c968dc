package esdbtest

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A ledger is the log that all servers of a cluster share. Its mutex protects
// every field; records themselves are immutable and may leave it.
type ledger struct {
	mu      sync.Mutex
	clock   func() time.Time
	records []*record            // in order of position
	streams map[string][]*record // in order of revision
	// gone are the positions of records that a scavenge removed: still valid
	// places to read from.
	gone map[uint64]struct{}
	// swept says of a record which servers have scavenged it, a bit each; one that
	// all have scavenged is no longer in the log.
	swept        map[uint64]uint64
	nextSeq      uint64
	nextPosition uint64
	// visible bounds what readers see; it lags behind nextSeq only while a batch
	// is shown in parts.
	visible uint64
	held    int
	recent  recentIDs
	// changed is closed, and replaced, whenever there may be more to read.
	changed chan struct{}
}

// firstPosition is that of the first record; smaller numbers precede it.
const firstPosition = 1000

func newLedger(clock func() time.Time) *ledger {
	return &ledger{
		clock: clock, streams: map[string][]*record{}, gone: map[uint64]struct{}{}, swept: map[uint64]uint64{},
		nextPosition: firstPosition, changed: make(chan struct{}),
	}
}

// fork is a copy that goes its own way: what a leader knows whom nobody follows.
func (l *ledger) fork() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := newLedger(l.clock)
	out.records = slices.Clone(l.records)
	for name, events := range l.streams {
		out.streams[name] = slices.Clone(events)
	}
	out.gone, out.swept = maps.Clone(l.gone), maps.Clone(l.swept)
	out.nextSeq, out.nextPosition, out.visible = l.nextSeq, l.nextPosition, l.nextSeq
	return out
}

// wake lets everybody look again who waits for more. The mutex is held.
func (l *ledger) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// waitCh is closed at the next change.
func (l *ledger) waitCh() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// end is the bound of a reader who sees everything that is visible.
func (l *ledger) end() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.visible
}

// write puts one event behind all others. The mutex is held; the caller shows
// the record when the whole append is written.
func (l *ledger) write(stream string, revision int64, p proposal, at time.Time) *record {
	r := &record{proposal: p, seq: l.nextSeq, position: l.nextPosition, stream: stream, revision: revision, created: at}
	if isMetastream(stream) {
		r.meta = parseMeta(p.data)
	}
	l.nextSeq++
	l.nextPosition += r.size()
	l.records = append(l.records, r)
	l.streams[stream] = append(l.streams[stream], r)
	return r
}

// show makes all that is written visible, unless a batch is being shown in parts.
func (l *ledger) show() {
	if l.held == 0 {
		l.visible = l.nextSeq
	}
	l.wake()
}

// events are those of a stream that a reader with the bound can see.
func (l *ledger) events(stream string, bound uint64) []*record {
	all := l.streams[stream]
	if n := len(all); n == 0 || all[n-1].seq < bound {
		return all
	}
	n, _ := slices.BinarySearchFunc(all, bound, func(r *record, b uint64) int { return cmp.Compare(r.seq, b) })
	return all[:n]
}

// last is the number of the last event: noEvents, tombstoned or a revision. The
// metastream of a tombstoned stream is tombstoned with it.
func (l *ledger) last(stream string, bound uint64) int64 {
	if isMetastream(stream) && l.last(stream[2:], bound) == tombstoned {
		return tombstoned
	}
	events := l.events(stream, bound)
	if len(events) == 0 {
		return noEvents
	}
	return events[len(events)-1].revision
}

// metaOf is the metadata in force; nil if none was ever written.
func (l *ledger) metaOf(stream string, bound uint64) *streamMeta {
	events := l.events(metastreamOf(stream), bound)
	if len(events) == 0 {
		return nil
	}
	return events[len(events)-1].meta
}

// firstKept is the smallest revision that $tb and $maxCount leave.
func firstKept(stream string, meta *streamMeta, last int64) int64 {
	var first, count int64
	if meta != nil {
		first, count = meta.truncateBefore, meta.maxCount
	}
	if isMetastream(stream) {
		count = 1
	}
	if count > 0 {
		first = max(first, last-count+1)
	}
	return max(first, 0)
}

// expired: $maxAge hides the event.
func (l *ledger) expired(r *record, meta *streamMeta) bool {
	return meta != nil && meta.maxAge > 0 && r.created.Add(meta.maxAge).Before(l.clock())
}

// at is the event of a revision, truncated or not.
func (l *ledger) at(stream string, revision int64) *record {
	events := l.streams[stream]
	i, found := slices.BinarySearchFunc(events, revision, func(r *record, n int64) int { return cmp.Compare(r.revision, n) })
	if !found {
		return nil
	}
	return events[i]
}

// recentIDs remembers where recently written ids stand. Like that of the real
// server it is bounded, lost with the process, and keeps the first place of an
// id that two streams share.
type recentIDs struct {
	places map[uuid.UUID]place
	order  []uuid.UUID
}

type place struct {
	stream   string
	revision int64
}

// maxRecent is about what eight megabytes of ids are.
const maxRecent = 100_000

func (c *recentIDs) put(id uuid.UUID, at place) {
	if c.places == nil {
		c.places = map[uuid.UUID]place{}
	}
	if _, known := c.places[id]; known {
		return
	}
	c.places[id] = at
	c.order = append(c.order, id)
	if len(c.order) > maxRecent {
		delete(c.places, c.order[0])
		c.order = c.order[1:]
	}
}

func (c *recentIDs) get(id uuid.UUID, stream string) (int64, bool) {
	at, known := c.places[id]
	return at.revision, known && at.stream == stream
}

// seed writes what a new database holds before anybody uses it: every reader of
// the whole log meets events that are not its own.
func (l *ledger) seed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.clock()
	l.writeMeta("$$$users", map[string]any{"$acl": map[string]string{"$r": "$admins"}}, at)
	l.write("$users", 0, proposal{id: uuid.New(), kind: "$UserCreated", json: true, data: []byte(`"admin"`)}, at)
	l.show()
}
