package projections

import (
	"strings"

	"github.com/lethe-ledger/lethe/domain"
)

// erasures follows every destruction by its command and every request by its
// id. A receipt is found by its id: position, stream and revision tell where it
// stands, to be opened from the log.
type erasures struct {
	*placed
	notes, disposed, requests *Table
}

// Columns of erasures_requests behind its key; the last of the key is the step.
const (
	reqPosition = placeKeys + 2 + iota
	reqHour
	reqKind
	reqOutcome
	reqReceipt
	reqStream
	reqRevision
)

// Steps of a request, in their order.
const (
	stepReceived = 1 + iota
	stepVerified
	stepDecided
	stepReceipted
	stepCompleted
)

func newErasures() *erasures {
	v := &erasures{
		notes: NewTable(
			"erasures_notes", keyInt("revision"), text("command", Last), text("note", Last), number("position", Last), text("hour", Last),
			text("kind", Last), text("ref", Last), text("block", Last), text("classes", Last), number("buckets", Last),
			number("keys", Last), number("journal", Last),
		),
		disposed: NewTable("erasures_disposed", keyText("command"), number("position", Min)),
		requests: NewTable("erasures_requests", placeColumns(
			keyText("request"), keyInt("step"), number("position", Min), text("hour", Min), text("kind", Last),
			text("outcome", Last), text("receipt", Last), text("stream", Last), number("revision", Last),
		)...),
	}
	v.placed = newPlaced("erasures", v.requests)
	return v
}

func (v *erasures) Name() string            { return "erasures" }
func (v *erasures) Tables() []*Table        { return append(v.all(), v.notes, v.disposed) }
func (v *erasures) Restore(rows Rows) error { return v.restore(rows) }

func (v *erasures) Relations() []Relation {
	return []Relation{
		{
			Name: "erasures", Key: 1,
			Columns: []string{"command", "kind", "ref", "block", "classes", "buckets", "keys", "journal", "state", "begun", "position"},
			Select: `SELECT r.command, max(r.kind) AS kind, max(r.ref) AS ref, max(r.block) AS block, max(r.classes) AS classes, max(r.buckets) AS buckets,
 max(r.keys) AS keys, max(r.journal) AS journal,
 CASE WHEN max(d.position) IS NOT NULL THEN 'disposed' WHEN max(CASE r.note WHEN 'done' THEN 1 ELSE 0 END) = 1 THEN 'done' ELSE 'begun' END AS state,
 min(r.hour) AS begun, min(r.position) AS position
 FROM erasures_notes r LEFT JOIN erasures_disposed d ON d.command = r.command WHERE true ` + Where + ` GROUP BY r.command`,
		},
		{
			Name: "requests", Key: 2,
			Columns: []string{"ref", "request", "kind", "state", "outcome", "received", "completed", "receipt", "receipt_position", "receipt_stream", "receipt_revision"},
			Select: `SELECT ` + whose + `, r.request, max(r.kind) AS kind,
 CASE max(r.step) WHEN 1 THEN 'received' WHEN 2 THEN 'verified' WHEN 3 THEN 'decided' WHEN 4 THEN 'receipted' ELSE 'completed' END AS state,
 max(r.outcome) AS outcome, min(CASE r.step WHEN 1 THEN r.hour END) AS received, max(CASE r.step WHEN 5 THEN r.hour END) AS completed,
 max(r.receipt) AS receipt, max(CASE r.step WHEN 4 THEN r.position END) AS receipt_position, max(r.stream) AS receipt_stream, max(r.revision) AS receipt_revision
 FROM erasures_requests r WHERE true ` + Where + ` GROUP BY r.owner, r.ref, r.request`,
		},
	}
}

func (v *erasures) Apply(e *Event, c *Changes) {
	if step := stepOf(e.Type()); step > 0 && e.owner != "" {
		v.step(e, c, step)
		return
	}
	if e.Destruction != nil {
		v.note(e, c)
	}
	if e.Type() == domain.SubjectDisposed {
		for _, command := range e.Disposal.Commands {
			c.Row(v.disposed, T(command)).Merge(1, N(e.at()))
		}
	}
	if e.Type() == domain.StreamDisposed && isDestruction(e) {
		c.Sweep("DELETE FROM erasures_notes WHERE revision < ?", e.Disposal.Revision)
	}
	v.remove(e, c)
}

func stepOf(t domain.EventType) int64 {
	switch t {
	case domain.RequestReceived, domain.RequestCarried:
		return stepReceived
	case domain.RequestVerified:
		return stepVerified
	case domain.RequestDecided:
		return stepDecided
	case domain.RequestReceipted:
		return stepReceipted
	case domain.RequestCompleted:
		return stepCompleted
	}
	return 0
}

func (v *erasures) step(e *Event, c *Changes, step int64) {
	f := e.Envelope.Facts
	r := v.row(v.requests, e, c, T(f.Text("request")), N(step))
	r.Merge(reqPosition, N(e.at()))
	r.Merge(reqHour, T(e.Envelope.Hour))
	r.mergeName(reqKind, f.Text("kind"))
	r.mergeName(reqOutcome, f.Text("outcome"))
	if step == stepReceipted {
		r.Merge(reqReceipt, T(f.Text("receipt")))
		r.Merge(reqStream, T(e.Stream()))
		r.Merge(reqRevision, N(int64(e.Revision)))
	}
}

// mergeName leaves a column null where the fact is absent.
func (r Row) mergeName(i int, s string) {
	if s != "" {
		r.Merge(i, T(s))
	}
}

func (v *erasures) note(e *Event, c *Changes) {
	d := e.Destruction
	r := c.Row(v.notes, N(int64(e.Revision)))
	note := "begun"
	if d.Done {
		note = "done"
		r.Merge(10, N(d.Keys))
		r.Merge(11, N(d.Journal))
	}
	r.Merge(1, T(d.Command.String()))
	r.Merge(2, T(note))
	r.Merge(3, N(e.at()))
	r.Merge(4, T(e.Envelope.Hour))
	r.Merge(5, T(d.Kind))
	r.mergeName(6, nameOf(d.Ref))
	r.mergeName(7, nameOf(d.Block))
	r.mergeName(8, classNames(d.Classes))
	r.Merge(9, N(len(d.Buckets)))
}

// nameOf is empty for the zero id.
func nameOf[K any](id domain.ID[K]) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

func classNames(classes []domain.ClassGen) string {
	names := make([]string, len(classes))
	for i, c := range classes {
		names[i] = c.String()
	}
	return strings.Join(names, ",")
}
