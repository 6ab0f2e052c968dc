package sqlite_test

import (
	"testing"

	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

func TestContract(t *testing.T) {
	viewtest.Run(t, func(t *testing.T) func() projections.Engine {
		dir := t.TempDir()
		return func() projections.Engine {
			e, err := sqlite.New(dir, sqlite.OS{})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
	})
}
