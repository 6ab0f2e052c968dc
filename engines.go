package lethe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lethe-ledger/lethe/eventstore"
	storeengine "github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/eventstore/esdb"
	"github.com/lethe-ledger/lethe/keys"
	keysengine "github.com/lethe-ledger/lethe/keys/embedded"
	"github.com/lethe-ledger/lethe/keys/vault"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/postgres"
	"github.com/lethe-ledger/lethe/projections/sqlite"
)

// openEngines opens custodian and log.
func (l *Lethe) openEngines(ctx context.Context) (err error) {
	keysDir, logDir := filepath.Join(l.cfg.Data, "keys"), filepath.Join(l.cfg.Data, "log")
	if l.cfg.Keys.Custodian == keysEmbedded && exists(logDir) && !exists(keysDir) {
		return fmt.Errorf("%s: %w", keysDir, ErrKeysMissing)
	}
	if err := os.MkdirAll(l.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	if l.custodian, err = l.openCustodian(ctx, keysDir); err != nil {
		return fmt.Errorf("opening the keys: %w", err)
	}
	if l.store, err = l.openStore(ctx, logDir); err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	l.tokens = newTokens(l.custodian, l.opt.Clock)
	return nil
}

func (l *Lethe) openCustodian(ctx context.Context, dir string) (keys.Custodian, error) {
	if l.cfg.Keys.Custodian == keysVault {
		return l.openVault(ctx)
	}
	c, err := keysengine.Open(dir, keysengine.Options{})
	if err != nil {
		return nil, err
	}
	if err := c.Damage(); err != nil {
		l.log.Error().Err(err).Msg("keys are damaged: what lies there reads as unavailable; restore keys.root and keys.tree together from a backup")
	}
	return c, nil
}

func (l *Lethe) openVault(ctx context.Context) (keys.Custodian, error) {
	to, err := l.cfg.Keys.vault(l.cfg.Ledger)
	if err != nil {
		return nil, err
	}
	to.Clock = l.opt.Clock
	to.Report = func(err error) {
		if err != nil {
			l.log.Error().Err(err).Msg("logging in to Vault failed; it is tried again, and known people go on being recorded")
		}
	}
	opened, err := vault.Open(ctx, to)
	if err != nil {
		return nil, err
	}
	return opened, nil
}

func (l *Lethe) openStore(ctx context.Context, dir string) (eventstore.Store, error) {
	if l.many() {
		return l.openRemoteStore(ctx)
	}
	s, err := storeengine.Open(dir, storeengine.Options{Clock: l.opt.Clock}) //nolint:contextcheck // a store lives until Close
	if err != nil {
		return nil, err
	}
	return s, nil
}

// openRemoteStore opens the log that several processes share.
func (l *Lethe) openRemoteStore(ctx context.Context) (eventstore.Store, error) {
	c, err := l.cfg.Store.remote(l.cfg.Ledger)
	if err != nil {
		return nil, err
	}
	c.Clock, c.Logf = l.opt.Clock, l.logf
	s, err := esdb.Open(ctx, c)
	if err != nil {
		return nil, err // and no store that holds nothing
	}
	return s, nil
}

func (l *Lethe) openViewEngine(ctx context.Context) (projections.Engine, error) {
	if l.cfg.Views.Engine != viewsPostgres {
		return sqlite.New(filepath.Join(l.cfg.Data, "views"), sqlite.OS{})
	}
	address, err := l.cfg.Views.address()
	if err != nil {
		return nil, err
	}
	e, err := postgres.Open(ctx, address, postgres.Options{Schema: "lethe_" + string(l.cfg.Ledger), Name: l.shownAs()})
	if err != nil {
		return nil, fmt.Errorf("opening the views: %w", err)
	}
	return e, nil
}

// shownAs is how people find this process among others: what is cut off is behind.
func (l *Lethe) shownAs() string {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return l.cfg.Admin.Address + " on " + host
}

// exists reports whether something stands at a path; what cannot be looked at
// counts as there, so that opening it says why.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
