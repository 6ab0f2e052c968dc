package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// rows hands on row by row what a SELECT yields.
func (g *generation) rows(ctx context.Context, tx pgx.Tx, query string, args []any, each func([]any) error) error {
	rows, err := tx.Query(ctx, numbered(query), args...)
	if err != nil {
		return g.failed("reading", err)
	}
	defer rows.Close()
	var row []any
	for rows.Next() {
		fields := rows.FieldDescriptions()
		row = row[:0]
		for i, raw := range rows.RawValues() {
			v, err := value(&fields[i], raw)
			if err != nil {
				return fmt.Errorf("reading view %s: column %s: %w", g.view.Name(), fields[i].Name, err)
			}
			row = append(row, v)
		}
		if err := each(row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return g.failed("reading", err)
	}
	return nil
}

// errValue: a column is of no type that views have.
var errValue = errors.New("neither text nor a number of 64 bits")

// value makes nil, a string or an int64 of a column. Sums of numbers come as
// numeric, whose values here are whole.
func value(f *pgconn.FieldDescription, raw []byte) (any, error) {
	switch {
	case raw == nil:
		return nil, nil //nolint:nilnil // null is a value
	case f.DataTypeOID == pgtype.TextOID:
		return string(raw), nil
	case f.Format == pgx.TextFormatCode:
		return parseInt(f.DataTypeOID, string(raw))
	case f.DataTypeOID == pgtype.Int8OID && len(raw) == 8:
		return int64(binary.BigEndian.Uint64(raw)), nil //nolint:gosec // two's complement
	case f.DataTypeOID == pgtype.Int4OID && len(raw) == 4:
		return int64(int32(binary.BigEndian.Uint32(raw))), nil //nolint:gosec // two's complement
	case f.DataTypeOID == pgtype.NumericOID:
		return whole(raw)
	}
	return nil, errValue
}

func parseInt(oid uint32, s string) (any, error) {
	switch oid {
	case pgtype.Int8OID, pgtype.Int4OID, pgtype.NumericOID:
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n, nil
		}
	}
	return nil, errValue
}

func whole(raw []byte) (any, error) {
	var n pgtype.Numeric
	if err := (pgtype.NumericCodec{}).PlanScan(nil, pgtype.NumericOID, pgx.BinaryFormatCode, &n).Scan(raw, &n); err != nil {
		return nil, errors.Join(errValue, err)
	}
	v, err := n.Int64Value()
	if err != nil || !v.Valid {
		return nil, errors.Join(errValue, err)
	}
	return v.Int64, nil
}

// numbered writes the parameters of a statement as PostgreSQL has them. Views
// put a question mark nowhere else; one in a text between quotes stays.
func numbered(sql string) string {
	if !strings.Contains(sql, "?") {
		return sql
	}
	var b strings.Builder
	n, quoted := 0, byte(0)
	for i := range len(sql) {
		switch c := sql[i]; {
		case quoted != 0:
			if c == quoted {
				quoted = 0
			}
			b.WriteByte(c)
		case c == '?':
			n++
			b.WriteString("$" + strconv.Itoa(n))
		default:
			if c == '\'' || c == '"' {
				quoted = c
			}
			b.WriteByte(c)
		}
	}
	return b.String()
}
