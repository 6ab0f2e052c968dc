package esdbtest

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// An outcome is the answer to a write.
type outcome struct {
	decision
	// revision of the last event, noEvents if there is none.
	revision int64
	// position is 0 where the server no longer knows it.
	position uint64
	// written says that the log changed.
	written bool
}

// append decides and writes in one step. shown tells how many of the events are
// shown at once; the rest stays hidden until release. Everything is shown where
// it is nil.
func (l *ledger) append(stream string, expected expectation, events []proposal, shown func(int) int) outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.decide(stream, expected, events)
	switch d.verdict {
	case repeat:
		return outcome{decision: d, revision: d.last, position: l.knownPosition(stream, d.last)}
	case accept:
		return l.commit(stream, d, events, shown)
	case wrong, deleted:
	}
	return outcome{decision: d}
}

// knownPosition is 0 for an event that no read shows any more.
func (l *ledger) knownPosition(stream string, revision int64) uint64 {
	r, meta := l.at(stream, revision), l.metaOf(stream, l.nextSeq)
	if r == nil || revision < firstKept(stream, meta, l.last(stream, l.nextSeq)) || l.expired(r, meta) {
		return 0
	}
	return r.position
}

// commit writes what decide has accepted.
func (l *ledger) commit(stream string, d decision, events []proposal, shown func(int) int) outcome {
	at := l.clock()
	out := outcome{decision: d, revision: d.current, position: l.nextPosition, written: true}
	if len(events) == 0 {
		l.nextPosition += 100 // an empty append takes room in the log all the same
	}
	first := l.nextSeq
	back := isMetastream(stream) && l.metaOf(stream[2:], l.nextSeq).softDeleted()
	for _, e := range events {
		out.revision++
		r := l.write(stream, out.revision, e, at)
		out.position = r.position
		l.recent.put(e.id, place{stream, r.revision})
	}
	if d.undelete {
		l.undelete(stream, d.current+1, at)
	}
	if back {
		l.undelete(stream[2:], l.last(stream[2:], l.nextSeq)+1, at)
	}
	if shown != nil && l.held == 0 && len(events) > 1 {
		l.visible, l.held = first+uint64(shown(len(events))), 1
	}
	l.show()
	return out
}

// release shows what partial showing has kept back.
func (l *ledger) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = 0
	l.show()
}

// undelete brings a soft-deleted stream back: its metadata is written again with
// the truncation that hides what stood there before.
func (l *ledger) undelete(stream string, from int64, at time.Time) {
	meta := metastreamOf(stream)
	events := l.streams[meta]
	body := map[string]any{}
	if n := len(events); n > 0 {
		dec := json.NewDecoder(bytes.NewReader(events[n-1].data))
		dec.UseNumber()
		if dec.Decode(&body) != nil || body == nil {
			body = map[string]any{}
		}
	}
	body["$tb"] = from
	l.writeMeta(meta, body, at)
}

func (l *ledger) writeMeta(metastream string, body map[string]any, at time.Time) *record {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err) // a map of what was decoded from JSON
	}
	p := proposal{id: uuid.New(), kind: kindMetadata, json: true, data: data}
	return l.write(metastream, l.last(metastream, l.nextSeq)+1, p, at)
}

// softDelete hides the stream by its metadata alone; its other metadata is lost.
func (l *ledger) softDelete(stream string, expected expectation) outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.decide(stream, expected, []proposal{{id: uuid.New()}})
	never := d.current == noEvents && l.last(metastreamOf(stream), l.nextSeq) == noEvents
	if d.verdict == accept && never {
		d.verdict = wrong
	}
	if d.verdict != accept {
		return outcome{decision: d}
	}
	r := l.writeMeta(metastreamOf(stream), map[string]any{"$tb": tombstoned}, l.clock())
	l.show()
	return outcome{decision: d, position: r.position, written: true}
}

// tombstone ends the stream for ever, whether it ever had events or not.
func (l *ledger) tombstone(stream string, expected expectation) outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.decide(stream, expected, []proposal{{id: uuid.New()}})
	if d.verdict != accept {
		return outcome{decision: d}
	}
	r := l.write(stream, tombstoned, proposal{id: uuid.New(), kind: kindTombstone}, l.clock())
	l.show()
	return outcome{decision: d, revision: tombstoned, position: r.position, written: true}
}
