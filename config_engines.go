package lethe

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore/esdb"
	"github.com/lethe-ledger/lethe/keys/vault"
)

// The engines.
const (
	storeEmbedded     = "embedded"
	storeEventStoreDB = "eventstoredb"
	keysEmbedded      = "embedded"
	keysVault         = "vault"
	viewsSQLite       = "sqlite"
	viewsPostgres     = "postgres"
)

// A StoreConfig chooses the log: embedded, or eventstoredb for several gateways.
type StoreConfig struct {
	Engine string `yaml:"engine"`
	// URL is where EventStoreDB or KurrentDB is: esdb://host:2113 for one node,
	// esdb+discover://a:2113,b:2113,c:2113 for a cluster; ?tls=false only where
	// nobody else is on the network. It holds no password.
	URL string `yaml:"url"`
	// Nodes are all nodes of a cluster, host:port, whose disks removed bytes must
	// leave; empty is those of URL.
	Nodes []string `yaml:"nodes"`
	// CA is a PEM file of who signed the server's certificate; empty is the system's.
	CA string `yaml:"ca"`
	// Certificate is this node's own, where the server wants one.
	Certificate *TLSConfig `yaml:"certificate"`
	// Accounts are what lethe esdb init makes: each role has its own, and no account
	// can do what another one is for. Leave them out only for a server without
	// accounts.
	Accounts *AccountsConfig `yaml:"accounts"`
	// Outbox is where a gateway keeps what the log has not taken yet.
	Outbox OutboxConfig `yaml:"outbox"`
}

// AccountsConfig are the accounts of the roles towards the log.
type AccountsConfig struct {
	Writer    AccountConfig `yaml:"writer"`    // appends
	Reader    AccountConfig `yaml:"reader"`    // reads and subscribes
	Disposer  AccountConfig `yaml:"disposer"`  // truncates and deletes
	Scavenger AccountConfig `yaml:"scavenger"` // has removed bytes leave the disk
}

// An AccountConfig is a name and the file that holds its password.
type AccountConfig struct {
	Name         string `yaml:"name"`
	PasswordFile string `yaml:"password_file"`
}

// An OutboxConfig bounds the encrypted outbox below Data.
type OutboxConfig struct {
	// Size is how much the outbox may hold while the log is away; 0 is 4GiB. When it
	// is full, each pool does what its on_ledger_failure says.
	Size Size `yaml:"size"`
}

// A KeysConfig chooses the custodian: embedded, or vault for several gateways.
type KeysConfig struct {
	Custodian string `yaml:"custodian"`
	// Address is Vault's, such as https://vault:8200; CA a PEM file of who signed its
	// certificate; Namespace is empty but for Vault Enterprise.
	Address   string `yaml:"address"`
	CA        string `yaml:"ca"`
	Namespace string `yaml:"namespace"`
	// Transit and KV are the mounts that lethe vault init makes: lethe-transit and
	// lethe-kv unless said otherwise. Nothing else may use them.
	Transit string `yaml:"transit"`
	KV      string `yaml:"kv"`
	// Role is what this node's token may do: eraser (the default), which can all that
	// a gateway can and destroys, or gateway, for a node that only records and opens:
	// erasures and expiries are then another node's.
	Role string `yaml:"role"`
	// Auth is how this node logs in. Exactly one is set.
	Auth *VaultAuthConfig `yaml:"auth"`
}

// A VaultAuthConfig is one way to log in to Vault. Secrets are in files: never in
// the configuration, never in the environment.
type VaultAuthConfig struct {
	TokenFile  string            `yaml:"token_file"`
	AppRole    *AppRoleConfig    `yaml:"approle"`
	Kubernetes *KubernetesConfig `yaml:"kubernetes"`
}

// An AppRoleConfig logs in by role and secret.
type AppRoleConfig struct {
	Mount        string `yaml:"mount"` // empty is approle
	RoleIDFile   string `yaml:"role_id_file"`
	SecretIDFile string `yaml:"secret_id_file"`
	// Wrapped: the file holds a wrapping token that is good once.
	Wrapped bool `yaml:"wrapped"`
}

// A KubernetesConfig logs in by the pod's service account.
type KubernetesConfig struct {
	Mount     string `yaml:"mount"` // empty is kubernetes
	Role      string `yaml:"role"`
	TokenFile string `yaml:"token_file"` // empty is the pod's own
}

// A ViewsConfig chooses the read models: sqlite, of this process alone, or postgres
// for all of them.
type ViewsConfig struct {
	Engine string `yaml:"engine"`
	// URL is PostgreSQL's: postgres://user@host:5432/database?sslmode=verify-full.
	URL string `yaml:"url"`
	// PasswordFile holds the password.
	PasswordFile string `yaml:"password_file"`
}

// remote is the adapter's configuration; passwords are read now.
func (c StoreConfig) remote(id domain.LedgerID) (esdb.Config, error) {
	to := esdb.Config{URL: c.URL, Prefix: domain.StreamsOf(id).Prefix(), CAFile: c.CA, Nodes: c.Nodes}
	if c.Certificate != nil {
		to.UserCertFile, to.UserKeyFile = c.Certificate.Cert, c.Certificate.Key
	}
	if c.Accounts == nil {
		return to, nil
	}
	for _, role := range []struct {
		from AccountConfig
		to   *esdb.Account
	}{
		{c.Accounts.Writer, &to.Accounts.Writer},
		{c.Accounts.Reader, &to.Accounts.Reader},
		{c.Accounts.Disposer, &to.Accounts.Disposer},
		{c.Accounts.Scavenger, &to.Accounts.Scavenger},
	} {
		if role.from.Name == "" {
			continue
		}
		password, err := secretFile(role.from.PasswordFile)
		if err != nil {
			return to, fmt.Errorf("password of %s: %w", role.from.Name, err)
		}
		*role.to = esdb.Account{User: role.from.Name, Password: password}
	}
	return to, nil
}

// vault is the adapter's configuration.
func (c KeysConfig) vault(id domain.LedgerID) (vault.Options, error) {
	to := vault.Options{
		Address: c.Address, Namespace: c.Namespace, CACert: c.CA, Ledger: id, Role: vault.Role(cmp.Or(c.Role, string(vault.Eraser))),
		Transit: c.Transit, KV: c.KV,
	}
	switch a := c.Auth; {
	case a == nil:
		return to, errors.New("keys.auth is missing")
	case a.TokenFile != "":
		to.Auth = vault.Token{Read: func() (string, error) { return secretFile(a.TokenFile) }}
	case a.AppRole != nil:
		role, err := secretFile(a.AppRole.RoleIDFile)
		if err != nil {
			return to, fmt.Errorf("role id: %w", err)
		}
		to.Auth = &vault.AppRole{
			Mount: a.AppRole.Mount, RoleID: role, Wrapped: a.AppRole.Wrapped,
			SecretID: func() (string, error) { return secretFile(a.AppRole.SecretIDFile) },
		}
	case a.Kubernetes != nil:
		to.Auth = vault.Kubernetes{Mount: a.Kubernetes.Mount, Role: a.Kubernetes.Role, TokenFile: a.Kubernetes.TokenFile}
	}
	return to, nil
}

// erases reports whether this node may destroy keys.
func (c KeysConfig) erases() bool { return c.Role != string(vault.Gateway) }

// secretFile reads a secret without the newline that editors add.
func secretFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// address is the URL with the password of the password file.
func (c ViewsConfig) address() (string, error) {
	if c.PasswordFile == "" {
		return c.URL, nil
	}
	password, err := secretFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password of the views: %w", err)
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return "", errors.New("views.url is no URL")
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String(), nil
}
