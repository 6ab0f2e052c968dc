package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// An idleResult is what an idle connection costs the process that serves it.
type idleResult struct {
	conditions
	Connections int        `json:"connections"`
	Off         idleFigure `json:"off"`
	On          idleFigure `json:"on"`
}

// An idleFigure is in KiB a connection: after the process has given back what it
// can, and as it stands.
type idleFigure struct {
	Freed float64 `json:"rss_kib"`
	AsIs  float64 `json:"rss_kib_as_is"`
}

func (r *idleResult) sheets() []*sheet {
	s := newSheet("", "ledger", "RSS KiB a connection", "without giving back")
	s.add("off", figure(r.Off.Freed), figure(r.Off.AsIs))
	s.add("on", figure(r.On.Freed), figure(r.On.AsIs))
	return []*sheet{s}
}

// firstIdle connections make pools and tables before anything is measured.
const firstIdle = 50

func benchIdle(ctx context.Context, b *bench) ([]result, error) {
	r := &idleResult{Connections: b.connectionsOr(5000, 100)}
	r.Notes = fmt.Sprintf("%d connections of as many people, both sockets, silent since the handshake; beyond %d that were there before; clients and upstream in other processes", r.Connections, firstIdle)
	var err error
	if r.Off, err = b.idleAt(ctx, laneOff, r.Connections); err != nil {
		return nil, err
	}
	if r.On, err = b.idleAt(ctx, laneOn, r.Connections); err != nil {
		return nil, err
	}
	r.atMost("RSS KiB an idle connection, ledger on", r.On.Freed, 14)
	return []result{r}, nil
}

func (b *bench) idleAt(ctx context.Context, name string, n int) (f idleFigure, err error) {
	l, err := b.startLane(ctx, name, false)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	var before, asIs, freed usage
	if err := l.connect(firstIdle); err != nil {
		return f, err
	}
	if err := l.memory(&before, true); err != nil {
		return f, err
	}
	if err := l.connect(n); err != nil {
		return f, err
	}
	select {
	case <-time.After(pick(b.quick, time.Second, flushed)):
	case <-ctx.Done():
		return f, ctx.Err()
	}
	err = errors.Join(l.memory(&asIs, false), l.memory(&freed, true))
	if b.profile != "" && name == laneOn {
		err = errors.Join(err, l.node.ask(order{Do: "heap", File: b.profile}, nil))
	}
	f = idleFigure{Freed: round3((freed.RSS - before.RSS) / float64(n)), AsIs: round3((asIs.RSS - before.RSS) / float64(n))}
	return f, err
}

func (l *lane) memory(u *usage, free bool) error {
	if free {
		if err := l.node.ask(order{Do: "free"}, nil); err != nil {
			return err
		}
	}
	return l.node.ask(order{Do: "usage"}, u)
}
