package projections

import "github.com/lethe-ledger/lethe/domain"

// A Total counts what was disposed of, without refs.
type Total = domain.Total

// ParseTotal reads an entry of the totals of bucket.disposed and
// subject.disposed.
func ParseTotal(s string) (Total, error) { return domain.ParseTotal(s) }

// ErrFacts is said of a note whose facts do not read as its type promises.
var ErrFacts = domain.ErrFacts
