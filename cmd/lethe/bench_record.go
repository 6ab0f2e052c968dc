package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// A recordResult is how fast message records become durable.
type recordResult struct {
	conditions
	People  int            `json:"people"`
	Sizes   []recordFigure `json:"sizes"`
	Appends appendFigures  `json:"single_appends"`
}

// A recordFigure is that of one number of records an event.
type recordFigure struct {
	PerEvent       int    `json:"records_per_event"`
	Records        spread `json:"records_per_s"`
	Events         spread `json:"events_per_s"`
	CPU            spread `json:"cpu_us_per_event"`
	RecordsPerCore spread `json:"records_per_cpu_s"`
}

func (r *recordResult) sheets() []*sheet {
	s := spreadSheet("records an event", "figure")
	for _, f := range r.Sizes {
		s.with(f.Records, f.PerEvent, "records/s")
		s.with(f.Events, f.PerEvent, "events/s")
		s.with(f.CPU, f.PerEvent, "CPU µs/event")
		s.with(f.RecordsPerCore, f.PerEvent, "records per second of CPU")
	}
	return []*sheet{s, r.Appends.sheet()}
}

// benchRecord seals and appends through the ledger, over the real store and
// custodian, as the gateway's recorder does.
func benchRecord(ctx context.Context, b *bench) ([]result, error) {
	r := &recordResult{People: pick(b.quick, 200, 10_000)}
	r.Notes = fmt.Sprintf("%d people, %d callers of %d events a call; single appends from %d callers", r.People, floodCallers, floodBatch, appendCallers)
	data := filepath.Join(b.dir, "data")
	w, err := openWorld(ctx, data)
	if err != nil {
		return nil, err
	}
	err = profiled(b.profile, func() error { return b.recordSizes(ctx, w, r) })
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	r.Appends, err = b.singleAppends(ctx, filepath.Join(data, "log"))
	r.atLeast("records/s at 64 an event, of 5 M", r.at(64).Records.Median, 5e6)
	r.atLeast("single appends, ours ÷ bare Pebble", r.Appends.Ratio.Median, 0.8)
	return []result{r}, err
}

func (r *recordResult) at(perEvent int) recordFigure {
	for _, f := range r.Sizes {
		if f.PerEvent == perEvent {
			return f
		}
	}
	return recordFigure{}
}

// recordSizes takes the sizes in turn, several times over.
func (b *bench) recordSizes(ctx context.Context, w *world, r *recordResult) error {
	people, err := w.enrol(ctx, r.People)
	if err != nil {
		return err
	}
	list := []int{1, 16, 64, 256}
	rates, events, cpu := map[int][]float64{}, map[int][]float64{}, map[int][]float64{}
	if _, err := w.flood(ctx, people, newBlocks(1), func(n int) bool { return n >= len(people) }); err != nil { // issues their keys
		return err
	}
	for range b.runsOr(3) {
		for _, n := range list {
			f, err := b.recordFor(ctx, w, people, newBlocks(n))
			if err != nil {
				return err
			}
			rates[n], events[n], cpu[n] = append(rates[n], f[0]*float64(n)), append(events[n], f[0]), append(cpu[n], f[1])
		}
	}
	for _, n := range list {
		f := recordFigure{PerEvent: n, Records: spreadOf(rates[n]), Events: spreadOf(events[n]), CPU: spreadOf(cpu[n])}
		var perCore []float64
		for _, us := range cpu[n] {
			perCore = append(perCore, float64(n)*1e6/us)
		}
		f.RecordsPerCore = spreadOf(perCore)
		r.Sizes = append(r.Sizes, f)
	}
	return nil
}

// recordFor returns events a second and microseconds of CPU an event.
func (b *bench) recordFor(ctx context.Context, w *world, people []*person, of blocks) (f [2]float64, err error) {
	before, err := ownUsage()
	if err != nil {
		return f, err
	}
	began, lasts := time.Now(), time.Duration(b.secondsOr(4)*float64(time.Second))
	n, err := w.flood(ctx, people, of, func(int) bool { return time.Since(began) >= lasts })
	took := time.Since(began)
	after, usageErr := ownUsage()
	return [2]float64{float64(n) / took.Seconds(), (after.CPU - before.CPU) / float64(n)}, errors.Join(err, usageErr)
}
