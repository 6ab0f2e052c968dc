package esdbtest

import (
	"cmp"
	"math"
	"slices"
)

// pageSize is how many events are taken at once while the ledger is locked.
const pageSize = 128

// fromEnd begins a stream read at its end.
const fromEnd int64 = -1

// A standing is what a reader meets in a stream before any event.
type standing int

const (
	present standing = iota
	absent
	ended
)

// standing tells whether a stream can be read.
func (l *ledger) standing(stream string, bound uint64) standing {
	last := l.last(stream, bound)
	switch {
	case last == tombstoned:
		return ended
	case last == noEvents || l.metaOf(stream, bound).softDeleted():
		return absent
	}
	return present
}

// A streamPage is a part of a stream read, and where the next part begins.
type streamPage struct {
	standing standing
	records  []*record
	next     int64
	done     bool
	last     int64
}

// readStream reads one page from a revision, which is included.
func (l *ledger) readStream(stream string, bound uint64, from int64, backwards bool, limit uint64) streamPage {
	l.mu.Lock()
	defer l.mu.Unlock()
	page := streamPage{standing: l.standing(stream, bound), last: l.last(stream, bound), done: true}
	if page.standing != present {
		return page
	}
	meta := l.metaOf(stream, bound)
	first := firstKept(stream, meta, page.last)
	events := l.events(stream, bound)
	limit = min(limit, pageSize)
	i, step := startIn(events, from, first, backwards)
	for ; i >= 0 && i < len(events); i += step {
		r := events[i]
		if r.revision < first {
			break
		}
		if l.expired(r, meta) {
			continue
		}
		if uint64(len(page.records)) == limit {
			page.next, page.done = r.revision, false
			break
		}
		page.records = append(page.records, r)
	}
	return page
}

// startIn is the index where a stream read begins and the way it goes.
func startIn(events []*record, from, first int64, backwards bool) (int, int) {
	if !backwards {
		i, _ := slices.BinarySearchFunc(events, max(from, first), byRevision)
		return i, 1
	}
	if from == fromEnd {
		return len(events) - 1, -1
	}
	i, found := slices.BinarySearchFunc(events, from, byRevision)
	if !found {
		i--
	}
	return i, -1
}

func byRevision(r *record, revision int64) int { return cmp.Compare(r.revision, revision) }

// fromLogEnd begins a read of the whole log at its end.
const fromLogEnd uint64 = math.MaxUint64

// An allPage is a part of a read of the whole log.
type allPage struct {
	records []*record
	// first is the first record considered; nil if there was none.
	first      *record
	considered int
	// next is where the next part begins: included forwards, excluded backwards.
	next uint64
	done bool
}

// A window bounds a part of a read of the whole log.
type window struct {
	match      func(*record) bool // nil matches everything
	limit      uint64             // matches
	considered int                // records looked at; 0 is no bound
	server     int                // whose scavenges hide records
}

// seen are the records of the whole log that a reader with the bound can see.
func (l *ledger) seen(bound uint64) []*record {
	n, _ := slices.BinarySearchFunc(l.records, bound, func(r *record, b uint64) int { return cmp.Compare(r.seq, b) })
	return l.records[:n]
}

func byPosition(r *record, position uint64) int { return cmp.Compare(r.position, position) }

// readableFrom reports whether a read may begin at a position: one that an event
// has or had, one of the two ends, or forwards anything behind the last event.
func (l *ledger) readableFrom(position, bound uint64, backwards bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	records := l.seen(bound)
	if _, had := l.gone[position]; had || position == 0 || position == fromLogEnd || position == l.nextPosition {
		return true
	}
	i, found := slices.BinarySearchFunc(records, position, byPosition)
	return found || (i == len(records) && !backwards)
}

// readAll reads one page of the whole log.
func (l *ledger) readAll(bound, from uint64, backwards bool, w window) allPage {
	l.mu.Lock()
	defer l.mu.Unlock()
	records := l.seen(bound)
	i, _ := slices.BinarySearchFunc(records, from, byPosition)
	page := allPage{next: from, done: true}
	limit := int(min(w.limit, pageSize))
	for step := 1; ; i += step {
		if backwards {
			i, step = i-1, 0
		}
		if i < 0 || i >= len(records) {
			return page
		}
		if len(page.records) == limit || (w.considered > 0 && page.considered == w.considered) {
			page.done = false
			return page
		}
		if l.swept[records[i].seq]&(1<<w.server) == 0 {
			page.take(records[i], backwards, w.match)
		}
	}
}

// take considers one record.
func (p *allPage) take(r *record, backwards bool, match func(*record) bool) {
	if p.first == nil {
		p.first = r
	}
	p.considered++
	p.next = r.position
	if !backwards {
		p.next++
	}
	if match == nil || match(r) {
		p.records = append(p.records, r)
	}
}
