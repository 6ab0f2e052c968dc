package vault_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/vault"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// TestInit: done twice it changes nothing, another layout is refused, and the
// mounts are as the design needs them.
func TestInit(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	n := at.node()
	l := fill(t, n)
	before, err := n.Material(background())
	must(t, err)
	must(t, vault.Init(background(), at.admin, small(at.ledger)))
	after, err := n.Material(background())
	must(t, err)
	if after.Pepper != before.Pepper || !maps.Equal(after.Integrity, before.Integrity) {
		t.Fatal("the ledger's keys changed")
	}
	l.wantAnswers(t, n)

	other := small(at.ledger)
	other.Directory++
	wantErr(t, "another number of tables", vault.Init(background(), at.admin, other), vault.ErrSetup)

	_, err = vault.Open(background(), optionsFor(at.server, "other"))
	wantErr(t, "a ledger that was not initialised", err, vault.ErrSetup)

	_, err = at.admin.Logical().Write(vault.TransitMount+"/encrypt/nobody", map[string]any{"plaintext": "aGk="})
	if err == nil || !strings.Contains(err.Error(), "not found") {
		t.Fatalf("encrypting made a key: %v", err)
	}
	_, err = at.admin.Logical().Write(vault.KVMount+"/data/main/layout", map[string]any{"data": map[string]any{}})
	if err == nil || !strings.Contains(err.Error(), "check-and-set") {
		t.Fatalf("a document was written without compare-and-set: %v", err)
	}
	config, err := at.admin.Logical().Read(vault.KVMount + "/config")
	must(t, err)
	if v := config.Data["max_versions"].(interface{ String() string }).String(); v != "1" {
		t.Fatalf("%s versions are kept", v)
	}
}

// TestInitInterrupted: Init goes on wherever it was broken off.
func TestInitInterrupted(t *testing.T) {
	s := vaulttest.Start(t, vaulttest.Options{})
	for n, tries := 1, 0; ; n, tries = n+7, tries+1 {
		w := newWire()
		defer w.CloseIdleConnections()
		config := api.DefaultConfig()
		config.Address, config.HttpClient.Transport, config.MaxRetries = s.Addr, w, 0
		a, err := api.NewClient(config)
		must(t, err)
		a.SetToken(s.RootToken)
		w.fail(n, false)
		o := small(domain.LedgerID("l" + string(rune('a'+tries))))
		o.AppRoles = true
		err = vault.Init(background(), a, o)
		if err == nil {
			if tries < 3 {
				t.Fatal("Init has too few calls to be interrupted")
			}
			return
		}
		if tries > 25 {
			t.Fatalf("Init does not end: %v", err)
		}
		must(t, vault.Init(background(), a, o))
		c, err := vault.Open(background(), optionsFor(s, o.Ledger))
		must(t, err)
		_, err = c.Material(background())
		must(t, err)
		must(t, c.Close())
	}
}

// TestPlan: what is printed names every step and holds every policy.
func TestPlan(t *testing.T) {
	o := vault.InitOptions{Ledger: "shop", KV: "secrets", AppRoles: true, Clock: time.Now}
	plan, err := vault.Plan(o)
	must(t, err)
	for _, want := range []string{
		"mount transit at lethe-transit", "disable_upsert", "mount kv version 2 at secrets", "cas_required",
		"4096 tables", "AppRole", "policy lethe-shop-gateway", "policy lethe-shop-eraser", `path "secrets/data/shop/persons/+"`,
	} {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan does not say %q:\n%s", want, plan)
		}
	}
	for _, no := range []string{"/main/", "lethe-kv/"} {
		if strings.Contains(plan, no) {
			t.Errorf("the plan says %q", no)
		}
	}
	if _, err := vault.Plan(vault.InitOptions{Ledger: "NO", Clock: time.Now}); err == nil {
		t.Error("planned for a ledger without a valid id")
	}
}

// TestPolicyFiles: the policies that are shipped for reading are those that Init
// writes.
func TestPolicyFiles(t *testing.T) {
	for _, r := range vault.Roles() {
		want, err := vault.Policy(r, "main", "", "")
		must(t, err)
		got, err := os.ReadFile(filepath.Join("..", "..", "docs", "deploy", "vault", string(r)+".hcl"))
		must(t, err)
		if string(got) != want {
			t.Errorf("docs/deploy/vault/%s.hcl differs from keys/vault/policies", r)
		}
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "docs", "deploy", "vault", "*.hcl"))
	must(t, err)
	if len(files) != len(vault.Roles()) {
		t.Errorf("%d policies beside %d roles", len(files), len(vault.Roles()))
	}
}

// roleOf opens the custodian with a role's own AppRole.
func (s *site) roleOf(r, check vault.Role) (*vault.Custodian, error) {
	s.t.Helper()
	o := optionsFor(s.server, s.ledger)
	o.Auth, o.Role = s.appRole(r, false), check
	return vault.Open(background(), o)
}

