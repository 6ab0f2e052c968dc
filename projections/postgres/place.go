package postgres

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// A place names the schemas of one set of views: the base holds the catalogue
// and the lead, and every generation has a schema of its own.
type place string

// placeForm leaves room for a view and a number in 63 bytes.
var placeForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,29}$`)

func (p place) table(name string) string { return pgx.Identifier{string(p), name}.Sanitize() }

func (p place) schema(view string, number int) string {
	return string(p) + "_" + view + "_" + strconv.Itoa(number)
}

// refusedName is where a generation that was refused is kept.
func (p place) refusedName(view string, number int) string {
	return p.schema(view, number) + "_refused"
}

// number reads a schema's name back; false for what is no generation of view.
func (p place) number(view, schema string) (int, bool) {
	prefix := string(p) + "_" + view + "_"
	if len(schema) <= len(prefix) || schema[:len(prefix)] != prefix {
		return 0, false
	}
	n, err := strconv.Atoi(schema[len(prefix):])
	return n, err == nil && n > 0
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// lockKey is the advisory lock of a name; whoever holds it works on that.
func lockKey(name string) int64 {
	sum := sha256.Sum256([]byte("lethe views\x00" + name))
	return int64(binary.BigEndian.Uint64(sum[:8])) //nolint:gosec // any 64 bits will do
}

// baseTables hold which generation of each view serves, the last number given
// out, and who keeps the views.
func (p place) baseTables() []string {
	return []string{
		"CREATE SCHEMA IF NOT EXISTS " + quote(string(p)),
		fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (view text COLLATE "C" PRIMARY KEY, serves integer, last integer NOT NULL)`, p.table("catalogue")),
		fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (one integer PRIMARY KEY CHECK (one = 1), holder text NOT NULL, name text NOT NULL, until timestamptz NOT NULL)`, p.table("lead")),
		fmt.Sprintf(`INSERT INTO %s VALUES (1, '', '', '-infinity') ON CONFLICT DO NOTHING`, p.table("lead")),
	}
}
