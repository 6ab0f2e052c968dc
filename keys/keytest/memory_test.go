package keytest_test

import (
	"testing"

	"github.com/lethe-ledger/lethe/keys/keytest"
)

func TestMemory(t *testing.T) { keytest.Run(t, keytest.NewMemory().Open) }
