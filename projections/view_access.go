package projections

import "github.com/lethe-ledger/lethe/domain"

// access counts who was looked at (access.opened, by the ref of the person) and
// who acted (act.performed, by the ref of the principal), by hour and stream.
type access struct {
	*placed
	rows *Table
}

func newAccess() *access {
	rows := NewTable("access_rows", placeColumns(keyText("hour"), keyText("kind"), keyText("action"), number("count", Add))...)
	return &access{placed: newPlaced("access", rows), rows: rows}
}

func (v *access) Name() string            { return "access" }
func (v *access) Tables() []*Table        { return v.all() }
func (v *access) Restore(rows Rows) error { return v.restore(rows) }

func (v *access) Relations() []Relation {
	return []Relation{{
		Name: "access", Key: 7,
		Columns: []string{"ref", "hour", "kind", "action", "class", "tier", "gen", "count"},
		Select: `SELECT ` + whose + `, r.hour, r.kind, r.action, r.class, r.tier, r.gen, sum(r.count) AS count
 FROM access_buckets b CROSS JOIN access_rows r
 WHERE r.class = b.class AND r.tier = b.tier AND r.bucket = b.bucket ` + Where + `
 GROUP BY r.owner, r.ref, r.hour, r.kind, r.action, r.class, r.tier, r.gen`,
		Filters: personFilters(),
	}}
}

func (v *access) Apply(e *Event, c *Changes) {
	kind := ""
	switch e.Type() {
	case domain.AccessOpened:
		kind = "opened"
	case domain.ActPerformed:
		kind = "act"
	}
	if kind == "" || e.owner == "" {
		v.remove(e, c)
		return
	}
	r := v.row(v.rows, e, c, T(e.Envelope.Hour), T(kind), T(e.Envelope.Facts.Text("action")))
	r.Merge(placeKeys+3, N(1))
}
