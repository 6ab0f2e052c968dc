package projections

import (
	"fmt"
	"strings"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// placeColumns begin the key of every row about a person. The bucket stands
// first, because today's rows are then next to one another; one person's rows
// are found by stepping through the few buckets that there are.
func placeColumns(more ...Column) []Column {
	return append([]Column{
		keyText("class"), keyText("tier"), keyText("bucket"), keyText("owner"), keyInt("gen"), keyText("ref"),
	}, more...)
}

const placeKeys = 6

// placed keeps the rows that belong to a person's streams: it knows which
// buckets there are, and removes what was destroyed or disposed of. Every view
// with such rows has one.
type placed struct {
	view    string
	tables  []*Table
	buckets *Table
	scope   *Table
	// keep are statements with a command as their last parameter that keep the
	// counts of what its destruction is about to remove.
	keep  []string
	known map[domain.RetentionKey]struct{}
	purge []string
}

func newPlaced(view string, tables ...*Table) *placed {
	p := &placed{
		view: view, tables: tables, known: map[domain.RetentionKey]struct{}{},
		buckets: NewTable(view+"_buckets", keyText("class"), keyText("tier"), keyText("bucket"), text("due", Last)),
		scope: NewTable(
			view+"_scope", keyText("owner"), keyText("command"), keyText("class"), keyInt("gen"),
			keyText("tier"), keyText("bucket"), keyInt("revision"),
		),
	}
	p.buckets.Digest = p.inUse()
	p.scope.Indexes = []string{"(command)"}
	for _, t := range tables {
		t.Indexes = []string{"(ref) WHERE ref <> ''"} // anonymous refs inside a block
		p.purge = append(p.purge, p.deletion(t))
	}
	return p
}

func (p *placed) all() []*Table { return append([]*Table{p.buckets, p.scope}, p.tables...) }

// inUse selects the buckets that have rows: the list itself keeps those whose
// rows have gone, which a rebuild may never meet.
func (p *placed) inUse() string {
	var used []string
	for _, t := range p.tables {
		used = append(used, "EXISTS (SELECT 1 FROM "+t.Name+" r WHERE r.class = b.class AND r.tier = b.tier AND r.bucket = b.bucket)")
	}
	return "SELECT class, tier, bucket, due FROM " + p.buckets.Name + " b WHERE " + strings.Join(used, " OR ") + " ORDER BY class, tier, bucket"
}

// matching selects the rows of t that the destruction with the command given
// twice takes: by owner through the buckets, and linked anonymous refs through
// their index. A row is met once, however often the destruction was carried.
func (p *placed) matching(t *Table) string {
	return expand(`SELECT r.* FROM $v_scope s CROSS JOIN $v_buckets b CROSS JOIN $t r
 WHERE s.command = ? AND (s.class = '' OR b.class = s.class) AND (s.bucket = '' OR (b.tier = s.tier AND b.bucket = s.bucket))
 AND r.class = b.class AND r.tier = b.tier AND r.bucket = b.bucket AND r.owner = s.owner AND (s.gen = 0 OR r.gen = s.gen)
 UNION SELECT r.* FROM $v_scope s CROSS JOIN $t r
 WHERE s.command = ? AND r.ref = s.owner AND r.ref <> '' AND (s.class = '' OR r.class = s.class)
 AND (s.bucket = '' OR (r.tier = s.tier AND r.bucket = s.bucket)) AND (s.gen = 0 OR r.gen = s.gen)`, "$v", p.view, "$t", t.Name)
}

func (p *placed) deletion(t *Table) string {
	names := make([]string, t.keys)
	for i := range names {
		names[i] = t.Columns[i].Name
	}
	keys := strings.Join(names, ", ")
	return fmt.Sprintf("DELETE FROM %s WHERE (%s) IN (SELECT %s FROM (%s) AS doomed)", t.Name, keys, keys, p.matching(t))
}

func expand(s string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(s) }

// row returns the change of the row of e's place in t, and notes its bucket.
func (p *placed) row(t *Table, e *Event, c *Changes, more ...Value) Row {
	env := &e.Envelope
	k := domain.RetentionKey{Class: env.Class, Tier: env.Tier, Bucket: env.Bucket}
	p.see(k, c)
	key := [placeKeys + 4]Value{T(env.Class), T(env.Tier), T(env.Bucket), T(e.owner), N(env.Gen), T(e.ref)}
	n := copy(key[placeKeys:], more)
	return c.Row(t, key[:placeKeys+n]...)
}

func (p *placed) see(k domain.RetentionKey, c *Changes) bool {
	if _, ok := p.known[k]; ok {
		return false
	}
	p.known[domain.RetentionKey{Class: clone(k.Class), Tier: clone(k.Tier), Bucket: clone(k.Bucket)}] = struct{}{}
	c.Row(p.buckets, T(k.Class), T(k.Tier), T(k.Bucket))
	return true
}

// restore reads the buckets back.
func (p *placed) restore(rows Rows) error {
	clear(p.known)
	return rows("SELECT class, tier, bucket FROM "+p.buckets.Name, nil, func(row []any) error {
		k, err := keyOf(row)
		p.known[k] = struct{}{}
		return err
	})
}

func keyOf(row []any) (domain.RetentionKey, error) {
	class, ok1 := row[0].(string)
	tier, ok2 := row[1].(string)
	bucket, ok3 := row[2].(string)
	if !ok1 || !ok2 || !ok3 {
		return domain.RetentionKey{}, fmt.Errorf("a stored bucket is %v", row)
	}
	return domain.RetentionKey{Class: domain.Class(class), Tier: domain.Tier(tier), Bucket: domain.Bucket(bucket)}, nil
}

// remove applies what takes rows away: a destruction that is done, a record of
// disposal, a deleted stream.
func (p *placed) remove(e *Event, c *Changes) {
	switch {
	case e.Destruction != nil && e.Destruction.Done:
		p.destroyed(e, c)
	case e.Type() == eventstore.DeletedType:
		p.deleted(e, c)
	case e.Type() == domain.BucketDisposed:
		k := e.Disposal.Key
		for _, t := range p.tables {
			c.Sweep("DELETE FROM "+t.Name+" WHERE class = ? AND tier = ? AND bucket = ?", string(k.Class), string(k.Tier), string(k.Bucket))
		}
	case e.Type() == domain.SubjectDisposed:
		for _, command := range e.Disposal.Commands {
			p.scopeOf(command, e.Disposal.parts[command], e, c)
		}
		for _, command := range e.Disposal.Commands {
			p.take(command, c)
			c.Sweep("DELETE FROM "+p.scope.Name+" WHERE command = ?", command)
		}
	case e.Type() == domain.StreamDisposed && isDestruction(e):
		c.Sweep("DELETE FROM "+p.scope.Name+" WHERE revision < ?", e.Disposal.Revision)
	}
}

// isDestruction reports whether what was disposed of is the stream destruction:
// every ledger has one, and its name ends so.
func isDestruction(e *Event) bool {
	return strings.HasSuffix(string(e.Disposal.Stream), "."+string(domain.ClassDestruction))
}

func (p *placed) destroyed(e *Event, c *Changes) {
	d := e.Destruction
	command, parts := d.Command.String(), d.parts()
	p.scopeOf(command, parts, e, c)
	if len(parts) == 0 {
		return
	}
	for _, sql := range p.keep {
		c.Sweep(sql, command, command, command)
	}
	p.take(command, c)
}

// scopeOf notes whose rows a destruction takes.
func (p *placed) scopeOf(command string, parts []part, e *Event, c *Changes) {
	for _, s := range parts {
		c.Row(p.scope, T(s.owner), T(command), T(s.class), N(s.gen), T(s.tier), T(s.bucket), N(int64(e.Revision)))
	}
}

func (p *placed) take(command string, c *Changes) {
	for _, sql := range p.purge {
		c.Sweep(sql, command, command)
	}
}

func (p *placed) deleted(e *Event, c *Changes) {
	n := &e.Name
	for _, t := range p.tables {
		switch n.Kind {
		case domain.StreamSubject:
			c.Sweep("DELETE FROM "+t.Name+" WHERE class = ? AND tier = ? AND owner = ? AND gen = ? AND bucket IN (SELECT bucket FROM "+p.buckets.Name+" b WHERE b.class = ? AND b.tier = ?)",
				string(n.Class), string(n.Tier), n.Ref.String(), int64(n.Gen), string(n.Class), string(n.Tier))
		case domain.StreamAnonymous:
			c.Sweep("DELETE FROM "+t.Name+" WHERE class = ? AND tier = ? AND bucket = ? AND owner = ?",
				string(n.Class), string(n.Tier), string(n.Bucket), n.Block.String())
		default:
		}
	}
}
