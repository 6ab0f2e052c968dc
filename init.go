package lethe

import (
	"context"
	"fmt"
	"time"

	vaultapi "github.com/hashicorp/vault/api"

	"github.com/lethe-ledger/lethe/eventstore/esdb"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/keys/vault"
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

// InitKeys prepares the configuration's Vault with a token that may mount and
// write policies: mounts, policies, AppRoles, the ledger's own keys. Called again
// it changes nothing. With print it only says what it would see to, and asks
// nobody.
func (c *Config) InitKeys(ctx context.Context, tokenFile string, print bool) (string, error) {
	if c.Keys.Custodian != keysVault {
		return "", api.Usage("keys.custodian is " + c.Keys.Custodian + ": there is no Vault to prepare")
	}
	o := vault.InitOptions{Ledger: c.Ledger, Transit: c.Keys.Transit, KV: c.Keys.KV, AppRoles: true, Clock: time.Now}
	plan, err := vault.Plan(o)
	if err != nil || print {
		return plan, err
	}
	token, err := secretFile(tokenFile)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	admin, err := c.Keys.admin(token)
	if err != nil {
		return "", err
	}
	return plan, vault.Init(ctx, admin, o)
}

func (c KeysConfig) admin(token string) (*vaultapi.Client, error) {
	cfg := vaultapi.DefaultConfig()
	cfg.Address = c.Address
	if c.CA != "" {
		if err := cfg.ConfigureTLS(&vaultapi.TLSConfig{CACert: c.CA}); err != nil {
			return nil, fmt.Errorf("authority of Vault's certificate: %w", err)
		}
	}
	admin, err := vaultapi.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	admin.SetNamespace(c.Namespace)
	admin.SetToken(token)
	return admin, nil
}
