package projections

import "github.com/lethe-ledger/lethe/domain"

// connections shows each connection by ref: pool, state, the hours it was
// opened and closed in, close code and reason, and how many messages crossed.
// Its life and its messages stand in streams of their own, so its rows are added
// up when they are read, and each goes with its stream and bucket.
type connections struct {
	*placed
	rows *Table
}

// Columns of connections_rows behind its key.
const (
	connPool = placeKeys + 1 + iota
	connTLS
	connOpened
	connClosed
	connClose
	connReason
	connStage
	connMessages
)

// Stages of a connection. The column stage is position*stages + stage, so that
// the greatest one is the latest.
const (
	stageOpen = 1 + iota
	stageIdle
	stageClosed
	stages
)

func newConnections() *connections {
	rows := NewTable("connections_rows", placeColumns(
		keyText("connection"), text("pool", Last), number("tls", Last), text("opened", Min), text("closed", Max),
		number("close", Last), text("reason", Last), number("stage", Max), number("messages", Add),
	)...)
	return &connections{placed: newPlaced("connections", rows), rows: rows}
}

func (v *connections) Name() string            { return "connections" }
func (v *connections) Tables() []*Table        { return v.all() }
func (v *connections) Restore(rows Rows) error { return v.restore(rows) }

func (v *connections) Relations() []Relation {
	return []Relation{{
		Name: "connections", Key: 2,
		Columns: []string{"ref", "connection", "pool", "state", "opened", "closed", "close", "reason", "messages", "tls"},
		Select: `SELECT ` + whose + `, r.connection, max(r.pool) AS pool,
 CASE max(r.stage) % 4 WHEN 1 THEN 'open' WHEN 2 THEN 'idle' WHEN 3 THEN 'closed' ELSE 'unknown' END AS state,
 min(r.opened) AS opened, max(r.closed) AS closed, max(r.close) AS close, max(r.reason) AS reason, sum(r.messages) AS messages, max(r.tls) AS tls
 FROM connections_buckets b CROSS JOIN connections_rows r
 WHERE r.class = b.class AND r.tier = b.tier AND r.bucket = b.bucket ` + Where + ` GROUP BY r.owner, r.ref, r.connection`,
		Filters: personFilters(),
	}}
}

func (v *connections) Apply(e *Event, c *Changes) {
	if e.owner == "" {
		v.remove(e, c)
		return
	}
	switch e.Type() {
	case domain.ConnectionOpened:
		r := v.stage(e, c, stageOpen)
		r.Merge(connOpened, T(e.Envelope.Hour))
		if tls := e.Envelope.Facts.Int("tls"); tls > 0 {
			r.Merge(connTLS, N(tls))
		}
	case domain.ConnectionIdled:
		v.stage(e, c, stageIdle)
	case domain.ConnectionResumed:
		v.stage(e, c, stageOpen)
	case domain.ConnectionClosed:
		v.closed(e, c)
	case domain.TrafficRecorded:
		v.of(e, c).Merge(connMessages, N(e.Envelope.N))
	}
}

func (v *connections) of(e *Event, c *Changes) Row {
	f := e.Envelope.Facts
	r := v.row(v.rows, e, c, T(f.Text("connection")))
	r.Merge(connPool, T(f.Text("pool")))
	r.Merge(connMessages, N(0))
	return r
}

func (v *connections) stage(e *Event, c *Changes, stage int64) Row {
	r := v.of(e, c)
	r.Merge(connStage, N(e.at()*stages+stage))
	return r
}

func (v *connections) closed(e *Event, c *Changes) {
	f := e.Envelope.Facts
	r := v.stage(e, c, stageClosed)
	r.Merge(connClosed, T(e.Envelope.Hour))
	if code := f.Int("close"); code > 0 {
		r.Merge(connClose, N(code))
	}
	if reason := f.Text("reason"); reason != "" {
		r.Merge(connReason, T(reason))
	}
}
