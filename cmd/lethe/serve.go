package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	lethe "github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// serveFlags are what serve takes instead of a configuration, or on top of one.
type serveFlags struct {
	listen, admin string
	upstream      string
	confirm       string
}

// A ready line is all that serve ever writes on standard output.
type ready struct {
	Ready   bool   `json:"ready"`
	Gateway string `json:"gateway"`
	Admin   string `json:"admin"`
}

func (p *program) serve() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use: "serve", Short: "Take WebSocket traffic and record it", Args: cobra.NoArgs,
		Long: "Take WebSocket traffic, pass it on to the upstream and record it sealed. With\n--config as the file says; with --upstream one pool on every path under a built-in\npolicy that no controller has reviewed; with neither a small chat to try it with.\n\nIt prints one JSON line when it accepts connections and logs to standard error.\nSIGTERM and SIGINT drain, a second one ends the process at once. SIGHUP reads the\nconfiguration's node settings again.",
	}
	flags := c.Flags()
	flags.StringVar(&f.listen, "listen", "", "`HOST:PORT` for WebSocket clients")
	flags.StringVar(&f.admin, "admin", "", "`HOST:PORT` for the admin API, on loopback")
	flags.StringVar(&f.upstream, "upstream", "", "`URL` of the server behind, ws://host:port")
	flags.StringVar(&f.confirm, "confirm", "", "`DIGEST` of a policy that shortens a period, as the refusal said")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) error {
		cfg, err := p.serveConfig(f)
		if err != nil {
			return err
		}
		return p.runServe(cmd.Context(), cfg, f)
	})
	return c
}

// serveConfig is the configuration that the flags stand for.
func (p *program) serveConfig(f serveFlags) (cfg *lethe.Config, err error) {
	switch {
	case p.config != "" && f.upstream != "":
		return nil, api.Usage("--upstream stands for a whole configuration; with --config name the upstream in its pools")
	case p.config != "":
		if cfg, err = p.settings(); err != nil {
			return nil, err
		}
	case f.upstream != "":
		cfg = lethe.UpstreamConfig(f.upstream)
	default:
		cfg = lethe.TrialConfig()
	}
	if p.data != "" {
		cfg.SetData(p.data)
	}
	if f.listen != "" {
		cfg.SetListen(f.listen)
	}
	if f.admin != "" {
		cfg.Admin.Address = f.admin
	}
	return cfg, nil
}

// runServe serves until ctx ends. The limit of open files needs no care: the Go
// runtime raises it to the hard limit at its start.
func (p *program) runServe(ctx context.Context, cfg *lethe.Config, f serveFlags) (err error) {
	if err := lethe.HardenProcess(); err != nil {
		return fmt.Errorf("hardening the process: %w", err)
	}
	log, err := p.serveLogger(cfg.Log)
	if err != nil {
		return err
	}
	l, err := lethe.Open(ctx, cfg, lethe.Options{Logger: log, Version: version(), ConfirmPolicy: f.confirm})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close(context.WithoutCancel(ctx))) }()
	defer p.reloadOnHangup(l, f, log)()
	return l.Serve(ctx, func(at lethe.Addresses) {
		line, err := api.Encode(ready{Ready: true, Gateway: at.Gateway, Admin: at.Admin})
		if err == nil {
			_, err = p.out.Write(line)
		}
		if err != nil {
			log.Error().Err(err).Msg("the ready line could not be written")
		}
		if at.Page != "" {
			_, _ = fmt.Fprintf(p.err, "\nSee it living in a browser:\n  %s\n\n", at.Page)
		}
	})
}

// serveLogger logs as the configuration says; auto is for people on a terminal and
// JSON elsewhere.
func (p *program) serveLogger(c lethe.LogConfig) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		return zerolog.Logger{}, api.Usage("log.level is debug, info, warn or error")
	}
	console := c.Format == "console" || (c.Format != "json" && isTerminal(p.err))
	return p.logger(level, console), nil
}

// reloadOnHangup reads the configuration again at each SIGHUP, until the function
// that it returns is called. A file that is wrong changes nothing. The goroutine
// ends with that call.
func (p *program) reloadOnHangup(l *lethe.Lethe, f serveFlags, log zerolog.Logger) (stop func()) {
	if p.config == "" {
		return func() {}
	}
	hangups, done, gone := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		defer close(gone)
		for {
			select {
			case <-hangups:
				p.reload(l, f, log)
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(done)
		<-gone
	}
}

func (p *program) reload(l *lethe.Lethe, f serveFlags, log zerolog.Logger) {
	cfg, err := p.serveConfig(f)
	if err == nil {
		err = l.Reload(cfg)
	}
	if err != nil {
		log.Error().Err(err).Msg("the configuration was not reloaded; what was in force stays")
		return
	}
	log.Info().Msg("node settings reloaded")
}
