package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A latencyResult is what the ledger adds to an echo's round trip.
type latencyResult struct {
	conditions
	Connections int    `json:"connections"`
	Saturation  spread `json:"saturation_echoes_per_s"` // ledger off
	Rate        spread `json:"rate_echoes_per_s"`
	Off         delays `json:"off"`
	On          delays `json:"on"`
	AddedP99    spread `json:"added_p99_us"`
	AddedP50    spread `json:"added_p50_us"`
	Late        spread `json:"generator_late_p99_us"`
}

// Delays are spreads over runs, in microseconds.
type delays struct {
	P50  spread `json:"p50_us"`
	P99  spread `json:"p99_us"`
	P999 spread `json:"p999_us"`

	runs []traffic
}

func (d *delays) of(field func(traffic) float64) []float64 {
	list := make([]float64, len(d.runs))
	for i, t := range d.runs {
		list[i] = field(t)
	}
	return list
}

func p50(t traffic) float64  { return t.P50 }
func p99(t traffic) float64  { return t.P99 }
func p999(t traffic) float64 { return t.P999 }

func (d *delays) settle() {
	d.P50, d.P99, d.P999 = spreadOf(d.of(p50)), spreadOf(d.of(p99)), spreadOf(d.of(p999))
}

func (r *latencyResult) sheets() []*sheet {
	s := spreadSheet("figure, µs", "ledger")
	for _, d := range []struct {
		name string
		of   delays
	}{{"off", r.Off}, {"on", r.On}} {
		s.with(d.of.P50, "median", d.name)
		s.with(d.of.P99, "p99", d.name)
		s.with(d.of.P999, "p99.9", d.name)
	}
	s.with(r.AddedP50, "added median", "on − off")
	s.with(r.AddedP99, "added p99", "on − off")
	s.with(r.Late, "generator late, p99", "both")
	s.after = fmt.Sprintf("saturation %s echoes/s, load %s", figure(r.Saturation.Median), figure(r.Rate.Median))
	return []*sheet{s}
}

// benchLatency finds saturation with the ledger off and then sends a quarter of
// it, evenly, to both.
func benchLatency(ctx context.Context, b *bench) (list []result, err error) {
	r := &latencyResult{Connections: b.connectionsOr(1000, 20)}
	r.Notes = fmt.Sprintf("%d connections, 128 B, echoed, at a quarter of what the gateway without a ledger takes; from just before the client's write to its read", r.Connections)
	p, err := b.startPair(ctx, r.Connections, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	var full load
	for range 2 { // the first warms
		if full, err = p.off.run(ctx, 0, order{Do: "echo", Depth: 1, Seconds: min(3, b.secondsOr(3))}); err != nil {
			return nil, err
		}
	}
	rate := float64(full.Messages) / full.Seconds
	err = b.profileOn(p.on, func() error {
		return p.each(b.runsOr(4), func(l *lane) error {
			got, err := l.run(ctx, pick(b.quick, 0, time.Second), order{Do: "pace", Rate: rate / 4, Seconds: b.secondsOr(8)})
			d := pick(l.name == laneOn, &r.On, &r.Off)
			d.runs = append(d.runs, got.traffic)
			return err
		})
	})
	r.Saturation, r.Rate = spreadOf([]float64{rate}), spreadOf([]float64{rate / 4})
	r.Off.settle()
	r.On.settle()
	r.AddedP99, r.AddedP50 = spreadOf(minus(r.On.of(p99), r.Off.of(p99))), spreadOf(minus(r.On.of(p50), r.Off.of(p50)))
	r.Late = spreadOf(append(r.On.of(func(t traffic) float64 { return t.Late }), r.Off.of(func(t traffic) float64 { return t.Late })...))
	r.atMost("added p99, ms", r.AddedP99.Median/1e3, 1)
	return []result{r}, err
}

// minus subtracts pairwise.
func minus(a, b []float64) []float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = a[i] - b[i]
	}
	return out
}
