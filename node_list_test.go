package lethe

import (
	"errors"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// states are the states of nodes by writer.
func states(t *testing.T, l *Lethe) map[string]string {
	t.Helper()
	list, err := l.Nodes(t.Context(), legal)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, n := range list.Nodes {
		all[n.Writer] = n.State
	}
	return all
}

// TestALostNodeIsRetiredByTwoPrincipals on one machine and on a shared log.
func TestALostNodeIsRetiredByTwoPrincipals(t *testing.T) {
	operator := api.Caller{Principal: "ops", Role: api.RoleOperator, Purpose: "a disk was lost"}
	clock := &shift{} // also the log's
	for what, config := range map[string]func() *Config{
		"one machine": func() *Config { return testConfig(t, t.TempDir(), upstream(t)) },
		"shared log": func() *Config {
			return remoteConfig(t, t.TempDir(), upstream(t), esdbtest.Start(t, esdbtest.Options{Clock: clock.now}))
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := serveWith(t, config(), clock.options(t))
			lost, err := r.ledger.OpenNode(t.Context()) // of a process that never ends
			if err != nil {
				t.Fatal(err)
			}
			writer := lost.Writer().String()
			retire := func(c api.Caller, code string) api.NodeRetirement {
				t.Helper()
				result, err := r.NodeRetire(t.Context(), c, writer)
				var said *api.Error
				if errors.As(err, &said); (err == nil) != (code == "") || err != nil && said.Code != code {
					t.Fatalf("as %s: %+v, %v, want %q", c.Principal, result, err, code)
				}
				return result
			}
			retire(legal, api.CodeRefused)
			clock.pass(25 * time.Hour)
			if s := r.shared; s != nil {
				if err := s.times.Compare(t.Context()); err != nil { // a jump
					t.Fatal(err)
				}
			}
			if err := r.edge.Load().node.Time(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s := states(t, r.Lethe); s[writer] != api.NodeSilent || s[r.edge.Load().node.Writer().String()] != api.NodeOpen {
				t.Errorf("states %v", s)
			}
			if got := retire(legal, api.CodeRefused); got.State != api.NodeNamed || got.Until == "" {
				t.Errorf("named: %+v", got)
			}
			retire(legal, api.CodeRefused)
			if got := retire(operator, ""); got.State != api.NodeRetired || got.From == "" || got.To == "" {
				t.Errorf("retired: %+v", got)
			}
			retire(legal, "")
			if s := states(t, r.Lethe); s[writer] != api.NodeRetired {
				t.Errorf("states %v", s)
			}
			writer = domain.New[domain.WriterID]().String()
			retire(legal, api.CodeNotFound)
			writer = "ada"
			retire(legal, api.CodeUsage)
			await(t, "the gap in the views", func() bool {
				page, err := r.Query(t.Context(), legal, "pools", "", 0)
				if err != nil {
					t.Fatal(err)
				}
				for _, row := range page.Rows {
					if row[0] == "-" {
						return true
					}
				}
				return false
			})
		})
	}
}

// TestACommandWithoutServerRetires under notes of its own, which end with it.
func TestACommandWithoutServerRetires(t *testing.T) {
	c := testConfig(t, t.TempDir(), upstream(t))
	clock := &shift{}
	l, err := Open(t.Context(), c, clock.options(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close(t.Context()) }()
	lost, err := l.ledger.OpenNode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	clock.pass(25 * time.Hour)
	if _, err := l.NodeRetire(t.Context(), legal, lost.Writer().String()); err == nil {
		t.Fatal("retired by one")
	}
	other := legal
	other.Principal = localPrincipal
	if _, err := l.NodeRetire(t.Context(), other, lost.Writer().String()); err != nil {
		t.Fatal(err)
	}
	s := states(t, l)
	closed := 0
	for _, state := range s {
		if state == api.NodeClosed {
			closed++
		}
	}
	if s[lost.Writer().String()] != api.NodeRetired || closed != len(s)-1 {
		t.Errorf("states %v", s)
	}
}
