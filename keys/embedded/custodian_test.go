package embedded_test

import (
	"testing"

	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/embedded"
	"github.com/lethe-ledger/lethe/keys/keytest"
)

func TestContract(t *testing.T) {
	keytest.Run(t, func(place string) (keys.Custodian, error) {
		return embedded.Open(place, embedded.Options{})
	})
}
