package projections

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lethe-ledger/lethe/domain"
)

// A Query asks for rows of a relation: a view of the list, or one beside it such
// as totals, requests or refusals.
type Query struct {
	Relation string
	// Where holds values by column, or by one of the relation's filters.
	Where map[string]any
	// Cursor is Page.Next of the page before; empty for the first.
	Cursor string
	// Limit is at most MaxPage; 0 means MaxPage.
	Limit int
}

// MaxPage bounds the rows of one page.
const MaxPage = 1000

// A Page of rows, in the order of the relation's key. Values are string, int64
// or nil.
type Page struct {
	View     string          `json:"view"`
	Position domain.Position `json:"position"`
	Columns  []string        `json:"columns"`
	Rows     [][]any         `json:"rows"`
	// Next is empty on the last page.
	Next string `json:"next,omitempty"`
}

// ErrQuery says that a query names no column, filter or page of its relation.
var ErrQuery = errors.New("not a query of this view")

// Query reads one page, at one position.
func (p *Projector) Query(ctx context.Context, q Query) (Page, error) {
	s, rel, err := p.relation(q.Relation)
	if err != nil {
		return Page{}, err
	}
	if q.Limit <= 0 || q.Limit > MaxPage {
		q.Limit = MaxPage
	}
	sql, args, err := q.build(rel)
	if err != nil {
		return Page{}, fmt.Errorf("querying %s: %w", q.Relation, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	page := Page{View: s.name, Columns: rel.Columns, Rows: [][]any{}}
	err = s.gen.Snapshot(ctx, func(at Checkpoint, rows Rows) error {
		page.Position = at.Position
		return rows(sql, args, func(row []any) error {
			page.Rows = append(page.Rows, append([]any(nil), row...))
			return nil
		})
	})
	if err != nil {
		return Page{}, fmt.Errorf("querying %s: %w", q.Relation, err)
	}
	return page, page.cut(rel, q.Limit)
}

func (p *Projector) relation(name string) (*serving, Relation, error) {
	for _, v := range Views() {
		for _, r := range v.Relations() {
			if r.Name == name {
				return p.live[v.Name()], r, nil
			}
		}
	}
	return nil, Relation{}, fmt.Errorf("%q: %w", name, ErrNoView)
}

// build writes the SELECT. Names come from the relation, never from the caller.
func (q Query) build(rel Relation) (sql string, args []any, err error) {
	inner, outer, outerArgs := "", []string{"true"}, []any(nil)
	for _, name := range slices.Sorted(maps.Keys(q.Where)) {
		if cond, ok := rel.Filters[name]; ok {
			inner, args = inner+" AND ("+cond+")", append(args, q.Where[name])
			continue
		}
		if !slices.Contains(rel.Columns, name) {
			return "", nil, fmt.Errorf("no column %q: %w", name, ErrQuery)
		}
		outer, outerArgs = append(outer, `"`+name+`" = ?`), append(outerArgs, q.Where[name])
	}
	key := quoted(rel.Columns[:rel.Key])
	if q.Cursor != "" {
		last, err := decodeCursor(q.Cursor, rel.Key)
		if err != nil {
			return "", nil, err
		}
		outer = append(outer, "("+key+") > ("+strings.TrimSuffix(strings.Repeat("?, ", rel.Key), ", ")+")")
		outerArgs = append(outerArgs, last...)
	}
	sql = "SELECT " + quoted(rel.Columns) + " FROM (" + strings.Replace(rel.Select, Where, inner, 1) + ") AS v WHERE " +
		strings.Join(outer, " AND ") + " ORDER BY " + key + fmt.Sprintf(" LIMIT %d", q.Limit+1)
	return sql, append(args, outerArgs...), nil
}

// cut removes the row beyond the limit, which only told that there is one.
func (p *Page) cut(rel Relation, limit int) error {
	if len(p.Rows) <= limit {
		return nil
	}
	p.Rows = p.Rows[:limit]
	b, err := json.Marshal(p.Rows[limit-1][:rel.Key])
	if err != nil {
		return fmt.Errorf("encoding a cursor: %w", err)
	}
	p.Next = base64.RawURLEncoding.EncodeToString(b)
	return nil
}

func decodeCursor(s string, n int) ([]any, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("cursor: %w", ErrQuery)
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var key []any
	if err := d.Decode(&key); err != nil || len(key) != n {
		return nil, fmt.Errorf("cursor: %w", ErrQuery)
	}
	for i, v := range key {
		if key[i], err = cursorValue(v); err != nil {
			return nil, err
		}
	}
	return key, nil
}

func cursorValue(v any) (any, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, nil
		}
	}
	return nil, fmt.Errorf("cursor: %w", ErrQuery)
}
