package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
)

// What an operator has to put right. Open reports each; a server that is only
// away matches domain.ErrUnavailable instead.
var (
	ErrAddress  = errors.New("not an address of a PostgreSQL server")
	ErrLogin    = errors.New("PostgreSQL refused the login")
	ErrDatabase = errors.New("there is no such database on the PostgreSQL server")
	ErrTooOld   = errors.New("the PostgreSQL server is too old")
	ErrSetting  = errors.New("the PostgreSQL server is set up in a way that cannot keep views")
	// ErrDenied says what the role lacks: CREATE on the database, or the ownership of
	// what another role made.
	ErrDenied = errors.New("the role of the views lacks a privilege on the PostgreSQL server")
	// ErrDamaged says that a view's tables are not what was written. The remedy is to
	// drop the schemas of the views and start again: they are rebuilt from the log.
	ErrDamaged = errors.New("tables of a view are damaged")
)

// Conditions that are told apart; the list is appendix A of PostgreSQL's manual.
const (
	undefinedTable   = "42P01"
	lockNotAvailable = "55P03"
	noDatabase       = "3D000"
	wrongPassword    = "28P01"
	wrongLogin       = "28000"
	denied           = "42501"
	readOnly         = "25006"
)

// code is the server's condition; empty where it answered none.
func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// classify sorts what a call of the server failed with. What the server cannot do
// now, and a connection that broke, is unavailable; a statement that it does not
// understand is not, and passes through.
func classify(err error) error {
	if err == nil || isSorted(err) {
		return err
	}
	if errors.Is(err, pgx.ErrNoRows) { // a row that is there from the start
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	c := code(err)
	switch c {
	case "", readOnly, lockNotAvailable:
		return unavailable(err)
	case denied:
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	switch c[:2] {
	case "XX":
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case "08", "25", "28", "3D", "40", "53", "57", "58":
		// Connection, state of the transaction, conflict, resources, operator, system;
		// login and database, which were good when the engine was opened.
		return unavailable(err)
	}
	return err
}

// isSorted: the error says by itself what it is.
func isSorted(err error) bool {
	for _, known := range []error{context.Canceled, domain.ErrUnavailable, projections.ErrActive, ErrDamaged, errValue} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", domain.ErrUnavailable, err) }
