package lethe

import (
	"context"
	"errors"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
)

const backward = eventstore.Backward

// Views implements api.Service.
func (l *Lethe) Views(ctx context.Context, _ api.Caller) (api.ViewList, error) {
	status, err := l.views.Status(ctx)
	list := api.ViewList{Views: []api.View{}}
	for _, s := range status {
		list.Views = append(list.Views, api.View{
			Name: s.Name, Generation: int64(s.Generation), Position: s.Position.Commit, Lag: int64(s.Lag), Rows: s.Rows, //nolint:gosec // a count of events
		})
	}
	return list, err
}

// viewError turns what the caller got wrong into a usage error.
func viewError(err error) error {
	var led *projections.Led
	switch {
	case errors.As(err, &led):
		return api.Refused("the views are kept by another process, " + led.By + "; rebuild them there")
	case errors.Is(err, projections.ErrNoView):
		return api.Usage("there is no such view; lethe views list shows them")
	case errors.Is(err, projections.ErrQuery):
		return api.Usage(err.Error())
	case errors.Is(err, projections.ErrNoTime):
		return api.Usage("the log notes no time that early; it notes one each minute while lethe serve runs")
	}
	return err
}

// Query implements api.Service.
func (l *Lethe) Query(ctx context.Context, _ api.Caller, view, cursor string, limit int) (api.ViewRows, error) {
	if err := l.views.settle(ctx); err != nil {
		return api.ViewRows{}, err
	}
	page, err := l.views.Query(ctx, projections.Query{Relation: view, Cursor: cursor, Limit: pageSize(limit)})
	return api.ViewRows{View: view, Columns: page.Columns, Rows: page.Rows, Next: page.Next}, viewError(err)
}

// Digest implements api.Service.
func (l *Lethe) Digest(ctx context.Context, _ api.Caller, view string) (api.ViewDigest, error) {
	if err := l.views.settle(ctx); err != nil {
		return api.ViewDigest{}, err
	}
	d, err := l.views.Digest(ctx, view)
	return api.ViewDigest{View: d.View, Position: d.Position.Commit, Digest: d.Digest}, viewError(err)
}

// Rebuild implements api.Service.
func (l *Lethe) Rebuild(ctx context.Context, c api.Caller, names []string, p api.Progress) (api.Rebuilt, error) {
	if _, err := l.began(ctx, c, "views.rebuild", domain.SubjectRef{}, ""); err != nil {
		return api.Rebuilt{}, err
	}
	begun := l.opt.Clock()
	done, err := l.views.Rebuild(ctx, progressOf(p), names...)
	seconds := l.opt.Clock().Sub(begun).Seconds()
	result := api.Rebuilt{Rebuilt: []api.RebuiltView{}}
	for _, r := range done {
		result.Rebuilt = append(result.Rebuilt, api.RebuiltView{
			Name: r.Name, Generation: int64(r.Generation), Events: r.Events, Seconds: seconds,
			Position: r.Position.Commit, Digest: r.Digest, LiveDigest: r.LiveDigest,
		})
	}
	return result, viewError(err)
}

func progressOf(p api.Progress) func(projections.Progress) {
	if p == nil {
		return nil
	}
	return func(at projections.Progress) { p(int64(at.Done), int64(at.Total)) } //nolint:gosec // counts of events
}

// Replay implements api.Service.
func (l *Lethe) Replay(ctx context.Context, c api.Caller, asOf time.Time, path string, p api.Progress) (api.Replay, error) {
	if asOf.After(l.opt.Clock()) {
		return api.Replay{}, api.Usage("a replay is as of a moment that has passed")
	}
	if _, err := l.began(ctx, c, "audit.replay", domain.SubjectRef{}, asOf.UTC().Format(time.RFC3339)); err != nil {
		return api.Replay{}, err
	}
	opt := l.loopOptions()
	opt.Progress = progressOf(p)
	done, err := projections.ReplayAsOf(ctx, l.store, opt, asOf, func(ctx context.Context, views []projections.View) (projections.Generation, error) {
		return sqlite.Export(ctx, path, views)
	})
	if err != nil {
		return api.Replay{}, viewError(err)
	}
	d := done.Disposed
	return api.Replay{
		AsOf: done.AsOf.Format(time.RFC3339), NotedAt: done.NotedAt.Format(time.RFC3339), Position: done.Position.Commit, Events: done.Events,
		Disposed: map[string]int{"buckets": int(d.Buckets), "subjects": int(d.Subjects), "streams": int(d.Streams), "events": int(d.Events), "records": int(d.Records)},
	}, nil
}

// Ready implements api.Service.
func (l *Lethe) Ready() error {
	if e := l.edge.Load(); e == nil || !e.gateway.Ready() {
		return errors.New("not taking connections")
	}
	return nil
}
