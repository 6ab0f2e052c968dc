package lethe

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/projections/postgres/pgtest"
)

// viewServer is a database for views; where there is no server to start the test
// is skipped.
func viewServer(t *testing.T) string {
	t.Helper()
	s, err := pgtest.New(t.Context())
	if errors.Is(err, pgtest.ErrMissing) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	})
	name, err := s.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestTheMainJobWithViewsInPostgreSQL is the same walk with the log and the views
// beyond this machine.
func TestTheMainJobWithViewsInPostgreSQL(t *testing.T) {
	t.Parallel()
	dir, up, log, database := t.TempDir(), upstream(t), logServer(t), viewServer(t)
	mainJob(t, func() *Config {
		c := remoteConfig(t, dir, up, log)
		c.Views = ViewsConfig{Engine: viewsPostgres, URL: database}
		return c
	})
}

// TestRebuildWhereAnotherKeepsTheViews: who is asked says who can do it.
func TestRebuildWhereAnotherKeepsTheViews(t *testing.T) {
	t.Parallel()
	site := newSite(t, "inmem")
	site.views = viewServer(t)
	c := site.config(t.TempDir())
	nodes := []*running{serve(t, c), serve(t, site.config(t.TempDir()))}
	operator, refused := api.Caller{Principal: "ops", Role: api.RoleOperator}, 0
	for _, n := range nodes {
		var e *api.Error
		_, err := n.Rebuild(t.Context(), operator, nil, nil)
		switch {
		case errors.As(err, &e) && e.Code == api.CodeRefused && strings.Contains(e.Message, c.Admin.Address):
			refused++
		case err != nil:
			t.Error(err)
		}
	}
	if refused != 1 {
		t.Errorf("%d of two refused", refused)
	}
}
