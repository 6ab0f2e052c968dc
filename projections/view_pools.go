package projections

import (
	"github.com/lethe-ledger/lethe/domain"
)

// pools counts by pool and hour what crossed the gateway: connections opened,
// closed and refused, messages, gaps in the record, and late events; beside it, each
// gap with its times. What was disposed of is no longer in it, see the totals of
// holdings.
type pools struct {
	*placed
	rows, notes, gaps *Table
}

// Columns of pools_rows behind its key.
const (
	poolOpened = placeKeys + 2 + iota
	poolClosed
	poolMessages
	poolLate
)

func newPools() *pools {
	rows := NewTable("pools_rows", placeColumns(
		keyText("pool"), keyText("hour"), number("opened", Add), number("closed", Add), number("messages", Add), number("late", Add),
	)...)
	return &pools{
		placed: newPlaced("pools", rows), rows: rows,
		notes: NewTable(
			"pools_notes", keyText("stream"), keyInt("revision"),
			text("pool", Last), text("hour", Last), text("kind", Last), text("reason", Last), number("count", Last),
		),
		gaps: NewTable(
			"pools_gaps", keyText("stream"), keyInt("revision"),
			text("pool", Last), number("since", Last), number("until", Last), number("connections", Last), number("bytes", Last),
		),
	}
}

func (v *pools) Name() string            { return "pools" }
func (v *pools) Tables() []*Table        { return append(v.all(), v.notes, v.gaps) }
func (v *pools) Restore(rows Rows) error { return v.restore(rows) }

func (v *pools) Relations() []Relation {
	return []Relation{
		{
			Name: "pools", Key: 2,
			Columns: []string{"pool", "hour", "opened", "closed", "messages", "late", "refused", "gaps"},
			Select: `SELECT r.pool, r.hour, sum(r.opened) AS opened, sum(r.closed) AS closed, sum(r.messages) AS messages, sum(r.late) AS late,
 sum(r.refused) AS refused, sum(r.gaps) AS gaps
 FROM (SELECT pool, hour, opened, closed, messages, late, 0 AS refused, 0 AS gaps FROM pools_rows
 UNION ALL SELECT pool, hour, 0, 0, 0, CASE kind WHEN 'late' THEN count ELSE 0 END, CASE kind WHEN 'refused' THEN count ELSE 0 END,
 CASE kind WHEN 'gap' THEN count ELSE 0 END FROM pools_notes) AS r
 WHERE true ` + Where + ` GROUP BY r.pool, r.hour`,
		},
		{
			Name: "refusals", Key: 3,
			Columns: []string{"pool", "hour", "reason", "count"},
			Select: `SELECT r.pool, r.hour, r.reason, sum(r.count) AS count FROM pools_notes r
 WHERE r.kind = 'refused' ` + Where + ` GROUP BY r.pool, r.hour, r.reason`,
		},
		{
			Name: "gaps", Key: 4,
			Columns: []string{"since", "until", "stream", "revision", "pool", "connections", "bytes"},
			Select:  `SELECT r.since, r.until, r.stream, r.revision, r.pool, r.connections, r.bytes FROM pools_gaps r WHERE true ` + Where,
		},
	}
}

func (v *pools) Apply(e *Event, c *Changes) {
	switch e.Type() {
	case domain.ConnectionOpened:
		v.count(e, c, poolOpened, 1)
	case domain.ConnectionClosed:
		v.count(e, c, poolClosed, 1)
	case domain.TrafficRecorded:
		v.count(e, c, poolMessages, e.Envelope.N)
	case domain.ConnectionRefused:
		v.note(e, c, "refused", e.Envelope.Facts.Int("count"))
	case domain.GapRecorded:
		v.note(e, c, "gap", 1)
		v.gap(e, c)
	case domain.LateRecorded:
		v.note(e, c, "late", lateCount(e))
	case domain.StreamDisposed:
		c.Sweep("DELETE FROM pools_notes WHERE stream = ? AND revision < ?", string(e.Disposal.Stream), e.Disposal.Revision)
		c.Sweep("DELETE FROM pools_gaps WHERE stream = ? AND revision < ?", string(e.Disposal.Stream), e.Disposal.Revision)
		v.remove(e, c)
	default:
		if e.Name.Kind == domain.StreamNode && e.Envelope.Hour == "" {
			c.Sweep("DELETE FROM pools_notes WHERE stream = ?", string(e.Stream()))
			c.Sweep("DELETE FROM pools_gaps WHERE stream = ?", string(e.Stream()))
		}
		v.remove(e, c)
	}
}

func (v *pools) count(e *Event, c *Changes, column int, n uint32) {
	if e.owner == "" {
		return
	}
	r := v.row(v.rows, e, c, T(e.Envelope.Facts.Text("pool")), T(e.Envelope.Hour))
	for i := poolOpened; i <= poolLate; i++ {
		r.Merge(i, N(0))
	}
	r.Merge(column, N(n))
	if e.Envelope.Late {
		r.Merge(poolLate, N(1))
	}
}

func (v *pools) note(e *Event, c *Changes, kind string, n int64) {
	f := e.Envelope.Facts
	r := c.Row(v.notes, T(e.Stream()), N(int64(e.Revision)))
	r.Merge(2, T(f.Text("pool")))
	r.Merge(3, T(e.Envelope.Hour))
	r.Merge(4, T(kind))
	r.Merge(5, T(f.Text("reason")))
	r.Merge(6, N(n))
}

// gap keeps from when to when something is missing (Unix seconds), and what is known
// of it. Pool "-" is a whole process that was retired.
func (v *pools) gap(e *Event, c *Changes) {
	f := e.Envelope.Facts
	r := c.Row(v.gaps, T(e.Stream()), N(int64(e.Revision)))
	r.Merge(2, T(f.Text("pool")))
	for i, name := range []string{"from", "to", "connections", "bytes"} {
		r.Merge(3+i, N(f.Int(name)))
	}
}

// lateCount sums the entries of late.recorded, which end with a count each.
func lateCount(e *Event) (n int64) {
	for _, name := range []string{"dropped", "unsure"} {
		for _, entry := range e.Envelope.Facts.List(name) {
			if _, count, ok := domain.CutCount(entry); ok {
				n += count
			}
		}
	}
	return n
}
