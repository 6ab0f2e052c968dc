package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A commonResult is the common case: many connections that say little.
type commonResult struct {
	conditions
	Connections int        `json:"connections"`
	Off         laneFigure `json:"off"`
	On          laneFigure `json:"on"`
	CPURatio    spread     `json:"cpu_ratio"`
	Appends     spread     `json:"appends_per_s"`
	PerAppend   spread     `json:"messages_per_append"`
	LogBytes    float64    `json:"log_bytes_per_message"`
	Messages    int        `json:"messages_recorded"`
}

func (r *commonResult) sheets() []*sheet {
	s := spreadSheet("figure", "ledger")
	s.with(r.Off.Spreads.CPU, "CPU µs/message", "off")
	s.with(r.On.Spreads.CPU, "CPU µs/message", "on")
	s.with(r.CPURatio, "CPU", "on ÷ off")
	s.with(r.On.Spreads.Throughput, "messages/s", "on")
	s.with(r.Appends, "events appended/s", "on")
	s.with(r.PerAppend, "messages an event", "on")
	s.with(spreadOf([]float64{r.LogBytes}), "log bytes/message", "on")
	return []*sheet{s}
}

// spareFiles is what a gateway needs beside two sockets a connection.
const spareFiles = 250

// benchCommon sends one message a second on each of 10,000 connections, or as
// many as the limit of open files has room for.
func benchCommon(ctx context.Context, b *bench) ([]result, error) {
	r := &commonResult{Connections: b.connectionsOr(10_000, 50)}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	if room := (int(limit.Max) - spareFiles) / 2; room < r.Connections { //nolint:gosec // a limit of files
		r.Connections = room
	}
	r.Notes = fmt.Sprintf("%d connections (the hard limit of open files is %d), one message of 128 B a second each, not answered; default flush, 5 s or 256 records", r.Connections, limit.Max)
	log, err := b.commonLoad(ctx, r)
	if err != nil {
		return nil, err
	}
	r.Off.settle()
	r.On.settle()
	r.CPURatio = spreadOf(ratios(r.On.cpus, r.Off.cpus))
	size, err := settledSize(ctx, log, pick(b.quick, 100*time.Millisecond, 3*time.Second))
	r.LogBytes = round3(float64(size) / float64(r.Messages))
	r.atMost("CPU on ÷ off", r.CPURatio.Median, 1.3)
	return []result{r}, err
}

// commonLoad returns the directory of the log, closed.
func (b *bench) commonLoad(ctx context.Context, r *commonResult) (log string, err error) {
	p, err := b.startPair(ctx, r.Connections, true)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	time.Sleep(pick(b.quick, 0, flushed)) // the handshakes' own events
	var appends, perAppend []float64
	err = b.profileOn(p.on, func() error {
		return p.each(b.runsOr(3), func(l *lane) error {
			before, err := l.counters()
			if err != nil {
				return err
			}
			lasts := b.secondsOr(15)
			got, err := l.run(ctx, pick(b.quick, time.Second, flushed), order{Do: "send", Rate: float64(r.Connections), Seconds: lasts})
			if err != nil {
				return err
			}
			if l.name == laneOff {
				r.Off.add(got.Messages, got)
				return nil
			}
			r.On.add(got.Messages, got)
			after, err := l.counters()
			r.Messages += got.Messages
			events := after["lethe_events_total"] - before["lethe_events_total"]
			appends = append(appends, events/got.Seconds)
			perAppend = append(perAppend, (after["lethe_records_durable_total"]-before["lethe_records_durable_total"])/events)
			return err
		})
	})
	r.Appends, r.PerAppend = spreadOf(appends), spreadOf(perAppend)
	return filepath.Join(p.on.data, "log"), err
}

func (l *lane) counters() (c map[string]float64, err error) {
	return c, l.node.ask(order{Do: "counters"}, &c)
}
