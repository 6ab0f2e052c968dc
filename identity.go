package lethe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
)

// identityDocument is the custodian's note of which ledger its keys belong to.
const identityDocument = "ledger"

// An identity is what a data directory says of itself.
type identity struct {
	Ledger  domain.LedgerID `json:"ledger"`
	Journal string          `json:"journal"`
}

// ErrOtherLedger says that a configuration names another ledger than the
// directory holds.
var ErrOtherLedger = errors.New("the data directory holds another ledger")

// ExistingConfig opens the ledger that stands in dir as it is: its own name, its
// own policy, its own journal. It is for commands that find no running server.
func ExistingConfig(dir string) *Config {
	c := DefaultConfig()
	c.SetData(dir)
	c.adopt = true
	return c
}

// identify compares the directory with the configuration, and notes a new
// ledger's name before anything is sealed under it.
func (l *Lethe) identify(ctx context.Context) error {
	value, version, err := l.custodian.Document(ctx, identityDocument)
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return fmt.Errorf("reading which ledger this is: %w", err)
	}
	want := identity{Ledger: l.cfg.Ledger, Journal: l.cfg.Journal.Path}
	if err == nil {
		var have identity
		if err := json.Unmarshal(value, &have); err != nil {
			return fmt.Errorf("reading which ledger this is: %w", err)
		}
		if l.cfg.adopt {
			l.cfg.Ledger, l.cfg.Journal.Path = have.Ledger, have.Journal
			return nil
		}
		if have.Ledger != want.Ledger {
			return fmt.Errorf("%w: %s holds %q, the configuration says %q; name another directory with --data, or the ledger that it holds", ErrOtherLedger, l.cfg.Data, have.Ledger, want.Ledger)
		}
		if have == want {
			return nil
		}
	}
	b, err := json.Marshal(want)
	if err != nil {
		return fmt.Errorf("encoding which ledger this is: %w", err)
	}
	if _, err := l.custodian.PutDocument(ctx, identityDocument, version, b); err != nil {
		return fmt.Errorf("noting which ledger this is: %w", err)
	}
	return nil
}
