package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	lethe "github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/gateway"
)

// A node is a gateway process that is measured: a whole Lethe, or the same
// gateway with nothing behind it.
type node struct {
	addresses lethe.Addresses
	profile   func() error // ends the profile under way
	end       func() error
}

// benchNode serves until its input ends.
func (p *program) benchNode() *cobra.Command {
	var upstream string
	var ledger bool
	c := &cobra.Command{Use: "node", Args: cobra.NoArgs}
	c.Flags().StringVar(&upstream, "upstream", "", "where messages go")
	c.Flags().BoolVar(&ledger, "ledger", false, "record them")
	c.RunE = p.do(func(cmd *cobra.Command, _ []string) (err error) {
		var n *node
		if ledger {
			n, err = p.recordingNode(cmd.Context(), upstream)
		} else {
			n, err = p.plainNode(cmd.Context(), upstream)
		}
		if err != nil {
			return err
		}
		err = converse(p.in, p.out, n.addresses, func(o order) (any, error) { return n.follow(cmd.Context(), o) })
		return errors.Join(err, n.end())
	})
	return c
}

func (n *node) follow(ctx context.Context, o order) (any, error) {
	switch o.Do {
	case "usage":
		return ownUsage()
	case "free":
		debug.FreeOSMemory()
		return nil, nil
	case "counters":
		return n.counters(ctx)
	case "profile":
		if n.profile != nil {
			return nil, errors.New("a profile is under way")
		}
		var err error
		n.profile, err = startProfile(o.File)
		return nil, err
	case "profiled":
		return nil, n.profile()
	case "heap":
		return nil, writeHeap(o.File)
	}
	return nil, fmt.Errorf("no such order: %s", o.Do)
}

// recordingNode is what `lethe serve --upstream` runs.
func (p *program) recordingNode(ctx context.Context, upstream string) (*node, error) {
	cfg := lethe.UpstreamConfig(upstream)
	cfg.SetData(p.data)
	cfg.SetListen("127.0.0.1:0")
	cfg.Admin.Address = "127.0.0.1:0"
	l, err := lethe.Open(ctx, cfg, lethe.Options{Logger: zerolog.New(p.err).Level(zerolog.WarnLevel), Version: version()})
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(ctx)
	at, done := make(chan lethe.Addresses, 1), make(chan error, 1)
	go func() { done <- l.Serve(serving, func(a lethe.Addresses) { at <- a }) }()
	n := &node{end: func() error {
		stop()
		return errors.Join(<-done, l.Close(context.WithoutCancel(ctx)))
	}}
	select {
	case n.addresses = <-at:
		return n, nil
	case err := <-done:
		stop()
		return nil, errors.Join(err, l.Close(context.WithoutCancel(ctx)))
	}
}

// plainNode is the same gateway under the same settings with the ledger off.
func (p *program) plainNode(ctx context.Context, upstream string) (*node, error) {
	g, err := gateway.New(gateway.Config{Recorder: gateway.Unrecorded{}, Clock: time.Now, Log: zerolog.Nop()}, gateway.Settings{
		Pools:    []gateway.Pool{{ID: "default", Path: "/", Upstreams: []string{upstream}}},
		Identify: []gateway.Rule{{Query: "user"}, {Header: "X-Lethe-Subject"}},
	})
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(l, gateway.Listen{}) }()
	n := &node{addresses: lethe.Addresses{Gateway: "ws://" + l.Addr().String()}, end: func() error {
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err := g.Drain(draining)
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}}
	return n, nil
}

// counters are the metrics of a recording node, those with labels added up.
func (n *node) counters(ctx context.Context) (map[string]float64, error) {
	sums := map[string]float64{}
	if n.addresses.Admin == "" {
		return sums, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.addresses.Admin+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(body)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		name, _, _ = strings.Cut(name, "{")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue // a value with a space in its label: none of ours
		}
		sums[name] += v
	}
	return sums, nil
}
