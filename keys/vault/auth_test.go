package vault_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys/vault"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// errorsOf collects what is reported.
type errorsOf struct {
	mu  sync.Mutex // guards all
	all []error
}

func (e *errorsOf) report(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, err)
}

func (e *errorsOf) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.all)
}

// TestAppRole: a wrapped secret id is unwrapped once and serves for every login of
// the process; somebody else's unwrapping is noticed.
func TestAppRole(t *testing.T) {
	at := withRoles(t)
	o := optionsFor(at.server, at.ledger)
	auth := at.appRole(vault.Eraser, true)
	o.Auth, o.Role = auth, vault.Eraser
	n := at.nodeWith(o)
	l := fill(t, n)
	at.revokeAll(t)
	l.wantOutage(t, n, vault.ErrRefused)
	l.recovers(t, n)

	stolen := at.appRole(vault.Gateway, true)
	o.Auth = &vault.AppRole{RoleID: stolen.RoleID, SecretID: stolen.SecretID, Wrapped: true}
	first, err := vault.Open(background(), withAnyRole(o))
	must(t, err)
	must(t, first.Close())
	o.Auth = &vault.AppRole{RoleID: stolen.RoleID, SecretID: stolen.SecretID, Wrapped: true}
	_, err = vault.Open(background(), withAnyRole(o))
	if err == nil || !strings.Contains(err.Error(), "somebody else") || !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("a secret id that was unwrapped before: %v", err)
	}

	wrong := at.appRole(vault.Gateway, false)
	o.Auth = &vault.AppRole{RoleID: wrong.RoleID, SecretID: func() (string, error) { return "no", nil }}
	_, err = vault.Open(background(), withAnyRole(o))
	wantErr(t, "a wrong secret id", err, vault.ErrRefused)
}

func withAnyRole(o vault.Options) vault.Options {
	o.Role, o.Transport = vault.AnyRole, nil
	return o
}

// revokeAll revokes every token that AppRole gave.
func (s *site) revokeAll(t *testing.T) {
	t.Helper()
	_, err := s.admin.Logical().Write("sys/leases/revoke-prefix/auth/approle/login", nil)
	must(t, err)
}

// TestRenewal: a short-lived token is renewed, and when it cannot be any longer
// there is a new login; also when Vault is sealed at that moment.
func TestRenewal(t *testing.T) {
	at := withRoles(t)
	_, err := at.admin.Logical().Write("auth/approle/role/lethe-main-eraser", map[string]any{
		"token_policies": "lethe-main-eraser", "token_ttl": "2s", "token_max_ttl": "4s",
	})
	must(t, err)
	var reported errorsOf
	o := optionsFor(at.server, at.ledger)
	o.Auth, o.Report = at.appRole(vault.Eraser, false), reported.report
	n := at.nodeWith(o)
	l := fill(t, n)
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if _, _, err := n.Bundle(background(), l.subject.Ref); err != nil && !errors.Is(err, domain.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	l.recovers(t, n)
	at.server.Seal()
	for reported.count() == 0 {
		time.Sleep(100 * time.Millisecond)
	}
	l.wantOutage(t, n, nil)
	at.server.Unseal()
	l.recovers(t, n)
}

// TestKubernetes: the login that Vault's Kubernetes method would answer is
// answered by a stand-in here, in front of the real server, because the method
// itself needs a cluster.
func TestKubernetes(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte("pod"), 0o600))
	target, err := url.Parse(at.server.Addr)
	must(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	token := at.newToken("root")
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/auth/k8s/login" {
			proxy.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(string(body), `"jwt":"pod"`) || !strings.Contains(string(body), `"role":"gateway"`) {
			http.Error(w, `{"errors":["no"]}`, http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{"client_token": token, "lease_duration": 3600, "renewable": true}})
	}))
	defer front.Close()
	o := optionsFor(at.server, at.ledger)
	o.Address, o.Auth = front.URL, vault.Kubernetes{Mount: "k8s", Role: "gateway", TokenFile: file}
	n := at.nodeWith(o)
	_, err = n.Material(background())
	must(t, err)
	must(t, n.Close())
	must(t, os.WriteFile(file, []byte("another"), 0o600))
	_, err = vault.Open(background(), o)
	wantErr(t, "another pod's token", err, vault.ErrRefused)
	http.DefaultClient.CloseIdleConnections()
}

// TestServerCertificate: the server's certificate is checked against the authority
// that was given, whatever the environment says.
func TestServerCertificate(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	target, err := url.Parse(at.server.Addr)
	must(t, err)
	var strays atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Namespace") != "" || r.Header.Get("X-Vault-Token") == "stray" {
			strays.Add(1)
		}
		proxy.ServeHTTP(w, r)
	}))
	defer http.DefaultClient.CloseIdleConnections()
	defer front.Close()
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	file := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}), 0o600))
	o := optionsFor(at.server, at.ledger)
	o.Address = front.URL
	for name, value := range map[string]string{
		"VAULT_SKIP_VERIFY": "1", "VAULT_CACERT": file, "VAULT_TOKEN": "stray", "VAULT_NAMESPACE": "stray", "VAULT_MAX_RETRIES": "9",
	} {
		t.Setenv(name, value)
	}
	if _, err := vault.Open(background(), o); !errors.Is(err, vault.ErrUnreachable) || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("a server of unknown authority: %v", err)
	}
	o.CACert = file
	c, err := vault.Open(background(), o)
	must(t, err)
	must(t, c.Close())
	if n := strays.Load(); n > 0 {
		t.Fatalf("%d requests say what only the environment says", n)
	}
	o.CACert = filepath.Join(t.TempDir(), "none")
	if _, err := vault.Open(background(), o); err == nil {
		t.Fatal("opened without the authority that was asked for")
	}
}
