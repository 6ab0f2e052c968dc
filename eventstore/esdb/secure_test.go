package esdb

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

// A certificate signs itself and is its own authority.
type certificate struct {
	tls      tls.Certificate
	pool     *x509.CertPool
	certFile string
	keyFile  string
}

func newCertificate(t *testing.T) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := certificate{pool: x509.NewCertPool(), certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem")}
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	if err := errors.Join(os.WriteFile(c.certFile, certPEM, 0o600), os.WriteFile(c.keyFile, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	c.pool.AppendCertsFromPEM(certPEM)
	if c.tls, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	admin = Account{"admin", "changeit"}
	roles = Accounts{Account{"lw", "pw"}, Account{"lr", "pr"}, Account{"ld", "pd"}, Account{"ls", "ps"}}
)

// secured starts a server with accounts and TLS, and returns how to reach it.
func secured(t *testing.T) (*esdbtest.Server, Config) {
	t.Helper()
	return securedWith(t, esdbtest.Options{})
}

func securedWith(t *testing.T, o esdbtest.Options) (*esdbtest.Server, Config) {
	t.Helper()
	cert := newCertificate(t)
	o.Clock, o.TLS, o.Accounts = time.Now, &tls.Config{Certificates: []tls.Certificate{cert.tls}}, []esdbtest.Account{}
	server := esdbtest.Start(t, o)
	c := quiet(configOf(t, server.URL()))
	c.CAFile, c.Accounts = cert.certFile, roles
	return server, c
}

// Init makes what the plan says, once, and puts right what was changed since.
func TestInitIsDoneOnce(t *testing.T) {
	t.Parallel()
	inProcess(t)
	server, c := secured(t)
	plan, err := c.Plan()
	if err != nil || len(plan) != 6 || strings.Contains(fmt.Sprint(plan), "pw") {
		t.Fatalf("plan %q, %v", plan, err)
	}
	done, err := Init(t.Context(), c, admin)
	if err != nil || len(done) != 6 {
		t.Fatalf("done %q, %v", done, err)
	}
	if done, err = Init(t.Context(), c, admin); err != nil || len(done) != 0 {
		t.Fatalf("again: done %q, %v", done, err)
	}
	c.Accounts.Reader.Password = "other"
	if done, err = Init(t.Context(), c, admin); err != nil || len(done) != 1 || !strings.Contains(done[0], "password of account lr") {
		t.Fatalf("after another password: done %q, %v", done, err)
	}
	b := &bench{T: t, server: server, ctx: t.Context(), store: mustOpen(t, c)}
	defer func() { mustClose(t, b.store) }()
	b.append(testStream, domain.NoStream, sealed(testStream, 1, 10))
	if got := b.read(testStream); len(got) != 1 {
		t.Fatalf("%d events", len(got))
	}
	if _, err := Init(t.Context(), c, Account{"admin", "wrong"}); !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("with a wrong password: %v", err)
	}
}

// Init keeps what else stands in the documents it changes.
func TestInitKeepsOtherSettings(t *testing.T) {
	t.Parallel()
	inProcess(t)
	server, c := secured(t)
	cc := c
	cc.Accounts = Accounts{admin, admin, admin, admin}
	b := &bench{T: t, server: server, ctx: t.Context(), store: mustOpen(t, cc)}
	defer func() { mustClose(t, b.store) }()
	i := initializer{Store: b.store, admin: admin}
	if err := i.writeDocument(b.ctx, logMetadata, metadataType, domain.NoStream, []byte(`{"$cacheControl":3}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(b.ctx, c, admin); err != nil {
		t.Fatal(err)
	}
	_, text, err := i.lastDocument(b.ctx, logMetadata)
	if err != nil || !strings.Contains(string(text), `"$cacheControl":3`) || !strings.Contains(string(text), readers) {
		t.Fatalf("%s, %v", text, err)
	}
}

func TestInitNeedsFourAccounts(t *testing.T) {
	t.Parallel()
	good := Config{URL: "esdb://h:1", Prefix: "lethe.main.", Clock: time.Now, Accounts: roles}
	for name, change := range map[string]func(*Config){
		"no scavenger":  func(c *Config) { c.Accounts.Scavenger = Account{} },
		"two of a name": func(c *Config) { c.Accounts.Disposer.User = "lw" },
		"no password":   func(c *Config) { c.Accounts.Reader.Password = "" },
		"no tls":        func(c *Config) { c.URL, c.Accounts = "esdb://h:1?tls=false", Accounts{} },
	} {
		c := good
		change(&c)
		_, planErr := c.Plan()
		_, initErr := Init(t.Context(), c, admin)
		if !errors.Is(planErr, ErrConfig) || !errors.Is(initErr, ErrConfig) {
			t.Errorf("%s: %v, %v", name, planErr, initErr)
		}
	}
}

// Each role can do its own work and nothing of the others', and the store uses
// each for its own.
func TestEveryRoleHasItsOwnRightsOnly(t *testing.T) {
	t.Parallel()
	inProcess(t)
	server, c := secured(t)
	if _, err := Init(t.Context(), c, admin); err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, server: server, ctx: t.Context(), store: mustOpen(t, c)}
	defer func() { mustClose(t, b.store) }()
	b.append(testStream, domain.NoStream, sealed(testStream, 40, 10))
	_, err := b.store.Append(b.ctx, testStream, 1, sealed(testStream, 1, 10))
	var wrong *eventstore.WrongRevision
	if !errors.As(err, &wrong) || wrong.Actual != 39 {
		t.Fatalf("append at a wrong revision: %v", err)
	}
	sub, err := b.store.SubscribeAll(b.ctx, domain.Start)
	if err != nil {
		t.Fatal(err)
	}
	b.follow(sub, 0, 40)
	if err := errors.Join(sub.Close(), b.store.Truncate(b.ctx, testStream, 2), b.store.Delete(b.ctx, stream(1)), b.store.Scavenge(b.ctx)); err != nil {
		t.Fatal(err)
	}
	cut := domain.Revision(2)
	for name, account := range map[string]Account{"writer": roles.Writer, "reader": roles.Reader, "disposer": roles.Disposer, "scavenger": roles.Scavenger, "nobody": {}, "a stranger": {"x", "y"}} {
		t.Run(name, func(t *testing.T) {
			other := c
			other.Accounts = Accounts{account, account, account, account}
			s := mustOpen(t, other)
			defer mustClose(t, s)
			may := map[string]bool{}
			_, err := s.Append(b.ctx, stream(9), domain.NoStream, sealed(stream(9), 1, 10))
			may["append"] = err == nil
			_, err = s.Last(b.ctx, testStream)
			may["read"] = err == nil
			for _, err = range s.ReadAll(b.ctx, domain.Start, eventstore.Forward, 1) {
				may["read all"] = err == nil
			}
			cut++ // what is cut already needs no right
			may["truncate"] = s.Truncate(b.ctx, testStream, cut) == nil
			may["delete"] = s.Delete(b.ctx, stream(8)) == nil
			may["scavenge"] = s.Scavenge(b.ctx) == nil
			for what, ok := range may {
				want := map[string]string{"append": "writer", "read": "reader disposer", "read all": "reader", "truncate": "disposer", "delete": "disposer", "scavenge": "scavenger"}[what]
				if ok != strings.Contains(want, name) {
					t.Errorf("%s: %t", what, ok)
				}
			}
		})
	}
}

// The scavenger may read what the server notes about a scavenge, where the API does
// not tell of the last one.
func TestTheScavengerReadsItsNotes(t *testing.T) {
	t.Parallel()
	inProcess(t)
	server, c := securedWith(t, esdbtest.Options{NoLastScavenge: true})
	if _, err := Init(t.Context(), c, admin); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, c)
	defer mustClose(t, s)
	if err := s.Scavenge(t.Context()); err != nil || server.Scavenges() == 0 {
		t.Fatalf("%d scavenges: %v", server.Scavenges(), err)
	}
}

// A certificate that nobody vouches for is refused, and one may be shown to the
// server.
func TestTLS(t *testing.T) {
	t.Parallel()
	inProcess(t)
	node, user := newCertificate(t), newCertificate(t)
	server := esdbtest.Start(t, esdbtest.Options{Clock: time.Now, TLS: &tls.Config{
		Certificates: []tls.Certificate{node.tls}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: user.pool,
	}})
	for name, c := range map[string]struct {
		change func(*Config)
		ok     bool
	}{
		"known on both sides": {func(c *Config) { c.CAFile, c.UserCertFile, c.UserKeyFile = node.certFile, user.certFile, user.keyFile }, true},
		"in the URL": {func(c *Config) {
			c.URL += "&tlsCAFile=" + node.certFile + "&userCertFile=" + user.certFile + "&userKeyFile=" + user.keyFile
		}, true},
		"not verified": {func(c *Config) {
			c.URL += "&tlsVerifyCert=false"
			c.UserCertFile, c.UserKeyFile = user.certFile, user.keyFile
		}, true},
		"no authority":      {func(c *Config) { c.UserCertFile, c.UserKeyFile = user.certFile, user.keyFile }, false},
		"another authority": {func(c *Config) { c.CAFile, c.UserCertFile, c.UserKeyFile = user.certFile, user.certFile, user.keyFile }, false},
		"no certificate":    {func(c *Config) { c.CAFile = node.certFile }, false},
	} {
		config := quiet(configOf(t, server.URL()))
		hasty(&config)
		c.change(&config)
		s, err := Open(t.Context(), config)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			b := &bench{T: t, server: server, ctx: t.Context(), store: s}
			b.read(testStream)
			mustClose(t, s)
		}
	}
}

// The client drops credentials without TLS in silence; here that is an error
// (TestConfigsThatAreRefused), and with TLS they go along once: sent twice, they
// would make the caller nobody.
func TestCredentialsAreSentOnce(t *testing.T) {
	t.Parallel()
	inProcess(t)
	server, c := secured(t)
	c.Accounts = Accounts{admin, admin, admin, admin}
	b := &bench{T: t, server: server, ctx: t.Context(), store: mustOpen(t, c)}
	defer func() { mustClose(t, b.store) }()
	if conf := b.store.client("h:1", admin); conf.Username != "admin" || conf.NodePreference != client.NodePreferenceLeader {
		t.Fatalf("%+v", conf)
	}
	b.append(testStream, domain.NoStream, sealed(testStream, 1, 10))
	if got := b.read(testStream); len(got) != 1 {
		t.Fatalf("%d events", len(got))
	}
}
