package postgres_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// BenchmarkRebuild builds all views from a log of 1 M records of 10,000 people
// (set LETHE_BENCH_RECORDS for more), here and on SQLite.
func BenchmarkRebuild(b *testing.B) {
	records := 1_000_000
	if s := os.Getenv("LETHE_BENCH_RECORDS"); s != "" {
		records, _ = strconv.Atoi(s)
	}
	w := busy(records)
	events := float64(w.End().Commit)
	for b.Loop() {
		ours := built(b, w, engine(b, database(b)))
		other, err := sqlite.New(b.TempDir(), sqlite.OS{})
		check(b, err)
		theirs := built(b, w, other)
		b.ReportMetric(events/ours.Seconds(), "events/s")
		b.ReportMetric(theirs.Seconds()/ours.Seconds(), "sqlite/ours")
	}
}

func busy(records int) *viewtest.Writer {
	w := viewtest.NewWriter()
	const people = 10_000
	refs, conns := make([]domain.SubjectRef, people), make([]domain.ConnectionID, people)
	for i := range refs {
		refs[i], conns[i] = domain.New[domain.SubjectRef](), domain.New[domain.ConnectionID]()
	}
	seed := uint32(1)
	for i := range records / 64 {
		seed = seed*1664525 + 1013904223
		p := int(seed>>8) % people
		if i%20_000 == 0 {
			w.Now = w.Now.Add(time.Hour)
		}
		place := viewtest.Place{Scope: domain.Erasable, Ref: refs[p], Class: "messages", Tier: domain.OwnTier, Gen: 1}
		w.Person(place, domain.TrafficRecorded, 64, domain.Name("pool", "chat"), domain.UUID("connection", conns[p]))
	}
	return w
}

// built measures a rebuild up to the swap, which makes it durable.
func built(b *testing.B, w *viewtest.Writer, e projections.Engine) time.Duration {
	b.Helper()
	begun := time.Now()
	var consumers []projections.Consumer
	views, next := map[string]projections.View{}, map[string]projections.Generation{}
	for _, v := range projections.Views() {
		g, err := e.Create(b.Context(), v)
		check(b, err)
		p, err := projections.NewProjection(b.Context(), v.Name(), g, v)
		check(b, err)
		views[v.Name()], next[v.Name()] = v, g
		consumers = append(consumers, p.Bulk())
	}
	check(b, projections.NewLoop(w.Log, options(), consumers...).CatchUp(b.Context(), domain.End))
	served, err := e.Swap(b.Context(), views, next)
	check(b, err)
	took := time.Since(begun)
	for _, g := range served {
		check(b, g.Close())
	}
	return took
}
