package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/postgres"
	"github.com/lethe-ledger/lethe/projections/postgres/pgtest"
)

func TestWhatKeepsAnEngineFromOpening(t *testing.T) {
	url := database(t)
	guarded := shared.URL("postgres", "guarded")
	for _, c := range []struct {
		name, url, schema string
		want              error
	}{
		{"a good address", url, "", nil},
		{"the right password", withPassword(guarded, pgtest.Password), "", nil},
		{"a wrong password", withPassword(guarded, "hunter2"), "", postgres.ErrLogin},
		{"no password", guarded, "", postgres.ErrLogin},
		{"a role that is none", shared.URL("postgres", "nobody"), "", postgres.ErrLogin},
		{"a missing database", shared.URL("missing", ""), "", postgres.ErrDatabase},
		{"another encoding", shared.URL("latin", ""), "", postgres.ErrSetting},
		{"a role that may not create schemas", strings.Replace(url, "postgres@", "bare@", 1), "denied", postgres.ErrDenied},
		{"no server", "postgres://postgres@127.0.0.1:1/x?sslmode=disable", "", domain.ErrUnavailable},
		{"no address", "", "", postgres.ErrAddress},
		{"something else", "esdb://user:hunter2@localhost:2113", "", postgres.ErrAddress},
		{"a schema that is none", url, "Bad-Name", postgres.ErrAddress},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := postgres.Open(t.Context(), c.url, postgres.Options{Schema: c.schema})
			if err == nil {
				check(t, e.Close())
			}
			if !errors.Is(err, c.want) {
				t.Fatalf("opened with %v, want %v", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("the error holds the password: %v", err)
			}
			t.Log(err)
		})
	}
}

func withPassword(url, password string) string {
	return strings.Replace(url, "guarded@", "guarded:"+strings.ReplaceAll(password, " ", "%20")+"@", 1)
}

func TestAServerThatIsTooOldIsRefused(t *testing.T) {
	url := database(t)
	db, err := pgx.Connect(t.Context(), url)
	check(t, err)
	defer func() { check(t, db.Close(context.Background())) }()
	// A function found before the system's own says what an old server would.
	for _, s := range []string{
		"CREATE SCHEMA old",
		"CREATE FUNCTION old.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT CASE $1 WHEN 'server_version_num' THEN '130015' ELSE pg_catalog.current_setting($1) END $$",
	} {
		_, err := db.Exec(t.Context(), s)
		check(t, err)
	}
	if _, err := postgres.Open(t.Context(), url+"&search_path=old,pg_catalog", postgres.Options{}); !errors.Is(err, postgres.ErrTooOld) {
		t.Fatalf("opened version 13 with %v", err)
	}
}

// generations counts the schemas of generations in a database.
func generations(t *testing.T, url string) (n int) {
	t.Helper()
	db, err := pgx.Connect(context.Background(), url)
	check(t, err)
	defer func() { check(t, db.Close(context.Background())) }()
	check(t, db.QueryRow(context.Background(), `SELECT count(*) FROM pg_namespace WHERE nspname ~ '^lethe_[a-z]+_[0-9]+$'`).Scan(&n))
	return n
}

// TestWhatAnotherProcessBuildsStays: opening removes only what nobody builds.
func TestWhatAnotherProcessBuildsStays(t *testing.T) {
	url := database(t)
	a, b := engine(t, url), engine(t, url)
	view := projections.Views()[0]
	live, err := a.Open(t.Context(), view)
	check(t, err)
	defer live.Close()
	built, err := a.Create(t.Context(), view)
	check(t, err)
	other, err := b.Open(t.Context(), view)
	check(t, err)
	check(t, other.Close())
	if n := generations(t, url); n != 2 {
		t.Fatalf("%d generations while one is being built, want 2", n)
	}
	check(t, built.Close()) // as when its process ends
	other, err = b.Open(t.Context(), view)
	check(t, err)
	check(t, other.Close())
	if n := generations(t, url); n != 1 {
		t.Fatalf("%d generations, want the one that serves", n)
	}
}

// TestWhatNoLongerServesIsNotWritten: a projector that missed a swap commits to
// the generation that it read, which somebody still reads.
func TestWhatNoLongerServesIsNotWritten(t *testing.T) {
	url := database(t)
	a, b := engine(t, url), engine(t, url)
	view := projections.Views()[0]
	old, err := b.Open(t.Context(), view)
	check(t, err)
	defer old.Close()
	next, err := a.Create(t.Context(), view)
	check(t, err)
	served, err := a.Swap(t.Context(), map[string]projections.View{view.Name(): view}, map[string]projections.Generation{view.Name(): next})
	check(t, err)
	defer served[view.Name()].Close()
	from := projections.Checkpoint{Generation: old.Number()}
	to := from
	to.Position = domain.Position{Commit: 1, Prepare: 1}
	var none projections.Changes
	if err := old.Commit(t.Context(), from, to, &none); !errors.Is(err, projections.ErrActive) {
		t.Fatalf("while it is still there: %v", err)
	}
	check(t, a.Drop(view.Name(), next))
	if err := old.Commit(t.Context(), from, to, &none); !errors.Is(err, projections.ErrActive) {
		t.Fatalf("when it is gone: %v", err)
	}
	if at, err := old.Checkpoint(t.Context()); err != nil || at.Generation != next.Number() || at.Position != domain.Start {
		t.Fatalf("the old handle reads %+v, %v", at, err)
	}
}

func TestAViewWhoseTablesAreGoneIsDamaged(t *testing.T) {
	url := database(t)
	e := engine(t, url)
	view := projections.Views()[0]
	g, err := e.Open(t.Context(), view)
	check(t, err)
	check(t, g.Close())
	db, err := pgx.Connect(t.Context(), url)
	check(t, err)
	_, err = db.Exec(t.Context(), "DROP TABLE lethe_connections_1.connections_buckets CASCADE")
	check(t, errors.Join(err, db.Close(t.Context())))
	if _, err := e.Open(t.Context(), view); !errors.Is(err, postgres.ErrDamaged) {
		t.Fatalf("opened a view without its tables: %v", err)
	}
}

func TestAViewThatDiffersIsNotSwapped(t *testing.T) {
	url := database(t)
	h := history(2)
	h.Steps(300)
	p := projector(t, h, engine(t, url))
	check(t, p.CatchUp(t.Context()))
	db, err := pgx.Connect(t.Context(), url)
	check(t, err)
	_, err = db.Exec(t.Context(), "UPDATE lethe_pools_1.pools_rows SET messages = messages + 1")
	check(t, errors.Join(err, db.Close(t.Context())))
	_, err = p.Rebuild(t.Context(), nil)
	if !errors.Is(err, projections.ErrDiffers) || !strings.Contains(err.Error(), "lethe_pools_2_refused") {
		t.Fatalf("a view that was edited was rebuilt with %v", err)
	}
	status, err := p.Status(t.Context())
	check(t, err)
	if status[0].Generation != 1 {
		t.Fatalf("generation %d serves after a refusal", status[0].Generation)
	}
	h.Steps(10)
	check(t, p.CatchUp(t.Context()))
}
