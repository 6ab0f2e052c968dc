package esdbtest

// An expectation is the revision that a caller expects a stream to end at, or
// one of the special values below, numbered as the server's messages show them.
type expectation int64

const (
	expectNone   expectation = -1
	expectAny    expectation = -2
	expectExists expectation = -4
)

// A verdict is what becomes of an append or a deletion.
type verdict int

const (
	accept verdict = iota
	repeat         // written before: answered as then, and not written again
	wrong
	deleted
)

// A decision is a verdict with what the answer needs.
type decision struct {
	verdict verdict
	current int64
	// last is the revision of the last event of a repeated append.
	last int64
	// undelete: the stream is soft-deleted and comes back with this append.
	undelete bool
}

// decide follows the order in which the real server asks: tombstoned, then
// StreamExists, then the two kinds of idempotency, then the revision. The mutex
// is held.
func (l *ledger) decide(stream string, expected expectation, ids []proposal) decision {
	d := decision{current: l.last(stream, l.nextSeq)}
	soft := l.metaOf(stream, l.nextSeq).softDeleted()
	switch {
	case d.current == tombstoned:
		return d.as(deleted)
	case expected == expectExists && soft:
		return d.as(deleted)
	case expected == expectExists && d.current == noEvents && l.last(metastreamOf(stream), l.nextSeq) == noEvents:
		return d.as(wrong)
	case expected == expectAny || expected == expectExists:
		return l.decideWeak(d, stream, ids, soft)
	case int64(expected) < d.current:
		return l.decideStrong(d, stream, expected, ids, soft)
	case int64(expected) > d.current:
		return d.as(wrong)
	}
	d.undelete = soft
	return d
}

func (d decision) as(v verdict) decision {
	d.verdict = v
	return d
}

// decideWeak: a repetition is known by the ids written recently, and only if
// all of them are.
func (l *ledger) decideWeak(d decision, stream string, ids []proposal, soft bool) decision {
	for i, p := range ids {
		revision, known := l.recent.get(p.id, stream)
		if !known && i > 0 {
			return d.as(wrong)
		}
		if !known {
			break
		}
		d.last = revision
		if i == len(ids)-1 {
			return d.as(repeat)
		}
	}
	d.undelete = soft
	return d
}

// decideStrong: a repetition is known by the events at the expected place, as
// long as they are in the log.
func (l *ledger) decideStrong(d decision, stream string, expected expectation, ids []proposal, soft bool) decision {
	revived := expected == expectNone && soft
	for i, p := range ids {
		d.last = int64(expected) + 1 + int64(i)
		if r := l.at(stream, d.last); r != nil && r.id == p.id {
			continue
		}
		if i > 0 || !revived {
			return d.as(wrong)
		}
		d.undelete = true
		return d
	}
	if len(ids) > 0 {
		return d.as(repeat)
	}
	if !revived {
		return d.as(wrong)
	}
	d.undelete = true
	return d
}
