package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math/bits"
	"strconv"
	"strings"

	"github.com/lethe-ledger/lethe/projections"
)

// RowsPerStatement balances the cost of a call against that of a statement.
const RowsPerStatement = 32

// chunks are how many rows one statement writes, the greatest first.
var chunks = [...]int{RowsPerStatement, 8, 1}

// A shape is a statement's: which columns its rows have, and which of these are
// alike in all of them. A value costs about as much to bind as to write, so null
// is not bound at all, and what is alike once. Columns are bits.
type shape struct {
	table           *projections.Table
	rows            int
	present, shared uint64
}

// maxShapes bounds the statements that are kept prepared for one file. A view
// needs about ten.
const maxShapes = 48

// upserts write rows. They belong to the goroutine that commits.
type upserts struct {
	shapes map[shape]*sql.Stmt
	groups []group
	args   []any
}

// A group is the rows of a table that have the same columns.
type group struct {
	present uint64
	rows    []projections.Row
}

func (f *file) upsert(ctx context.Context, t *projections.Table, rows []projections.Row) error {
	u := &f.upserts
	u.group(rows)
	defer u.empty()
	for _, g := range u.groups {
		for rest := g.rows; len(rest) > 0; {
			n := chunkOf(len(rest))
			s := shape{table: t, rows: n, present: g.present}
			if n > 1 {
				s.shared = alike(rest[:n], g.present)
			}
			stmt, err := f.prepared(ctx, s) //nolint:sqlclosecheck // kept prepared
			if err != nil {
				return err
			}
			if _, err := stmt.ExecContext(ctx, u.values(s, rest[:n])...); err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	return nil
}

func chunkOf(rows int) int {
	for _, n := range chunks {
		if n <= rows {
			return n
		}
	}
	return rows
}

// keptRows is for how many rows of a group memory is kept.
const keptRows = 1 << 10

// empty lets go of the rows of a batch.
func (u *upserts) empty() {
	for i := range u.groups {
		g := &u.groups[i]
		clear(g.rows)
		if g.rows = g.rows[:0]; cap(g.rows) > keptRows {
			g.rows = nil
		}
	}
}

// group sorts rows by the columns that they have and keeps their order in each
// group. A batch has few groups.
func (u *upserts) group(rows []projections.Row) {
	for _, r := range rows {
		p := presentIn(r)
		i := 0
		for i < len(u.groups) && u.groups[i].present != p {
			i++
		}
		if i == len(u.groups) {
			u.groups = append(u.groups, group{present: p})
		}
		u.groups[i].rows = append(u.groups[i].rows, r)
	}
}

func presentIn(r projections.Row) (p uint64) {
	for i, v := range r.Values {
		if v != (projections.Value{}) {
			p |= 1 << i
		}
	}
	return p
}

// alike are the columns whose values are the same in all rows.
func alike(rows []projections.Row, present uint64) uint64 {
	first := rows[0].Values
	for _, r := range rows[1:] {
		for i, v := range r.Values {
			if bit := uint64(1) << i; present&bit != 0 && v != first[i] {
				present &^= bit
			}
		}
	}
	return present
}

// values are the arguments of a statement: what is alike first.
func (u *upserts) values(s shape, rows []projections.Row) []any {
	u.args = u.args[:0]
	u.add(rows[0], s.shared)
	for _, r := range rows {
		u.add(r, s.present&^s.shared)
	}
	return u.args
}

func (u *upserts) add(r projections.Row, columns uint64) {
	for i, v := range r.Values {
		if columns&(1<<i) != 0 {
			u.args = append(u.args, v.Any())
		}
	}
}

func (f *file) prepared(ctx context.Context, s shape) (*sql.Stmt, error) {
	u := &f.upserts
	if stmt, ok := u.shapes[s]; ok {
		return stmt, nil
	}
	if len(u.shapes) >= maxShapes {
		if err := u.close(); err != nil {
			return nil, err
		}
	}
	stmt, err := f.conn.PrepareContext(ctx, s.statement())
	if err == nil {
		u.shapes[s] = stmt
	}
	return stmt, err
}

func (u *upserts) close() error {
	var errs []error
	for _, s := range u.shapes {
		errs = append(errs, s.Close())
	}
	clear(u.shapes)
	return errors.Join(errs...)
}

// Upsert is the statement that writes n rows with all columns and merges each
// with the row that is there as its columns say.
func Upsert(t *projections.Table, n int) string {
	return shape{table: t, rows: n, present: 1<<len(t.Columns) - 1}.statement()
}

// statement merges every row with the one that is there. A column that is not
// present is null in a new row, and stays as it is in one that is there: null
// never replaces a value.
func (s shape) statement() string {
	t := s.table
	var columns []projections.Column
	for i, c := range t.Columns {
		if s.present&(1<<i) != 0 {
			columns = append(columns, c)
		}
	}
	all := s.parameters(true) + strings.Repeat(", "+s.parameters(false), s.rows-1)
	head := "INSERT INTO " + t.Name + " (" + names(columns) + ") VALUES " + all + " ON CONFLICT (" + names(t.Columns[:t.Keys()]) + ") DO "
	if len(columns) == t.Keys() {
		return head + "NOTHING"
	}
	sets := make([]string, 0, len(columns))
	for _, c := range columns[t.Keys():] {
		sets = append(sets, `"`+c.Name+`" = `+merge(t.Name+`."`+c.Name+`"`, `excluded."`+c.Name+`"`, c.Merge))
	}
	return head + "UPDATE SET " + strings.Join(sets, ", ")
}

// parameters of one row. What is shared has a number, which every row names. In
// the first row the others have numbers, too; further rows go on behind those
// without, because a parameter that has a name costs more to bind.
func (s shape) parameters(first bool) string {
	var list []string
	shared, own := 0, bits.OnesCount64(s.shared)
	for i := range s.table.Columns {
		switch bit := uint64(1) << i; {
		case s.shared&bit != 0:
			shared++
			list = append(list, "?"+strconv.Itoa(shared))
		case s.present&bit != 0 && first && s.shared != 0:
			own++
			list = append(list, "?"+strconv.Itoa(own))
		case s.present&bit != 0:
			list = append(list, "?")
		}
	}
	return "(" + strings.Join(list, ", ") + ")"
}
