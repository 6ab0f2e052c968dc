package projections

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"github.com/lethe-ledger/lethe/domain"
)

// A Digest is SHA-256 over all rows of a view, in key order, at a position. Two
// generations at the same position have the same digest, or one of them is wrong.
type Digest struct {
	View     string          `json:"view"`
	Position domain.Position `json:"position"`
	Digest   string          `json:"digest"`
}

// digestOf hashes every table of a view in the order of its key, which needs no
// sorting and so no memory: what readers see is a function of the tables.
func digestOf(ctx context.Context, g Generation, v View) (d Digest, err error) {
	h := sha256.New()
	err = g.Snapshot(ctx, func(at Checkpoint, rows Rows) error {
		d.Position = at.Position
		for _, t := range v.Tables() {
			if err := hashRows(h, rows, t.Name, selectTable(t), len(t.Columns)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Digest{}, fmt.Errorf("digest of view %s: %w", v.Name(), err)
	}
	d.View, d.Digest = v.Name(), hex.EncodeToString(h.Sum(nil))
	return d, nil
}

func selectTable(t *Table) string {
	if t.Digest != "" {
		return t.Digest
	}
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return "SELECT " + quoted(names) + " FROM " + t.Name + " ORDER BY " + quoted(names[:t.keys])
}

// quoted lists column names; first and last are words of SQL.
func quoted(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }

func hashRows(h hash.Hash, rows Rows, name, query string, columns int) error {
	b := domain.AppendLPString(nil, name)
	b = binary.BigEndian.AppendUint32(b, uint32(columns)) //nolint:gosec // a few
	h.Write(b)
	return rows(query, nil, func(row []any) error {
		b = b[:0]
		for _, v := range row {
			b = appendValue(b, v)
		}
		h.Write(b)
		return nil
	})
}

// appendValue writes a value so that no two rows give the same bytes.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return domain.AppendLPString(append(b, 't'), v)
	case int64:
		return binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v)) //nolint:gosec // two's complement
	case nil:
		return append(b, 'n')
	}
	return domain.AppendLPString(append(b, '?'), fmt.Sprint(v))
}
