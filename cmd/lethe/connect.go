package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	lethe "github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// Where a command finds a running serve.
const (
	envAdmin  = "LETHE_ADMIN"
	envToken  = "LETHE_TOKEN"
	adminFile = lethe.AdminFileName
)

// The purposes that commands are recorded with, unless --why says another.
const (
	whyOperation = "operation"
	whyRequest   = "data-subject-request"
)

// A work is what a command does on a Service.
type work func(ctx context.Context, s api.Service, by api.Caller) error

// with finds the ledger and does the work there: on the server that LETHE_ADMIN
// names, on the one that runs on the data directory, or in this process under the
// directory's lock.
func (p *program) with(cmd *cobra.Command, why string, do work) (err error) {
	ctx := cmd.Context()
	if p.why != "" {
		why = p.why
	}
	by := api.Caller{Purpose: why}
	client, err := p.client(why)
	if err != nil {
		return err
	}
	if client != nil {
		err = do(ctx, client, by)
		if !errors.Is(err, api.ErrNoServer) || os.Getenv(envAdmin) != "" {
			return err
		}
		// The file outlived its process: nothing was asked of anybody yet.
	}
	local, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, local.Close(context.WithoutCancel(ctx))) }()
	by.Principal, by.Role = "local", api.RoleOperator
	return do(ctx, local, by)
}

// client returns the way to a running serve, nil if there is no sign of one.
func (p *program) client(why string) (*api.Client, error) {
	at := lethe.AdminFile{Address: os.Getenv(envAdmin), Token: os.Getenv(envToken)}
	if at.Address != "" && at.Token == "" {
		return nil, api.Usage(envAdmin + " is set without " + envToken + "; lethe token create makes a token")
	}
	if at.Address == "" {
		found, err := p.readAdmin()
		if err != nil || found == nil {
			return nil, err
		}
		at.Address = found.Address
		if at.Token == "" {
			at.Token = found.Token
		}
	}
	p.warnClear(at.Address)
	return &api.Client{Base: at.Address, Token: at.Token, Purpose: why}, nil
}

// warnClear says so when a token would cross a network in clear.
func (p *program) warnClear(address string) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		_, _ = fmt.Fprintln(p.err, "lethe: warning: the token crosses the network in clear; use https")
	}
}

// readAdmin reads the file that a running serve leaves in its data directory. A
// file that may not be read is no error yet: the directory's lock will tell.
func (p *program) readAdmin() (*lethe.AdminFile, error) {
	cfg, err := p.settings()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(cfg.Data, adminFile))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil, nil //nolint:nilnil // no sign of a server is no error
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", adminFile, err)
	}
	var at lethe.AdminFile
	if err := json.Unmarshal(b, &at); err != nil {
		return nil, fmt.Errorf("reading %s: it is damaged; stop lethe serve and start it again: %w", adminFile, err)
	}
	return &at, nil
}

// settings is the configuration with the flags applied.
func (p *program) settings() (*lethe.Config, error) {
	cfg := lethe.DefaultConfig()
	if p.config != "" {
		var err error
		if cfg, err = lethe.LoadConfig(p.config); err != nil {
			return nil, &api.Error{Code: api.CodeUsage, Message: err.Error()}
		}
	}
	if p.data != "" {
		cfg.SetData(p.data)
	}
	return cfg, nil
}

// open opens the data directory in this process. It makes no new ledger: a wrong
// directory is then not answered with "nothing held".
func (p *program) open(ctx context.Context) (*lethe.Lethe, error) {
	cfg, err := p.settings()
	if err != nil {
		return nil, err
	}
	if absentIn(cfg.Data, "keys") && absentIn(cfg.Data, "log") { // one without the other is for Open to refuse
		return nil, api.NotFound(fmt.Sprintf("there is no ledger in %s, and no lethe serve on it; --data names another directory, %s a server", cfg.Data, envAdmin))
	}
	if p.config == "" {
		cfg = lethe.ExistingConfig(cfg.Data)
	}
	if err := lethe.HardenProcess(); err != nil {
		return nil, fmt.Errorf("hardening the process: %w", err)
	}
	l, err := lethe.Open(ctx, cfg, lethe.Options{Logger: p.logger(zerolog.WarnLevel, isTerminal(p.err)), Version: version()})
	if err == nil {
		return l, nil
	}
	if _, denied := os.ReadFile(filepath.Join(cfg.Data, adminFile)); errors.Is(denied, os.ErrPermission) {
		err = fmt.Errorf("%w. %s may not be read by you: if lethe serve runs here, run the command as its user, or set %s and %s", err, filepath.Join(cfg.Data, adminFile), envAdmin, envToken)
	}
	return nil, err
}

func absentIn(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return errors.Is(err, os.ErrNotExist)
}
