package lethe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	"github.com/lxzan/gws"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/keys/vault"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// A site is a log, a Vault and a database that several processes share.
type site struct {
	t         *testing.T
	log       *esdbtest.Server
	vault     *vaulttest.Server
	admin     *vaultapi.Client
	views     string // address of a database; empty: SQLite in each process
	upstream  string
	tokenFile string
}

func newSite(t *testing.T, storage string) *site {
	t.Helper()
	s := &site{t: t, vault: vaulttest.Start(t, vaulttest.Options{Storage: storage}), log: logServer(t), upstream: upstream(t)}
	cfg := vaultapi.DefaultConfig()
	cfg.Address = s.vault.Addr
	admin, err := vaultapi.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	admin.SetToken(s.vault.RootToken)
	s.admin = admin
	err = vault.Init(t.Context(), admin, vault.InitOptions{Ledger: "main", Directory: 8, Records: 8, AppRoles: true, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	s.tokenFile = filepath.Join(t.TempDir(), "token")
	s.newToken()
	return s
}

// newToken makes a token of the role that may do everything here, and puts it where
// the processes read it. It returns how Vault names it to who may revoke it.
func (s *site) newToken() (accessor string) {
	s.t.Helper()
	token, err := s.admin.Auth().Token().CreateWithContext(s.t.Context(), &vaultapi.TokenCreateRequest{
		Policies: []string{"lethe-main-eraser"}, TTL: "1h",
	})
	if err == nil {
		err = os.WriteFile(s.tokenFile, []byte(token.Auth.ClientToken+"\n"), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return token.Auth.Accessor
}

// config is that of one process with a directory of its own.
func (s *site) config(dir string) *Config {
	c := remoteConfig(s.t, dir, s.upstream, s.log)
	c.Keys = KeysConfig{Custodian: keysVault, Address: s.vault.Addr, Auth: &VaultAuthConfig{TokenFile: s.tokenFile}}
	if s.views != "" {
		c.Views = ViewsConfig{Engine: viewsPostgres, URL: s.views}
	}
	return c
}

// TestTheMainJobOnEverythingBeyondOneMachine is the whole walk on EventStoreDB,
// Vault and PostgreSQL.
func TestTheMainJobOnEverythingBeyondOneMachine(t *testing.T) {
	t.Parallel()
	s := newSite(t, "raft")
	s.views = viewServer(t)
	dir := t.TempDir()
	mainJob(t, func() *Config { return s.config(dir) })
}

// TestTwoGatewaysAreOneLedger: the same person on two gateways has one ref; an
// erasure on one ends the sockets on both, opens nowhere, and stands in both
// journals.
func TestTwoGatewaysAreOneLedger(t *testing.T) {
	t.Parallel()
	s := newSite(t, "inmem")
	dirs := []string{t.TempDir(), t.TempDir()}
	one, two := serve(t, s.config(dirs[0])), serve(t, s.config(dirs[1]))
	ada := []*client{dial(t, one.Gateway, "ada"), dial(t, two.Gateway, "ada")}
	bob := dial(t, two.Gateway, "bob")
	var talking sync.WaitGroup
	for _, c := range ada {
		talking.Go(func() { c.talk(t, 100) })
	}
	talking.Wait()
	bob.talk(t, 10)
	for i, r := range []*running{one, two} {
		await(t, fmt.Sprint("400 records of ada, seen by gateway ", i), func() bool {
			return records(r.show(t, "ada"), "messages", "present") == 400
		})
	}
	done, err := one.Erase(t.Context(), legal, api.EraseRequest{ID: "ada"})
	if err != nil || done.State != "keys-destroyed" {
		t.Fatal(done, err)
	}
	for i, c := range ada {
		select {
		case err := <-c.closed:
			var closed *gws.CloseError
			if !asClose(err, &closed) || closed.Code != 4410 {
				t.Errorf("socket %d closed with %v", i, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("socket %d lives on", i)
		}
	}
	for i, r := range []*running{one, two} {
		if show := r.show(t, "ada"); show.Subject.State != "unknown" {
			t.Errorf("gateway %d knows %+v", i, show)
		}
	}
	file, err := two.Receipt(t.Context(), legal, done.Receipt.ID)
	if err != nil || !file.Valid {
		t.Errorf("the receipt, asked of the other gateway: %+v, %v", file, err)
	}
	if receipt, err := domain.DecodeReceipt(file.Receipt); err != nil || receipt.Mirrors != "journal in the log and in the files of two nodes" {
		t.Errorf("the receipt says %q, %v", receipt.Mirrors, err)
	}
	var journals []string
	for _, r := range []*running{one, two} {
		b, err := os.ReadFile(r.cfg.Journal.Path)
		if err != nil {
			t.Fatal(err)
		}
		journals = append(journals, string(b))
	}
	if journals[0] != journals[1] || journals[0] == "" {
		t.Errorf("the journals differ: %d and %d bytes", len(journals[0]), len(journals[1]))
	}
	bob.talk(t, 5)
	await(t, "bob unharmed", func() bool { return records(one.show(t, "bob"), "messages", "present") == 30 })
	sameAsRebuilt(t, one)
	sameAsRebuilt(t, two)
}

// TestVaultIsAwayDuringTraffic: sealed, killed or with the token revoked. Who is
// known goes on being recorded, a new person is refused, and nothing reads erased.
//
// Proves: INV-9
func TestVaultIsAwayDuringTraffic(t *testing.T) {
	t.Parallel()
	for _, trouble := range []struct {
		name, storage string
		begin         func(s *site, accessor string)
		end           func(*site)
	}{
		{"sealed", "inmem", func(s *site, _ string) { s.vault.Seal() }, func(s *site) { s.vault.Unseal() }},
		{"killed", "raft", func(s *site, _ string) { s.vault.Kill() }, func(s *site) { s.vault.Restart() }},
		{"revoked", "inmem", func(s *site, accessor string) {
			if err := s.admin.Auth().Token().RevokeAccessorWithContext(s.t.Context(), accessor); err != nil {
				s.t.Fatal(err)
			}
		}, func(s *site) { s.newToken() }},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, trouble.storage)
			accessor := s.newToken()
			s.recordsAllTheSame(serve(t, s.config(t.TempDir())), func() { trouble.begin(s, accessor) }, func() { trouble.end(s) })
		})
	}
}

func (s *site) recordsAllTheSame(r *running, begin, end func()) {
	t := s.t
	t.Helper()
	ada := dial(t, r.Gateway, "ada")
	ada.talk(t, 50)
	await(t, "100 records", func() bool { return records(r.show(t, "ada"), "messages", "present") == 100 })
	begin()
	ada.talk(t, 50)
	if c, _, err := gws.NewClient(&client{}, &gws.ClientOption{Addr: r.Gateway + "/?user=eve"}); err == nil {
		_ = c.NetConn().Close()
		t.Error("a new person is taken while there are no keys for them")
	}
	if show, err := r.SubjectShow(t.Context(), legal, "ada"); !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("while Vault is away: %+v, %v", show, err)
	}
	end()
	await(t, "200 records", func() bool {
		show, err := r.SubjectShow(t.Context(), legal, "ada")
		return err == nil && records(show, "messages", "present") == 200
	})
	await(t, "a new person", func() bool {
		c, _, err := gws.NewClient(&client{}, &gws.ClientOption{Addr: r.Gateway + "/?user=eve"})
		if err == nil {
			_ = c.NetConn().Close()
		}
		return err == nil
	})
}