func (s *site) appRole(r vault.Role, wrapped bool) *vault.AppRole {
	s.t.Helper()
	path := "auth/approle/role/lethe-" + string(s.ledger) + "-" + string(r)
	id, err := s.admin.Logical().Read(path + "/role-id")
	must(s.t, err)
	admin, err := s.admin.Clone()
	must(s.t, err)
	admin.SetToken(s.server.RootToken)
	if wrapped {
		admin.SetWrappingLookupFunc(func(string, string) string { return "60s" })
	}
	secret, err := admin.Logical().Write(path+"/secret-id", nil)
	must(s.t, err)
	given := ""
	if wrapped {
		given = secret.WrapInfo.Token
	} else {
		given = secret.Data["secret_id"].(string)
	}
	return &vault.AppRole{RoleID: id.Data["role_id"].(string), SecretID: func() (string, error) { return given, nil }, Wrapped: wrapped}
}

func withRoles(t *testing.T) *site {
	t.Helper()
	at := newSite(t, vaulttest.InMemory)
	o := small(at.ledger)
	o.AppRoles = true
	must(t, vault.Init(background(), at.admin, o))
	return at
}

// TestRoles: each role's token is taken for that role and for no other, and the
// root's for none.
func TestRoles(t *testing.T) {
	at := withRoles(t)
	for _, have := range []vault.Role{vault.Gateway, vault.Eraser, vault.Auditor} {
		for _, want := range []vault.Role{vault.Gateway, vault.Eraser, vault.Auditor} {
			c, err := at.roleOf(have, want)
			if have == want {
				must(t, err)
				must(t, c.Close())
				continue
			}
			wantErr(t, "the token of "+string(have)+" as "+string(want), err, vault.ErrRefused)
		}
	}
	o := optionsFor(at.server, at.ledger)
	o.Role = vault.Gateway
	_, err := vault.Open(background(), o)
	wantErr(t, "the root's token", err, vault.ErrRefused)
	o.Role = "janitor"
	if _, err = vault.Open(background(), o); err == nil {
		t.Fatal("opened in a role that is none")
	}
}

// TestRoleLimits: the policies let each role do its work and nothing else.
func TestRoleLimits(t *testing.T) {
	at := withRoles(t)
	gateway, err := at.roleOf(vault.Gateway, vault.Gateway)
	must(t, err)
	defer gateway.Close()
	eraser, err := at.roleOf(vault.Eraser, vault.Eraser)
	must(t, err)
	defer eraser.Close()

	s, b := someone(1)
	_, err = gateway.Enrol(background(), s, b)
	must(t, err)
	must(t, gateway.Change(background(), s.Ref, func(_ *keys.Subject, b *seal.Bundle) error { return b.Issue("usage", 1, secret(3, 3)) }))
	_, err = gateway.PutDocument(background(), "token/1", 0, []byte("x"))
	must(t, err)
	k := domain.RetentionKey{Class: "messages", Tier: "0", Bucket: "2026-11-23"}
	_, _, err = gateway.IssueRetention(background(), k, time.Now().AddDate(0, 1, 0))
	must(t, err)
	for name, call := range map[string]func() error{
		"erase a class": func() error { return gateway.Change(background(), s.Ref, dropClass("messages")) },
		"remove":        func() error { return gateway.Remove(background(), s.Ref) },
		"expire":        func() error { return gateway.DestroyRetention(background(), []domain.RetentionKey{k}, 1) },
		"sweep":         func() error { _, err := gateway.Sweep(background(), time.Time{}); return err },
		"sign":          func() error { _, _, err := gateway.Sign(background(), keys.SignReceipt, nil); return err },
	} {
		if err := call(); !errors.Is(err, vault.ErrRefused) {
			t.Errorf("a gateway can %s: %v", name, err)
		}
	}
	_, whole, err := gateway.Bundle(background(), s.Ref)
	must(t, err)
	if len(whole.Subjects) != 3 {
		t.Fatal("what a gateway may not do it has done in part")
	}
	must(t, eraser.DestroyRetention(background(), []domain.RetentionKey{k}, 1))
	must(t, eraser.Remove(background(), s.Ref))
	_, _, err = eraser.Sign(background(), keys.SignReceipt, nil)
	must(t, err)
	_, err = eraser.Sweep(background(), time.Time{})
	must(t, err)
	_, v, err := eraser.Document(background(), "token/1")
	must(t, err)
	must(t, eraser.RemoveDocument(background(), "token/1", v))

	other := enrolledBy(t, gateway, 2)
	must(t, eraser.Change(background(), other.Ref, dropClass("messages")))
	auditor, err := at.roleOf(vault.Auditor, vault.Auditor)
	must(t, err)
	defer auditor.Close()
	var seen []keys.Subject
	must(t, auditor.Subjects(background(), func(s keys.Subject) bool { seen = append(seen, s); return true }))
	if !slices.ContainsFunc(seen, func(s keys.Subject) bool { return s.Ref == other.Ref }) || len(seen) != 1 {
		t.Fatalf("an auditor sees %d entries", len(seen))
	}
	_, _, err = auditor.Bundle(background(), other.Ref)
	wantErr(t, "an auditor who opens", err, vault.ErrRefused)
}

func enrolledBy(t *testing.T, c *vault.Custodian, directory byte) keys.Subject {
	t.Helper()
	s, b := someone(directory)
	stands, err := c.Enrol(background(), s, b)
	must(t, err)
	return stands
}
