package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/postgres"
	"github.com/lethe-ledger/lethe/projections/postgres/pgtest"
	"github.com/lethe-ledger/lethe/projections/sqlite"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// shared is the server of these tests, made once by TestMain; nil where none can be.
var shared *pgtest.Server

// TestMain is a process that keeps views where a test asks for one.
func TestMain(m *testing.M) {
	if os.Getenv(childURL) != "" {
		fmt.Println(child())
		os.Exit(1)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	switch shared, err = pgtest.New(context.Background()); {
	case errors.Is(err, pgtest.ErrMissing) && os.Getenv("CI") != "true":
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	default:
		defer func() { _ = shared.Remove() }()
	}
	return m.Run()
}

// database makes an empty database; where there is no server the test is skipped.
func database(t testing.TB) string {
	t.Helper()
	if shared == nil {
		t.Skip(pgtest.ErrMissing)
	}
	url, err := shared.Database(context.Background())
	check(t, err)
	return url
}

func options() projections.Options { return viewtest.Options() }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// engine opens an engine that the test closes after everything opened later.
func engine(t testing.TB, url string) *postgres.Engine {
	t.Helper()
	e, err := postgres.Open(context.Background(), url, postgres.Options{Lease: time.Second})
	check(t, err)
	t.Cleanup(func() { check(t, e.Close()) })
	return e
}

// projector opens a projector that the test closes.
func projector(t testing.TB, src projections.Source, e projections.Engine) *projections.Projector {
	t.Helper()
	p, err := projections.Open(context.Background(), src, e, options())
	check(t, err)
	t.Cleanup(func() { check(t, p.Close()) })
	return p
}

func history(seed uint64) *viewtest.History {
	r := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // reproducible on purpose
	return viewtest.NewHistory(r.IntN)
}

// digests of all views; they differ in position if the views do.
func digests(t testing.TB, p *projections.Projector) map[string]projections.Digest {
	t.Helper()
	all := map[string]projections.Digest{}
	for _, v := range projections.Views() {
		d, err := p.Digest(context.Background(), v.Name())
		check(t, err)
		all[v.Name()] = d
	}
	return all
}

// onSQLite are the digests that the other engine has of the whole log.
func onSQLite(t testing.TB, src projections.Source) map[string]projections.Digest {
	t.Helper()
	e, err := sqlite.New(t.TempDir(), sqlite.OS{})
	check(t, err)
	p := projector(t, src, e)
	check(t, p.CatchUp(context.Background()))
	return digests(t, p)
}

func same(t testing.TB, what string, got, want map[string]projections.Digest) {
	t.Helper()
	for name, d := range want {
		if got[name] != d {
			t.Errorf("%s: view %s is %+v, want %+v", what, name, got[name], d)
		}
	}
}
