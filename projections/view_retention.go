package projections

import (
	"strings"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// retention lists every retention key that the log knows of, by class, tier and
// bucket, with its due date and fate. A bucket is known by the rows of persons
// in it, by what was kept of those, or by its own end.
type retention struct {
	dated
	rows, expired, provisional, recorded, disposed *Table
	// recent holds rows that were written and not removed since, by bucket: writing
	// them again would change nothing. It is emptied when it is full and when
	// anything is removed.
	recent map[domain.RetentionKey]map[recentRow]struct{}
	count  int // of rows in recent
}

// A recentRow is as small as can be, because there are as many as people.
type recentRow struct {
	person domain.SubjectRef
	block  domain.BlockID
	gen    domain.Gen
}

const maxRecent = 1 << 15

func newRetention() *retention {
	v := &retention{
		recent:  map[domain.RetentionKey]map[recentRow]struct{}{},
		rows:    NewTable("retention_rows", placeColumns()...),
		expired: newExpired("retention"),
		provisional: NewTable(
			"retention_provisional", keyText("command"), keyText("class"), keyText("tier"), keyText("bucket"), keyInt("gen"), keyText("block"),
		),
		recorded: NewTable("retention_recorded", keyText("class"), keyText("tier"), keyText("bucket")),
		disposed: NewTable("retention_disposed", keyText("class"), keyText("tier"), keyText("bucket"), number("position", Min)),
	}
	v.dated = newDated("retention", v.rows)
	v.buckets.Digest = "SELECT * FROM (" + v.Relations()[0].Select + ") AS v ORDER BY class, tier, bucket"
	v.keep = []string{`INSERT INTO retention_provisional (command, class, tier, bucket, gen, block)
 SELECT ?, r.class, r.tier, r.bucket, r.gen, CASE r.ref WHEN '' THEN '' ELSE r.owner END
 FROM (` + v.matching(v.rows) + `) AS r WHERE true GROUP BY 2, 3, 4, 5, 6
 ON CONFLICT (command, class, tier, bucket, gen, block) DO NOTHING`}
	return v
}

func (v *retention) Name() string { return "retention" }

func (v *retention) Tables() []*Table {
	return append(v.all(), v.expired, v.provisional, v.recorded, v.disposed)
}

func (v *retention) Restore(rows Rows) error {
	v.forgetRecent()
	return v.restore(rows)
}

// Relations: fate is expired from the destruction of the key on, with the
// position of the event that says so.
func (v *retention) Relations() []Relation {
	same := func(alias string) string {
		return expand("$x.class = b.class AND $x.tier = b.tier AND $x.bucket = b.bucket", "$x", alias)
	}
	end := `coalesce((SELECT min(x.position) FROM retention_expired x WHERE ` + same("x") + `),
 (SELECT d.position FROM retention_disposed d WHERE ` + same("d") + `))`
	return []Relation{{
		Name: "retention", Key: 3, Columns: []string{"class", "tier", "bucket", "due", "fate", "position"},
		Select: `SELECT b.class, b.tier, b.bucket, b.due, CASE WHEN ` + end + ` IS NULL THEN 'live' ELSE 'expired' END AS fate, ` + end + ` AS position
 FROM retention_buckets b WHERE (EXISTS (SELECT 1 FROM retention_rows r WHERE ` + same("r") + `)
 OR EXISTS (SELECT 1 FROM retention_provisional p WHERE ` + same("p") + `)
 OR EXISTS (SELECT 1 FROM retention_recorded t WHERE ` + same("t") + `) OR ` + end + ` IS NOT NULL) ` + Where,
	}}
}

func (v *retention) Apply(e *Event, c *Changes) {
	switch {
	case e.Policy != nil:
		v.revise(e, c)
	case e.Destruction != nil:
		if e.Destruction.Done && e.Destruction.Kind == KindRetention {
			v.seeAll(e.Destruction.Buckets, c)
		}
		expire(v.expired, e, c)
		v.remove(e, c)
	case e.Disposal != nil:
		v.remove(e, c)
		disposeExpired(v.expired, e, c)
		v.dispose(e, c)
	case e.Type() == eventstore.DeletedType:
		forgetProvisional("retention", e, c)
		v.remove(e, c)
	case e.owner != "" && e.Type() != domain.StreamRested:
		v.hold(e, c)
	}
}

func (v *retention) hold(e *Event, c *Changes) {
	k := v.key(e)
	bucket := v.recent[k]
	r := recentRow{person: e.Envelope.Ref, block: e.Name.Block, gen: e.Envelope.Gen}
	if _, ok := bucket[r]; ok {
		return
	}
	if v.count >= maxRecent {
		v.forgetRecent()
		bucket = nil
	}
	if bucket == nil {
		bucket = map[recentRow]struct{}{}
		v.recent[domain.RetentionKey{Class: clone(k.Class), Tier: clone(k.Tier), Bucket: clone(k.Bucket)}] = bucket
	}
	bucket[r] = struct{}{}
	v.count++
	v.row(v.rows, e, c)
}

func (v *retention) forgetRecent() {
	clear(v.recent)
	v.count = 0
}

// clone lets go of the envelope that a text was cut from.
func clone[S ~string](s S) S { return S(strings.Clone(string(s))) }

// remove is placed.remove, behind which nothing is known to be there.
func (v *retention) remove(e *Event, c *Changes) {
	v.forgetRecent()
	v.dated.remove(e, c)
}

func (v *retention) seeAll(keys []domain.RetentionKey, c *Changes) {
	for _, k := range keys {
		v.see(k, c)
	}
}

func (v *retention) dispose(e *Event, c *Changes) {
	d := e.Disposal
	for _, command := range d.Commands {
		c.Sweep("DELETE FROM retention_provisional WHERE command = ?", command)
	}
	if e.Type() == domain.BucketDisposed {
		c.Sweep("DELETE FROM retention_provisional WHERE class = ? AND tier = ? AND bucket = ?", string(d.Key.Class), string(d.Key.Tier), string(d.Key.Bucket))
		v.see(d.Key, c)
		c.Row(v.disposed, T(d.Key.Class), T(d.Key.Tier), T(d.Key.Bucket)).Merge(3, N(e.at()))
	}
	for _, t := range d.Totals {
		v.see(t.Key, c)
		c.Row(v.recorded, T(t.Key.Class), T(t.Key.Tier), T(t.Key.Bucket))
	}
}

// newExpired keeps which retention keys died, by the revision of the note, so
// that it goes when that part of the stream destruction is cut.
func newExpired(view string) *Table {
	return NewTable(view+"_expired", keyText("class"), keyText("tier"), keyText("bucket"), keyInt("revision"), number("position", Min))
}

func expire(t *Table, e *Event, c *Changes) {
	d := e.Destruction
	if !d.Done || d.Kind != KindRetention {
		return
	}
	for _, k := range d.Buckets {
		c.Row(t, T(k.Class), T(k.Tier), T(k.Bucket), N(int64(e.Revision))).Merge(4, N(e.at()))
	}
}

func disposeExpired(t *Table, e *Event, c *Changes) {
	if e.Type() == domain.StreamDisposed && isDestruction(e) {
		c.Sweep("DELETE FROM "+t.Name+" WHERE revision < ?", e.Disposal.Revision)
	}
}
