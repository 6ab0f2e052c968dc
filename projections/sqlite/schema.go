package sqlite

import (
	"strings"

	"github.com/lethe-ledger/lethe/projections"
)

// applicationID marks a file as a view of Lethe: "LTHV".
const applicationID = 0x4c544856

const checkpointTable = `CREATE TABLE IF NOT EXISTS checkpoint (
 one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, commit_position INTEGER NOT NULL,
 prepare_position INTEGER NOT NULL, event TEXT NOT NULL, stream TEXT NOT NULL, revision INTEGER NOT NULL)`

// Declarations are the statements that declare the tables, and each relation as an SQL view, so
// that any tool reads the file.
func Declarations(views ...projections.View) []string {
	tables, relations := projections.Tables(views...)
	list := []string{checkpointTable}
	for _, t := range tables {
		list = append(list, createTable(t))
		for i, index := range t.Indexes {
			list = append(list, "CREATE INDEX IF NOT EXISTS "+t.Name+"_"+string(rune('a'+i))+" ON "+t.Name+" "+index)
		}
	}
	for _, r := range relations {
		list = append(list, "CREATE VIEW IF NOT EXISTS "+r.Name+" AS "+strings.Replace(r.Select, projections.Where, "", 1))
	}
	return list
}

func createTable(t *projections.Table) string {
	var b strings.Builder
	b.WriteString("CREATE TABLE IF NOT EXISTS " + t.Name + " (")
	for i, c := range t.Columns {
		b.WriteString(`"` + c.Name + `" ` + columnType(c.Type))
		if i < t.Keys() {
			b.WriteString(" NOT NULL")
		}
		b.WriteString(", ")
	}
	b.WriteString("PRIMARY KEY (" + names(t.Columns[:t.Keys()]) + ")) WITHOUT ROWID")
	return b.String()
}

func columnType(t projections.Type) string {
	if t == projections.Int {
		return "INTEGER"
	}
	return "TEXT"
}

func names(columns []projections.Column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = `"` + c.Name + `"`
	}
	return strings.Join(list, ", ")
}

// merge combines the stored and the further value; null never replaces one.
func merge(old, further string, m projections.Merge) string {
	both := "coalesce("
	switch m {
	case projections.Add:
		both += old + " + " + further + ", "
	case projections.Min:
		both += "min(" + old + ", " + further + "), "
	case projections.Max:
		both += "max(" + old + ", " + further + "), "
	case projections.Last, projections.Key:
	}
	return both + further + ", " + old + ")"
}
