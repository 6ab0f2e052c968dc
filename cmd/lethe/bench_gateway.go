package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A gatewayResult compares a gateway with its ledger on and off.
type gatewayResult struct {
	conditions
	Connections     int        `json:"connections"`
	Depth           int        `json:"depth"`
	Off             laneFigure `json:"off"`
	On              laneFigure `json:"on"`
	ThroughputRatio float64    `json:"throughput_ratio"`
	CPURatio        float64    `json:"cpu_ratio"`
	Ratios          struct {
		Throughput spread `json:"throughput"`
		CPU        spread `json:"cpu"`
	} `json:"ratio_spreads"`
}

// A laneFigure has medians, and the spreads behind them.
type laneFigure struct {
	Throughput float64    `json:"messages_per_s"`
	CPU        float64    `json:"cpu_us_per_message"`
	Spreads    laneSpread `json:"spreads"`

	throughputs, cpus []float64
}

type laneSpread struct {
	Throughput spread `json:"messages_per_s"`
	CPU        spread `json:"cpu_us_per_message"`
}

// add takes one run; messages are those that crossed, both ways.
func (f *laneFigure) add(messages int, r load) {
	f.throughputs = append(f.throughputs, float64(messages)/r.Seconds)
	f.cpus = append(f.cpus, r.CPU/float64(messages))
}

func (f *laneFigure) settle() {
	f.Spreads = laneSpread{Throughput: spreadOf(f.throughputs), CPU: spreadOf(f.cpus)}
	f.Throughput, f.CPU = f.Spreads.Throughput.Median, f.Spreads.CPU.Median
}

func (r *gatewayResult) sheets() []*sheet {
	s := spreadSheet("figure", "ledger")
	s.with(r.Off.Spreads.CPU, "CPU µs/message", "off")
	s.with(r.On.Spreads.CPU, "CPU µs/message", "on")
	s.with(r.Ratios.CPU, "CPU", "on ÷ off")
	s.with(r.Off.Spreads.Throughput, "messages/s", "off")
	s.with(r.On.Spreads.Throughput, "messages/s", "on")
	s.with(r.Ratios.Throughput, "messages/s", "on ÷ off")
	return []*sheet{s}
}

// gatewayAims are the most that recording may cost, by depth.
func gatewayAims(depth int) float64 {
	if depth == 1 {
		return 1.05
	}
	return 1.15
}

// benchGateway loads two gateway processes in turn.
func benchGateway(ctx context.Context, b *bench) (list []result, err error) {
	connections := b.connectionsOr(1000, 20)
	p, err := b.startPair(ctx, connections, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := p.each(1, func(l *lane) error { // warm
		_, err := l.run(ctx, 0, order{Do: "echo", Depth: 1, Seconds: min(2, b.secondsOr(2))})
		return err
	}); err != nil {
		return nil, err
	}
	err = b.profileOn(p.on, func() error {
		for _, depth := range []int{1, 16} {
			r, err := b.gatewayAt(ctx, p, connections, depth)
			if err != nil {
				return err
			}
			list = append(list, r)
		}
		return nil
	})
	return list, err
}

func (b *bench) gatewayAt(ctx context.Context, p *pair, connections, depth int) (*gatewayResult, error) {
	r := &gatewayResult{Connections: connections, Depth: depth}
	r.Notes = fmt.Sprintf("%d connections, 128 B, depth %d, echoed; messages count both ways; the on process holds log, keys and views; CPU is the gateway process's until everything is flushed", connections, depth)
	err := p.each(b.runsOr(4), func(l *lane) error {
		got, err := l.run(ctx, pick(b.quick, time.Second, flushed), order{Do: "echo", Depth: depth, Seconds: b.secondsOr(6)})
		if err != nil {
			return err
		}
		figure := &r.Off
		if l.name == laneOn {
			figure = &r.On
		}
		figure.add(2*got.Messages, got)
		return nil
	})
	r.Off.settle()
	r.On.settle()
	r.Ratios.CPU = spreadOf(ratios(r.On.cpus, r.Off.cpus))
	r.Ratios.Throughput = spreadOf(ratios(r.On.throughputs, r.Off.throughputs))
	r.CPURatio, r.ThroughputRatio = r.Ratios.CPU.Median, r.Ratios.Throughput.Median
	r.atMost(fmt.Sprintf("CPU on ÷ off at depth %d", depth), r.CPURatio, gatewayAims(depth))
	return r, err
}
