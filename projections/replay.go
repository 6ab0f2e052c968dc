package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// ErrNoTime says that the log notes no time as early as the one asked for.
var ErrNoTime = errors.New("the log notes no time that early")

// Replayed tells up to where a replay went.
type Replayed struct {
	AsOf     time.Time       `json:"as_of"`
	Position domain.Position `json:"position"`
	// NotedAt is the last time the log notes that is not later than AsOf.
	NotedAt time.Time `json:"noted_at"`
	Events  int64     `json:"events"`
	// Disposed counts what was disposed of since, and is therefore missing.
	Disposed Later `json:"disposed"`
}

// ReplayAsOf builds all views from the log, up to and including the last
// time.noted whose time is not later than asOf, in a generation that create
// makes for them and that it closes. What was disposed of since is left out,
// also where the store still shows it, and counted in the table replay.
func ReplayAsOf(
	ctx context.Context, src Source, opt Options, asOf time.Time,
	create func(ctx context.Context, views []View) (Generation, error),
) (done Replayed, err error) {
	done.AsOf = asOf.UTC()
	if done.Position, done.NotedAt, err = noted(ctx, src, opt.parser(), asOf); err != nil {
		return Replayed{}, err
	}
	opt.Progress = tally(opt.Progress, &done.Events)
	loop := NewLoop(src, opt)
	if err := loop.readDisposed(ctx); err != nil {
		return Replayed{}, err
	}
	done.Disposed = loop.skip.after(done.Position)
	return done, done.build(ctx, loop, create)
}

func tally(progress func(Progress), events *int64) func(Progress) {
	return func(p Progress) {
		*events = p.Events
		if progress != nil {
			progress(p)
		}
	}
}

func (r *Replayed) build(ctx context.Context, loop *Loop, create func(context.Context, []View) (Generation, error)) (err error) {
	head := newReplayHead(r)
	views := append(Views(), head)
	gen, err := create(ctx, views)
	if err != nil {
		return fmt.Errorf("creating the replay: %w", err)
	}
	defer func() { err = errors.Join(err, gen.Close()) }()
	p, err := NewProjection(ctx, "replay", gen, views...)
	if err != nil {
		return err
	}
	loop.consumers = []Consumer{p.Bulk()}
	return loop.advance(ctx, r.Position)
}

// noted finds the last time.noted not later than asOf. Noted times only rise, so
// the first one met from the end is it.
func noted(ctx context.Context, src eventstore.Reader, p *parser, asOf time.Time) (domain.Position, time.Time, error) {
	for rec, err := range src.ReadAll(ctx, domain.End, eventstore.Backward, 0) {
		if err != nil {
			return domain.Start, time.Time{}, fmt.Errorf("reading the log for its times: %w", err)
		}
		if rec.Type() != domain.TimeNoted {
			continue
		}
		e, ok, err := p.parse(rec)
		if err != nil {
			return domain.Start, time.Time{}, err
		}
		if at := time.Unix(e.Envelope.Facts.Int("at"), 0).UTC(); ok && !at.After(asOf) {
			return e.Position, at, nil
		}
	}
	return domain.Start, time.Time{}, fmt.Errorf("as of %s: %w", asOf.UTC().Format(time.RFC3339), ErrNoTime)
}

// replayHead is the view of one row that says what a replay is.
type replayHead struct {
	replay *Replayed
	table  *Table
}

func newReplayHead(r *Replayed) *replayHead {
	return &replayHead{replay: r, table: NewTable(
		"replay_head", keyText("as_of"), text("noted_at", Last), number("position", Last),
		number("disposed_buckets", Last), number("disposed_subjects", Last), number("disposed_streams", Last),
		number("disposed_events", Last), number("disposed_records", Last),
	)}
}

func (v *replayHead) Name() string       { return "replay" }
func (v *replayHead) Tables() []*Table   { return []*Table{v.table} }
func (v *replayHead) Restore(Rows) error { return nil }

func (v *replayHead) Relations() []Relation {
	columns := make([]string, len(v.table.Columns))
	for i, c := range v.table.Columns {
		columns[i] = c.Name
	}
	return []Relation{{Name: "replay", Key: 1, Columns: columns, Select: "SELECT " + quoted(columns) + " FROM replay_head WHERE true " + Where}}
}

func (v *replayHead) Apply(e *Event, c *Changes) {
	if e.Position != v.replay.Position {
		return
	}
	r, d := v.replay, v.replay.Disposed
	row := c.Row(v.table, T(r.AsOf.Format(time.RFC3339)))
	row.Merge(1, T(r.NotedAt.Format(time.RFC3339)))
	for i, n := range []int64{e.at(), d.Buckets, d.Subjects, d.Streams, d.Events, d.Records} {
		row.Merge(2+i, N(n))
	}
}
