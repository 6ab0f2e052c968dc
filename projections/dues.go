package projections

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// dues knows when retention keys are due by the policy revisions in the log. A
// shortened period applies at once to existing buckets, a lengthened one only to
// new ones: due is the earliest by any revision from the one in force when the
// bucket began. A revision's hour is known, not its minute, so one counts as in
// force from the end of its hour; in the hour of a change a bucket of minutes
// may show the shorter of both periods.
type dues struct {
	table     *Table
	revisions []revision // by number
}

type revision struct {
	number int64
	hour   domain.Hour
	policy *domain.Policy
}

func newDues(view string) *dues {
	return &dues{table: NewTable(view+"_policies", keyInt("revision"), text("hour", Last), text("document", Last))}
}

// due is empty where no policy in the log knows the class.
func (d *dues) due(k domain.RetentionKey) string {
	first := time.Time{}
	for _, r := range d.revisions[d.inForce(k.Bucket.Start()):] {
		t, ok := r.policy.Due(k)
		if ok && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if first.IsZero() {
		return ""
	}
	return first.UTC().Format(time.RFC3339)
}

// inForce is the index of the last revision whose hour was over at t.
func (d *dues) inForce(t time.Time) int {
	for i, r := range slices.Backward(d.revisions) {
		if !r.hour.Start().Add(time.Hour).After(t) {
			return i
		}
	}
	return 0
}

// revise takes a revision in, once.
func (d *dues) revise(e *Event, c *Changes) error {
	r := revision{number: e.Envelope.Facts.Int("revision"), hour: e.Envelope.Hour, policy: e.Policy}
	doc, err := json.Marshal(r.policy)
	if err != nil {
		return fmt.Errorf("encoding policy revision %d: %w", r.number, err)
	}
	row := c.Row(d.table, N(r.number))
	row.Merge(1, T(r.hour))
	row.Merge(2, T(string(doc)))
	d.insert(r)
	return nil
}

func (d *dues) insert(r revision) {
	i, found := slices.BinarySearchFunc(d.revisions, r.number, func(r revision, n int64) int { return int(r.number - n) })
	if found {
		d.revisions[i] = r
		return
	}
	d.revisions = slices.Insert(d.revisions, i, r)
}

func (d *dues) restore(rows Rows) error {
	d.revisions = nil
	return rows("SELECT revision, hour, document FROM "+d.table.Name, nil, func(row []any) error {
		n, _ := row[0].(int64)
		hour, _ := row[1].(string)
		doc, _ := row[2].(string)
		r := revision{number: n, hour: domain.Hour(hour), policy: &domain.Policy{}}
		if err := json.Unmarshal([]byte(doc), r.policy); err != nil {
			return fmt.Errorf("reading stored policy revision %d: %w", n, err)
		}
		d.insert(r)
		return nil
	})
}

// dated is placed with the due date of every bucket.
type dated struct {
	*placed
	dues *dues
}

func newDated(view string, tables ...*Table) dated {
	return dated{placed: newPlaced(view, tables...), dues: newDues(view)}
}

func (d dated) all() []*Table { return append(d.placed.all(), d.dues.table) }

func (d dated) row(t *Table, e *Event, c *Changes, more ...Value) Row {
	d.see(d.key(e), c)
	return d.placed.row(t, e, c, more...)
}

func (d dated) key(e *Event) domain.RetentionKey {
	return domain.RetentionKey{Class: e.Envelope.Class, Tier: e.Envelope.Tier, Bucket: e.Envelope.Bucket}
}

func (d dated) see(k domain.RetentionKey, c *Changes) {
	if d.placed.see(k, c) {
		d.date(k, c)
	}
}

func (d dated) date(k domain.RetentionKey, c *Changes) {
	c.Row(d.buckets, T(k.Class), T(k.Tier), T(k.Bucket)).Merge(3, T(d.dues.due(k)))
}

// revise dates every bucket anew.
func (d dated) revise(e *Event, c *Changes) {
	if d.dues.revise(e, c) != nil {
		return // a policy that was decoded from JSON encodes
	}
	for k := range d.known {
		d.date(k, c)
	}
}

func (d dated) restore(rows Rows) error {
	if err := d.placed.restore(rows); err != nil {
		return err
	}
	return d.dues.restore(rows)
}
