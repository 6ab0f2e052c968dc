package postgres_test

import (
	"testing"

	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

func TestContract(t *testing.T) {
	viewtest.Run(t, func(t *testing.T) func() projections.Engine {
		url := database(t)
		return func() projections.Engine { return engine(t, url) }
	})
}
