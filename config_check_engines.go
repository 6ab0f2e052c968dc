package lethe

import (
	"net/url"
	"strings"
	"time"
)

// engines checks that each engine is known and has what it needs and no more.
func (c *check) engines() {
	c.word("store.engine", c.config.Store.Engine, storeEmbedded, storeEventStoreDB)
	c.word("keys.custodian", c.config.Keys.Custodian, keysEmbedded, keysVault)
	c.word("views.engine", c.config.Views.Engine, viewsSQLite, viewsPostgres)
	switch c.config.Store.Engine {
	case storeEmbedded:
		c.none("store", "url", "nodes", "ca", "certificate", "accounts", "outbox")
	case storeEventStoreDB:
		c.eventStoreDB()
	}
	switch c.config.Keys.Custodian {
	case keysEmbedded:
		c.none("keys", "address", "ca", "namespace", "transit", "kv", "role", "auth")
	case keysVault:
		c.vault()
	}
	switch c.config.Views.Engine {
	case viewsSQLite:
		c.none("views", "url", "password_file")
	case viewsPostgres:
		c.postgres()
	}
}

// none refuses settings that the engine does not have: passing over one would be
// another engine than the one that was meant.
func (c *check) none(at string, names ...string) {
	for _, name := range names {
		if _, set := c.nodes[at+"."+name]; set {
			c.add(at+"."+name, "the embedded engine has no such setting: leave it out")
		}
	}
}

func (c *check) eventStoreDB() {
	s := c.config.Store
	if s.URL == "" {
		c.add("store.url", "is missing: say where the log is, such as esdb+discover://a:2113,b:2113,c:2113")
		return
	}
	if u, err := url.Parse(s.URL); err == nil && u.User != nil {
		c.add("store.url", "holds a password: name accounts and their password files under store.accounts")
		return
	}
	for _, role := range []struct {
		name string
		have AccountConfig
	}{
		{"writer", c.accounts().Writer}, {"reader", c.accounts().Reader}, {"disposer", c.accounts().Disposer}, {"scavenger", c.accounts().Scavenger},
	} {
		if role.have.Name != "" || role.have.PasswordFile != "" {
			c.file("store.accounts."+role.name+".password_file", role.have.PasswordFile, "the password of "+role.name)
		}
	}
	if s.CA != "" {
		c.file("store.ca", s.CA, "the authority of the log's certificate")
	}
	if to, err := s.remote(c.config.Ledger); err == nil {
		to.Clock = time.Now
		if err := to.Validate(); err != nil {
			c.add("store.url", "%s", strings.TrimPrefix(err.Error(), "configuration of the event store: "))
		}
	}
}

func (c *check) accounts() AccountsConfig {
	if c.config.Store.Accounts == nil {
		return AccountsConfig{}
	}
	return *c.config.Store.Accounts
}

func (c *check) vault() {
	k := c.config.Keys
	if u, err := url.Parse(k.Address); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		c.add("keys.address", "is missing or no address: say where Vault is, such as https://vault:8200")
	} else if u.Scheme == "http" && !loopback(u.Host) {
		c.add("keys.address", "keys would cross a network in clear: write https")
	}
	if k.Role != "" {
		c.word("keys.role", k.Role, "eraser", "gateway")
	}
	if k.CA != "" {
		c.file("keys.ca", k.CA, "the authority of Vault's certificate")
	}
	c.vaultAuth(k.Auth)
	for _, path := range c.config.Policy.MinuteBuckets() {
		c.add("policy."+path, "minute buckets need the embedded custodian: take hour")
	}
}

func (c *check) vaultAuth(a *VaultAuthConfig) {
	if a == nil || ways(a) != 1 {
		c.add("keys.auth", "say how this node logs in: exactly one of token_file, approle, kubernetes")
		return
	}
	switch {
	case a.TokenFile != "":
		c.file("keys.auth.token_file", a.TokenFile, "the token")
	case a.AppRole != nil:
		c.file("keys.auth.approle.role_id_file", a.AppRole.RoleIDFile, "the role id")
		c.file("keys.auth.approle.secret_id_file", a.AppRole.SecretIDFile, "the secret id, or its wrapping token")
	case a.Kubernetes != nil && a.Kubernetes.Role == "":
		c.add("keys.auth.kubernetes.role", "is missing: name the role of Vault's Kubernetes auth")
	}
}

// ways counts how a node is to log in.
func ways(a *VaultAuthConfig) (n int) {
	for _, set := range []bool{a.TokenFile != "", a.AppRole != nil, a.Kubernetes != nil} {
		if set {
			n++
		}
	}
	return n
}

func (c *check) postgres() {
	v := c.config.Views
	u, err := url.Parse(v.URL)
	switch {
	case v.URL == "":
		c.add("views.url", "is missing: say where PostgreSQL is, such as postgres://lethe@host:5432/lethe?sslmode=verify-full")
	case err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql":
		c.add("views.url", "is no address of PostgreSQL: write postgres://USER@HOST:5432/DATABASE?sslmode=verify-full")
	case hasPassword(u):
		c.add("views.url", "holds a password: name its file under views.password_file")
	}
	if v.PasswordFile != "" {
		c.file("views.password_file", v.PasswordFile, "the password of the views")
	}
}

func hasPassword(u *url.URL) bool {
	_, set := u.User.Password()
	return set
}
