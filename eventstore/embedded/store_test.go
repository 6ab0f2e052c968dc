package embedded

import (
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
)

func mustOpen(t *testing.T, dir string, opt Options) *Store {
	t.Helper()
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	opt.Logf = t.Logf
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	storetest.Run(t, storetest.Engine{
		Open: func(t *testing.T) eventstore.Store { return mustOpen(t, t.TempDir(), Options{}) },
		Reopen: func(t *testing.T, s eventstore.Store) eventstore.Store {
			mustClose(t, s.(*Store))
			return mustOpen(t, s.(*Store).dir, Options{})
		},
	})
}
