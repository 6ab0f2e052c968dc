package vault_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/keytest"
	"github.com/lethe-ledger/lethe/keys/vault"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// TestMain lets more cases run at once than there are processors, since they wait
// for Vault, and collects garbage less often, since there is little that stays.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// TestContract: the whole suite, on both storages. On raft, where a write goes
// through its log and its database, the random lives are fewer.
func TestContract(t *testing.T) {
	for _, storage := range []string{vaulttest.InMemory, vaulttest.Raft} {
		t.Run(storage, func(t *testing.T) {
			if storage == vaulttest.Raft {
				lives := flag.Lookup("rapid.checks").Value.String()
				must(t, flag.Set("rapid.checks", "15"))
				t.Cleanup(func() { must(t, flag.Set("rapid.checks", lives)) })
			}
			s := vaulttest.Start(t, vaulttest.Options{Storage: storage, Unsynced: true})
			places := newLedgers(t, s)
			keytest.Run(t, places.open)
		})
	}
}

// settled answers what blocks there are when no AddBlock is under way: a block is
// listed from its last write on, a moment before AddBlock returns, and the suite
// takes what is listed for acknowledged.
type settled struct {
	*vault.Custodian
	adding sync.RWMutex
}

func (s *settled) AddBlock(ctx context.Context, id domain.BlockID, issued time.Time, b *seal.Block) error {
	s.adding.RLock()
	defer s.adding.RUnlock()
	return s.Custodian.AddBlock(ctx, id, issued, b)
}

func (s *settled) EachBlock(ctx context.Context, each func(domain.BlockID, time.Time) bool) error {
	s.adding.Lock()
	defer s.adding.Unlock()
	return s.Custodian.EachBlock(ctx, each)
}

// ledgers are many ledgers on one server, one for each place.
type ledgers struct {
	server *vaulttest.Server
	admin  *api.Client

	mu    sync.Mutex // guards names
	names map[string]domain.LedgerID
}

func newLedgers(t testing.TB, s *vaulttest.Server) *ledgers {
	t.Helper()
	return &ledgers{server: s, admin: adminOf(t, s), names: map[string]domain.LedgerID{}}
}

func adminOf(t testing.TB, s *vaulttest.Server) *api.Client {
	t.Helper()
	config := api.DefaultConfig()
	config.Address = s.Addr
	a, err := api.NewClient(config)
	must(t, err)
	a.SetToken(s.RootToken)
	t.Cleanup(config.HttpClient.CloseIdleConnections)
	return a
}

func (l *ledgers) open(place string) (keys.Custodian, error) {
	l.mu.Lock()
	name, known := l.names[place]
	if !known {
		name = domain.LedgerID(fmt.Sprintf("t%d", len(l.names)))
		l.names[place] = name
	}
	l.mu.Unlock()
	if !known {
		if err := vault.Init(context.Background(), l.admin, small(name)); err != nil {
			return nil, err
		}
	}
	c, err := vault.Open(context.Background(), optionsFor(l.server, name))
	if err != nil {
		return nil, err
	}
	return &settled{Custodian: c}, nil
}

// small is a ledger of a few tables, so that they are shared.
func small(l domain.LedgerID) vault.InitOptions {
	return vault.InitOptions{Ledger: l, Directory: 3, Records: 2, Clock: time.Now}
}

func optionsFor(s *vaulttest.Server, l domain.LedgerID) vault.Options {
	return vault.Options{
		Address: s.Addr, Ledger: l, Clock: time.Now, Auth: vault.Token{Read: func() (string, error) { return s.RootToken, nil }},
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
