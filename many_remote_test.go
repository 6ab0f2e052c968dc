package lethe

import (
	"encoding/hex"
	"os"
	"testing"

	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
)

// realServer is the environment variable with the URL of an EventStoreDB to run
// the main job on, instead of the protocol server in this process.
const realServer = "LETHE_TEST_ESDB"

// A remoteLog is a ledger's place on a server that may hold other ledgers.
type remoteLog struct {
	url    string
	ledger domain.LedgerID
}

// logElsewhere is the server of the environment, else one of this test. The ledger
// has a name that no run before had: what those wrote is still there.
func logElsewhere(t *testing.T) remoteLog {
	t.Helper()
	url := os.Getenv(realServer)
	if url == "" {
		url = logServer(t).URL()
	}
	id := uuid.New()
	return remoteLog{url: url, ledger: domain.LedgerID("t" + hex.EncodeToString(id[:7]))}
}

func (l remoteLog) config(t *testing.T, dir, up string) *Config {
	t.Helper()
	c := testConfig(t, dir, up)
	c.Ledger = l.ledger
	c.Store = StoreConfig{Engine: storeEventStoreDB, URL: l.url}
	return c
}
