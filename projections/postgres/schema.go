package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-ledger/lethe/projections"
)

const checkpointTable = `CREATE TABLE checkpoint (one integer PRIMARY KEY CHECK (one = 1), generation integer NOT NULL, commit_position bigint NOT NULL,
 prepare_position bigint NOT NULL, event text COLLATE "C" NOT NULL, stream text COLLATE "C" NOT NULL, revision bigint NOT NULL)`

// declare makes the schema of a generation and all that is in it, each relation
// as an SQL view, so that any tool reads it.
func (e *Engine) declare(ctx context.Context, tx pgx.Tx, schema string, number int, view projections.View) error {
	list := append([]string{"CREATE SCHEMA " + quote(schema), "SET LOCAL search_path = " + quote(schema)}, declarations(view)...)
	list = append(list, fmt.Sprintf("INSERT INTO checkpoint VALUES (1, %d, 0, 0, '', '', 0)", number))
	for _, s := range list {
		if _, err := tx.Exec(ctx, s, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}

func declarations(view projections.View) []string {
	tables, relations := projections.Tables(view)
	list := []string{checkpointTable}
	for _, t := range tables {
		list = append(list, createTable(t))
		for i, index := range t.Indexes {
			list = append(list, "CREATE INDEX "+t.Name+"_"+string(rune('a'+i))+" ON "+t.Name+" "+index)
		}
	}
	for _, r := range relations {
		list = append(list, "CREATE VIEW "+quote(r.Name)+" AS "+strings.Replace(r.Select, projections.Where, "", 1))
	}
	return list
}

// createTable orders text by its bytes, as the other engines do: the order of
// rows, and which text is the least, must not hang on the database's collation.
func createTable(t *projections.Table) string {
	var b strings.Builder
	b.WriteString("CREATE TABLE " + t.Name + " (")
	for i, c := range t.Columns {
		b.WriteString(quote(c.Name) + " " + columnType(c.Type))
		if i < t.Keys() {
			b.WriteString(" NOT NULL")
		}
		b.WriteString(", ")
	}
	b.WriteString("PRIMARY KEY (" + names(t.Columns[:t.Keys()]) + "))")
	return b.String()
}

func columnType(t projections.Type) string {
	if t == projections.Int {
		return "bigint"
	}
	return `text COLLATE "C"`
}

func names(columns []projections.Column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = quote(c.Name)
	}
	return strings.Join(list, ", ")
}

// present reports ErrDamaged unless every table of a generation is there.
func (e *Engine) present(ctx context.Context, tx pgx.Tx, view projections.View, number int) error {
	schema := e.place.schema(view.Name(), number)
	want := []string{"checkpoint"}
	for _, t := range view.Tables() {
		want = append(want, t.Name)
	}
	var found int
	if err := tx.QueryRow(ctx, "SELECT count(*) FROM pg_tables WHERE schemaname = $1 AND tablename = ANY ($2)", schema, want).Scan(&found); err != nil {
		return err
	}
	if found != len(want) {
		return fmt.Errorf("schema %s holds %d of %d tables: %w", schema, found, len(want), ErrDamaged)
	}
	return nil
}
