package projections

// A Merge says how a column of a row takes a further value.
type Merge int

// The ways of merging. Null never replaces a value.
const (
	Key  Merge = iota // part of the primary key
	Last              // the later value wins
	Add               // counts
	Min
	Max
)

// A Type of a column.
type Type int

// The two types; there is nothing else in a view.
const (
	Text Type = iota
	Int
)

// A Column of a table.
type Column struct {
	Name  string
	Type  Type
	Merge Merge
}

// A Table is what an engine stores. Its key columns come first.
type Table struct {
	Name    string
	Columns []Column
	// Indexes beside the primary key, as SQL has them behind ON table.
	Indexes []string
	// Digest is the SELECT that a digest hashes, where that is not all rows.
	Digest string
	keys   int
}

// NewTable makes a table; its key columns come first.
func NewTable(name string, columns ...Column) *Table {
	t := &Table{Name: name, Columns: columns}
	for _, c := range columns {
		if c.Merge == Key {
			t.keys++
		}
	}
	return t
}

// Keys is how many columns make the primary key.
func (t *Table) Keys() int { return t.keys }

func keyText(name string) Column { return Column{Name: name, Type: Text, Merge: Key} }
func keyInt(name string) Column  { return Column{Name: name, Type: Int, Merge: Key} }
func text(name string, m Merge) Column {
	return Column{Name: name, Type: Text, Merge: m}
}

func number(name string, m Merge) Column {
	return Column{Name: name, Type: Int, Merge: m}
}

// A Relation is what readers see of a view: a SELECT over its tables.
type Relation struct {
	Name string
	// Columns in the order of the SELECT; the first Key of them are unique, never
	// null, and the order of rows.
	Columns []string
	Key     int
	// Select has one Where mark, where further conditions are put.
	Select string
	// Filters are the conditions, each with one parameter, that use the tables'
	// own keys.
	Filters map[string]string
}

// Where marks the place of further conditions in a Relation's Select.
const Where = "/*where*/"

// Rows reads what a SELECT with ? parameters yields; a row is valid only until
// each returns. Values are string, int64 or nil.
type Rows func(query string, args []any, each func(row []any) error) error

// A View folds events into rows.
type View interface {
	// Name is the view's name in commands.
	Name() string
	// Tables are stored by the engine. Names begin with the view's.
	Tables() []*Table
	// Relations are what readers see; the first bears the view's name.
	Relations() []Relation
	// Restore reads back what the view keeps in memory between batches. It is
	// called before the first Apply and after a batch that was not stored.
	Restore(rows Rows) error
	// Apply folds one event. It is pure: it depends on the events before and on
	// nothing else.
	Apply(e *Event, c *Changes)
}

// Views makes all views, in the order in which people list them. Each call makes
// new ones: a view belongs to one generation.
func Views() []View {
	return []View{newConnections(), newHoldings(), newRetention(), newErasures(), newAccess(), newPools()}
}
