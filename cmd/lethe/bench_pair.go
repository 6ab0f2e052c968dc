package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	lethe "github.com/lethe-ledger/lethe"
)

// A lane is one gateway process with a load generator and an upstream of its own.
type lane struct {
	name                    string
	node, clients, upstream *child
	at                      lethe.Addresses
	data                    string
}

// flushed is how long after its load a node is still at work on it: the flush
// interval, the views, and room.
const flushed = 6500 * time.Millisecond

func (b *bench) startLane(ctx context.Context, name string, swallow bool) (l *lane, err error) {
	l = &lane{name: name, data: filepath.Join(b.dir, name)}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.stop())
			l = nil
		}
	}()
	var url string
	if l.upstream, err = b.startChild(ctx, &url, "upstream", pick(swallow, []string{"--swallow"}, nil)...); err != nil {
		return l, err
	}
	args := []string{"--upstream", url}
	if name == laneOn {
		args = append(args, "--ledger", "--data", l.data)
	}
	if l.node, err = b.startChild(ctx, &l.at, "node", args...); err != nil {
		return l, err
	}
	l.clients, err = b.startChild(ctx, nil, "clients", "--gateway", l.at.Gateway)
	return l, err
}

// stop ends the clients first, then the node, which drains.
func (l *lane) stop() error { return stopAll(l.clients, l.node, l.upstream) }

func (l *lane) connect(n int) error { return l.clients.ask(order{Do: "connect", N: n}, nil) }

// A load is what one run of load did, and what it cost the node.
type load struct {
	traffic
	CPU float64 // microseconds of the node, its flushes included
}

// run gives clients an order and measures the node until all of it is recorded.
func (l *lane) run(ctx context.Context, settle time.Duration, o order) (r load, err error) {
	var before, after usage
	if err := l.node.ask(order{Do: "usage"}, &before); err != nil {
		return r, err
	}
	if err := l.clients.ask(o, &r.traffic); err != nil {
		return r, err
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return r, ctx.Err()
	}
	err = l.node.ask(order{Do: "usage"}, &after)
	r.CPU = after.CPU - before.CPU
	return r, err
}

// The two lanes of a comparison.
const (
	laneOff = "off"
	laneOn  = "on"
)

// A pair is the same gateway twice: with the ledger off and on.
type pair struct{ off, on *lane }

func (b *bench) startPair(ctx context.Context, connections int, swallow bool) (p *pair, err error) {
	p = &pair{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
			p = nil
		}
	}()
	if p.off, err = b.startLane(ctx, laneOff, swallow); err != nil {
		return p, err
	}
	if p.on, err = b.startLane(ctx, laneOn, swallow); err != nil {
		return p, err
	}
	if err := p.off.connect(connections); err != nil {
		return p, err
	}
	return p, p.on.connect(connections)
}

func (p *pair) stop() error {
	var errs []error
	for _, l := range []*lane{p.off, p.on} {
		if l != nil {
			errs = append(errs, l.stop())
		}
	}
	return errors.Join(errs...)
}

// each runs both lanes in turn, the first of one round being the second of the
// next, so that what changes with time meets both alike.
func (p *pair) each(rounds int, do func(l *lane) error) error {
	for round := range rounds {
		lanes := []*lane{p.off, p.on}
		if round%2 == 1 {
			lanes[0], lanes[1] = p.on, p.off
		}
		for _, l := range lanes {
			if err := do(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// profileOn profiles the recording node while work runs.
func (b *bench) profileOn(l *lane, work func() error) error {
	if b.profile == "" {
		return work()
	}
	if err := l.node.ask(order{Do: "profile", File: b.profile}, nil); err != nil {
		return err
	}
	return errors.Join(work(), l.node.ask(order{Do: "profiled"}, nil))
}
