package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/lethe-ledger/lethe/domain"
)

// classify tells damage from outage: what SQLite cannot do now (busy, disk full,
// input or output failed) is unavailable; a statement it does not understand is
// neither, and passes through.
func classify(err error) error {
	var e *sqlite.Error
	if err == nil || errors.Is(err, context.Canceled) || !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_FORMAT:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_CANTOPEN, lib.SQLITE_NOMEM, lib.SQLITE_READONLY:
		return fmt.Errorf("%w: %w", domain.ErrUnavailable, err)
	}
	return err
}

// noTransaction: SQLite rolled back by itself when a statement failed.
func noTransaction(err error) bool {
	return strings.Contains(err.Error(), "no transaction is active")
}
