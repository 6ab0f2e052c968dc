package lethe

import (
	"context"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/eventstore/esdb"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// InitStore makes the accounts and rights of the configuration's EventStoreDB, as
// admin, and says what it changed, one sentence each; called again it changes
// nothing. With print it only says what it would make sure of, and asks nobody.
func (c *Config) InitStore(ctx context.Context, admin, passwordFile string, print bool) ([]string, error) {
	if c.Store.Engine != storeEventStoreDB {
		return nil, api.Usage("store.engine is " + c.Store.Engine + ": there is no EventStoreDB to prepare")
	}
	to, err := c.Store.remote(c.Ledger)
	if err != nil {
		return nil, err
	}
	to.Clock = time.Now
	if print {
		return to.Plan()
	}
	password, err := secretFile(passwordFile)
	if err != nil {
		return nil, fmt.Errorf("password of %s: %w", admin, err)
	}
	return esdb.Init(ctx, to, esdb.Account{User: admin, Password: password})
}
