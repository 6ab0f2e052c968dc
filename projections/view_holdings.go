package projections

import (
	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// holdings counts what is held of whom: events and records by ref, scope, class,
// tier, bucket and gen, with first and last hour, due date and state. Beside it
// stand the totals of what was removed, without refs.
type holdings struct {
	dated
	rows, expired, provisional, recorded *Table
}

// Columns of holdings_rows behind its key.
const (
	holdScope = placeKeys + 1 + iota
	holdEvents
	holdRecords
	holdFirst
	holdLast
)

func newHoldings() *holdings {
	v := &holdings{
		rows: NewTable("holdings_rows", placeColumns(
			keyText("pool"), text("scope", Last), number("events", Add), number("records", Add), text("first", Min), text("last", Max),
		)...),
		expired: newExpired("holdings"),
		provisional: NewTable(
			"holdings_provisional", keyText("command"), keyText("pool"), keyText("class"), keyText("tier"), keyText("bucket"),
			keyInt("gen"), keyText("block"), number("events", Add), number("records", Add),
		),
		recorded: NewTable(
			"holdings_recorded", keyText("pool"), keyText("class"), keyText("tier"), keyText("bucket"),
			number("events", Add), number("records", Add),
		),
	}
	v.dated = newDated("holdings", v.rows)
	v.keep = []string{`INSERT INTO holdings_provisional (command, pool, class, tier, bucket, gen, block, events, records)
 SELECT ?, r.pool, r.class, r.tier, r.bucket, r.gen, CASE r.ref WHEN '' THEN '' ELSE r.owner END, sum(r.events), sum(r.records)
 FROM (` + v.matching(v.rows) + `) AS r WHERE true GROUP BY 2, 3, 4, 5, 6, 7
 ON CONFLICT (command, pool, class, tier, bucket, gen, block) DO UPDATE SET
 events = holdings_provisional.events + excluded.events, records = holdings_provisional.records + excluded.records`}
	return v
}

func (v *holdings) Name() string { return "holdings" }

func (v *holdings) Tables() []*Table {
	return append(v.all(), v.expired, v.provisional, v.recorded)
}

func (v *holdings) Restore(rows Rows) error { return v.restore(rows) }

func (v *holdings) Relations() []Relation {
	return []Relation{
		{
			Name: "holdings", Key: 5,
			Columns: []string{"ref", "class", "tier", "bucket", "gen", "scope", "events", "records", "first", "last", "due", "state"},
			Select: `SELECT ` + whose + `, r.class, r.tier, r.bucket, r.gen, max(r.scope) AS scope, sum(r.events) AS events, sum(r.records) AS records,
 min(r.first) AS first, max(r.last) AS last, max(b.due) AS due, max(` + stateOf("holdings") + `) AS state
 FROM holdings_buckets b CROSS JOIN holdings_rows r
 WHERE r.class = b.class AND r.tier = b.tier AND r.bucket = b.bucket ` + Where + `
 GROUP BY r.owner, r.ref, r.class, r.tier, r.bucket, r.gen`,
			Filters: personFilters(),
		},
		{
			Name: "totals", Key: 4,
			Columns: []string{"pool", "class", "tier", "bucket", "provisional_events", "provisional_records", "events", "records"},
			Select: `SELECT r.pool, r.class, r.tier, r.bucket, sum(r.pe) AS provisional_events, sum(r.pr) AS provisional_records, sum(r.e) AS events, sum(r.r) AS records
 FROM (SELECT pool, class, tier, bucket, events AS pe, records AS pr, 0 AS e, 0 AS r FROM holdings_provisional
 UNION ALL SELECT pool, class, tier, bucket, 0, 0, events, records FROM holdings_recorded) AS r
 WHERE true ` + Where + ` GROUP BY r.pool, r.class, r.tier, r.bucket`,
		},
	}
}

// personFilters find the rows of one person by the tables' own keys: owner for
// a person's own streams, linked for an anonymous ref inside a block.
func personFilters() map[string]string {
	return map[string]string{"owner": "r.owner = ?", "linked": "r.ref = ? AND r.ref <> ''"}
}

// stateOf tells what the keys of row r are. A row that its destruction takes is
// there only if it was written behind it.
func stateOf(view string) string {
	return expand(`CASE WHEN EXISTS (SELECT 1 FROM $v_scope s WHERE s.owner IN (r.owner, r.ref) AND (s.class = '' OR s.class = r.class)
 AND (s.gen = 0 OR s.gen = r.gen) AND (s.bucket = '' OR (s.tier = r.tier AND s.bucket = r.bucket))) THEN 'erased'
 WHEN EXISTS (SELECT 1 FROM $v_expired x WHERE x.class = r.class AND x.tier = r.tier AND x.bucket = r.bucket) THEN 'expired'
 ELSE 'present' END`, "$v", view)
}

// whose is the ref of row r: the owner's, or that of a connection in its block.
const whose = "CASE r.ref WHEN '' THEN r.owner ELSE r.ref END AS ref"

func (v *holdings) Apply(e *Event, c *Changes) {
	switch {
	case e.Policy != nil:
		v.revise(e, c)
	case e.Destruction != nil:
		expire(v.expired, e, c)
		v.remove(e, c)
	case e.Disposal != nil:
		v.remove(e, c)
		disposeExpired(v.expired, e, c)
		v.total(e, c)
	case e.Type() == eventstore.DeletedType:
		v.forget(e, c)
		v.remove(e, c)
	case e.owner != "" && e.Type() != domain.StreamRested:
		v.count(e, c)
	}
}

func (v *holdings) count(e *Event, c *Changes) {
	env := &e.Envelope
	r := v.row(v.rows, e, c, T(env.Facts.Text("pool")))
	r.Merge(holdScope, T(env.Scope.String()))
	r.Merge(holdEvents, N(1))
	r.Merge(holdRecords, N(env.N))
	r.Merge(holdFirst, T(env.Hour))
	r.Merge(holdLast, T(env.Hour))
}

// total replaces the provisional totals of a record's scope by the record's own.
func (v *holdings) total(e *Event, c *Changes) {
	d := e.Disposal
	if e.Type() == domain.BucketDisposed {
		c.Sweep("DELETE FROM holdings_provisional WHERE class = ? AND tier = ? AND bucket = ?", string(d.Key.Class), string(d.Key.Tier), string(d.Key.Bucket))
	}
	for _, command := range d.Commands {
		c.Sweep("DELETE FROM holdings_provisional WHERE command = ?", command)
	}
	for _, t := range d.Totals {
		r := c.Row(v.recorded, T(t.Pool), T(t.Key.Class), T(t.Key.Tier), T(t.Key.Bucket))
		r.Merge(4, N(t.Events))
		r.Merge(5, N(t.Records))
	}
}

// forget drops the provisional totals of a stream that was deleted.
func (v *holdings) forget(e *Event, c *Changes) { forgetProvisional("holdings", e, c) }

func forgetProvisional(view string, e *Event, c *Changes) {
	n := &e.Name
	switch n.Kind {
	case domain.StreamSubject:
		c.Sweep(expand("DELETE FROM $v_provisional WHERE class = ? AND tier = ? AND gen = ? AND block = '' AND command IN (SELECT command FROM $v_scope WHERE owner = ?)", "$v", view),
			string(n.Class), string(n.Tier), int64(n.Gen), n.Ref.String())
	case domain.StreamAnonymous:
		c.Sweep(expand("DELETE FROM $v_provisional WHERE class = ? AND tier = ? AND bucket = ? AND block = ?", "$v", view),
			string(n.Class), string(n.Tier), string(n.Bucket), n.Block.String())
	default:
	}
}
