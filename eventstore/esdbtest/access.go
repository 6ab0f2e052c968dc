package esdbtest

import "context"

// An Account can log in.
type Account struct {
	Name, Password string
	Groups         []string
}

type users struct{ accounts []Account }

func newUsers(a []Account) *users { return &users{a} }

func (s *Server) authorize(context.Context, Call) error { return nil }
