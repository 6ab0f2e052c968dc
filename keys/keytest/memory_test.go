package keytest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/lethe-ledger/lethe/keys/keytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) { keytest.Run(t, keytest.NewMemory().Open) }
