package projections

import (
	"encoding/binary"
	"slices"
)

// A Value of a column: null, text or a number.
type Value struct {
	kind valueKind
	n    int64
	s    string
}

type valueKind byte

const (
	null valueKind = iota
	isText
	isInt
)

// T is a text.
func T[S ~string](s S) Value { return Value{kind: isText, s: string(s)} }

// N is a number.
func N[I ~int | ~int64 | ~uint32](n I) Value { return Value{kind: isInt, n: int64(n)} }

// Any returns nil, a string or an int64.
func (v Value) Any() any {
	switch v.kind {
	case isText:
		return v.s
	case isInt:
		return v.n
	case null:
	}
	return nil
}

func (v Value) less(w Value) bool {
	if v.kind == isInt {
		return v.n < w.n
	}
	return v.s < w.s
}

// A Row is one row's change, folded over a batch.
type Row struct {
	table  *Table
	Values []Value
}

// Merge folds v into column i as the column says.
func (r Row) Merge(i int, v Value) {
	old := &r.Values[i]
	switch {
	case v.kind == null:
	case old.kind == null:
		*old = v
	default:
		r.merge(i, old, v)
	}
}

func (r Row) merge(i int, old *Value, v Value) {
	switch r.table.Columns[i].Merge {
	case Add:
		old.n += v.n
	case Min:
		if v.less(*old) {
			*old = v
		}
	case Max:
		if old.less(v) {
			*old = v
		}
	case Last:
		*old = v
	case Key:
	}
}

// A Sweep is a statement over rows that are already stored, with ? parameters.
type Sweep struct {
	SQL  string
	Args []any
}

// A Segment is a group of changes: first the rows, then the sweeps.
type Segment struct {
	tables []*Table
	folds  map[*Table]*fold
	Sweeps []Sweep
}

type fold struct {
	index map[string]int32
	rows  []Row
	keys  []string
}

// Each yields the tables with changed rows, in the order of first change, rows
// in the order of their keys, which is kind to a B-tree.
func (s *Segment) Each(yield func(t *Table, rows []Row) bool) {
	for _, t := range s.tables {
		if !yield(t, s.folds[t].sorted()) {
			return
		}
	}
}

func (f *fold) sorted() []Row {
	order := make([]int32, len(f.rows))
	for i := range order {
		order[i] = int32(i) //nolint:gosec // a batch is small
	}
	slices.SortFunc(order, func(a, b int32) int {
		switch x, y := f.keys[a], f.keys[b]; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	rows := make([]Row, len(order))
	for i, o := range order {
		rows[i] = f.rows[o]
	}
	return rows
}

// Changes collects what a batch of events does to the tables of one file. It
// belongs to one goroutine and is used again from batch to batch.
type Changes struct {
	segments []*Segment
	free     []*Segment
	key      []byte
	arena    []Value
}

// Segments returns the groups in order.
func (c *Changes) Segments() []*Segment { return c.segments }

// Len is how many rows are changed.
func (c *Changes) Len() (n int) {
	for _, s := range c.segments {
		for _, t := range s.tables {
			n += len(s.folds[t].rows)
		}
	}
	return n
}

// Reset forgets everything and keeps memory.
func (c *Changes) Reset() {
	for _, s := range c.segments {
		s.reset()
	}
	c.free = append(c.free, c.segments...)
	c.segments = c.segments[:0]
	clear(c.arena)
	c.arena = c.arena[:0]
	if len(c.free) > maxFree {
		c.free = slices.Clone(c.free[:maxFree])
	}
}

// maxFree bounds the memory that is kept from a batch with many sweeps.
const maxFree = 4

func (s *Segment) reset() {
	for _, t := range s.tables {
		f := s.folds[t]
		clear(f.index)
		clear(f.rows)
		clear(f.keys)
		f.rows, f.keys = f.rows[:0], f.keys[:0]
	}
	s.tables, s.Sweeps = s.tables[:0], nil
}

// Row returns the change of the row with the given key, to be merged into. It is
// valid until the next call of Sweep or Reset.
func (c *Changes) Row(t *Table, key ...Value) Row {
	f := c.segment().fold(t)
	c.key = c.key[:0]
	for i := range key {
		c.key = key[i].appendKey(c.key)
	}
	if i, ok := f.index[string(c.key)]; ok {
		return f.rows[i]
	}
	r := Row{table: t, Values: c.values(len(t.Columns))}
	copy(r.Values, key)
	k := string(c.key)
	f.index[k] = int32(len(f.rows)) //nolint:gosec // a batch is small
	f.rows, f.keys = append(f.rows, r), append(f.keys, k)
	return r
}

// appendKey keeps the order of values, as a primary key does.
func (v Value) appendKey(b []byte) []byte {
	if v.kind == isInt {
		return binary.BigEndian.AppendUint64(b, uint64(v.n)) //nolint:gosec // keys are not negative
	}
	return append(append(b, v.s...), 0)
}

// values cuts a row from the arena, which grows in blocks so that rows cut
// before stay where they are.
func (c *Changes) values(n int) []Value {
	if len(c.arena)+n > cap(c.arena) {
		c.arena = make([]Value, 0, max(4096, 2*cap(c.arena)))
	}
	at := len(c.arena)
	c.arena = c.arena[:at+n]
	return c.arena[at : at+n : at+n]
}

// Sweep adds a statement that sees every row changed before it and none behind.
func (c *Changes) Sweep(sql string, args ...any) {
	s := c.last()
	if s == nil {
		s = c.grow()
	}
	s.Sweeps = append(s.Sweeps, Sweep{SQL: sql, Args: args})
}

func (c *Changes) last() *Segment {
	if len(c.segments) == 0 {
		return nil
	}
	return c.segments[len(c.segments)-1]
}

// segment is the one that takes rows: behind a sweep a new one begins.
func (c *Changes) segment() *Segment {
	if s := c.last(); s != nil && len(s.Sweeps) == 0 {
		return s
	}
	return c.grow()
}

func (c *Changes) grow() *Segment {
	s := &Segment{folds: map[*Table]*fold{}}
	if n := len(c.free); n > 0 {
		s, c.free = c.free[n-1], c.free[:n-1]
	}
	c.segments = append(c.segments, s)
	return s
}

func (s *Segment) fold(t *Table) *fold {
	f := s.folds[t]
	if f == nil {
		f = &fold{index: map[string]int32{}}
		s.folds[t] = f
	}
	if len(f.rows) == 0 {
		s.tables = append(s.tables, t)
	}
	return f
}
