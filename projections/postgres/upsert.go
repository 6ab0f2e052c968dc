package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lethe-ledger/lethe/projections"
)

// rowsPerStatement bounds the memory of one statement, here and on the server.
const rowsPerStatement = 2048

// upsert writes rows, a column an array: a statement costs the same however many
// rows it has, and there is one a table.
func (w *writer) upsert(ctx context.Context, t *projections.Table, rows []projections.Row) error {
	sql, ok := w.upserts[t]
	if !ok {
		sql = upsertOf(t)
		w.upserts[t] = sql
	}
	formats := []int16{pgx.BinaryFormatCode}
	for len(rows) > 0 {
		n := min(len(rows), rowsPerStatement)
		arrays := make([][]byte, len(t.Columns))
		for i := range t.Columns {
			arrays[i] = array(t.Columns[i].Type, rows[:n], i)
		}
		if err := w.queue(ctx, sql, arrays, formats); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// upsertOf is the statement that merges each row with the one that is there as
// its columns say. Null never replaces a value.
func upsertOf(t *projections.Table) string {
	arrays := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		arrays[i] = "$" + strconv.Itoa(i+1) + "::" + arrayType(c.Type)
	}
	head := fmt.Sprintf("INSERT INTO %s (%s) SELECT * FROM unnest(%s) ON CONFLICT (%s) DO ",
		t.Name, names(t.Columns), strings.Join(arrays, ", "), names(t.Columns[:t.Keys()]))
	if len(t.Columns) == t.Keys() {
		return head + "NOTHING"
	}
	var sets []string
	for _, c := range t.Columns[t.Keys():] {
		sets = append(sets, quote(c.Name)+" = "+merge(t.Name+"."+quote(c.Name), "excluded."+quote(c.Name), c.Merge))
	}
	return head + "UPDATE SET " + strings.Join(sets, ", ")
}

// merge combines the stored and the further value. Here least and greatest pass
// over null, in other engines they do not.
func merge(old, further string, m projections.Merge) string {
	switch m {
	case projections.Add:
		return "coalesce(" + old + " + " + further + ", " + further + ", " + old + ")"
	case projections.Min:
		return "least(" + old + ", " + further + ")"
	case projections.Max:
		return "greatest(" + old + ", " + further + ")"
	case projections.Last, projections.Key:
	}
	return "coalesce(" + further + ", " + old + ")"
}

func arrayType(t projections.Type) string {
	if t == projections.Int {
		return "bigint[]"
	}
	return "text[]"
}

// array writes one column of rows as PostgreSQL's binary form of an array: one
// dimension counted from 1, its type, then the values behind their lengths; the
// length of null is -1.
func array(t projections.Type, rows []projections.Row, column int) []byte {
	oid := uint32(pgtype.TextOID)
	if t == projections.Int {
		oid = pgtype.Int8OID
	}
	b := make([]byte, 0, 20+12*len(rows))
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, 1) // there may be nulls
	b = binary.BigEndian.AppendUint32(b, oid)
	b = binary.BigEndian.AppendUint32(b, uint32(len(rows))) //nolint:gosec // at most rowsPerStatement
	b = binary.BigEndian.AppendUint32(b, 1)
	for i := range rows {
		b = appendValue(b, rows[i].Values[column].Any())
	}
	return b
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...) //nolint:gosec // a text of a view is short
	case int64:
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, 8), uint64(v)) //nolint:gosec // two's complement
	}
	return binary.BigEndian.AppendUint32(b, 0xffffffff)
}
