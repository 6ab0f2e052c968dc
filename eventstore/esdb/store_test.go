package esdb

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
)

var _ ledger.DisposalLog = (*Store)(nil)

// realServer is the environment variable with the URL of a server to run the
// contract suite against, instead of the one in this process.
const realServer = "LETHE_TEST_ESDB"

func configOf(t testing.TB, url string) Config {
	return Config{URL: url, Prefix: "lethe.", Clock: time.Now, Logf: t.Logf}
}

func mustOpen(t testing.TB, c Config) *Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestContract runs the contract suite, against a real server if there is one.
func TestContract(t *testing.T) {
	url := func(t *testing.T) string { return esdbtest.Start(t, esdbtest.Options{Clock: time.Now}).URL() }
	if real := os.Getenv(realServer); real != "" {
		url = func(*testing.T) string { return real }
	}
	storetest.Run(t, storetest.Engine{
		Open: func(t *testing.T) eventstore.Store { return mustOpen(t, quiet(configOf(t, url(t)))) },
		Reopen: func(t *testing.T, s eventstore.Store) eventstore.Store {
			c := s.(*Store).Config
			mustClose(t, s.(*Store))
			return mustOpen(t, c)
		},
	})
}

// quiet keeps a store that outlives its sub-test from logging there.
func quiet(c Config) Config {
	c.Logf = nil
	return c
}
