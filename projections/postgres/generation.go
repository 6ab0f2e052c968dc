package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
)

// generation is one that is built, or the one that serves. Another process may
// exchange what serves at any time: its readers then see the new one, under the
// number in the checkpoint, and its commits go to the one they were read from.
type generation struct {
	engine   *Engine
	view     projections.View
	number   int
	building bool
	// write belongs to the goroutine that commits.
	write writer
	// unsettled is the server's process of a session that broke in a commit.
	unsettled atomic.Uint32
}

func (e *Engine) serving(view projections.View, number int) *generation {
	return &generation{engine: e, view: view, number: number}
}

// building takes over conn, which holds the generation's lock.
func (e *Engine) building(ctx context.Context, view projections.View, number int, conn *pgx.Conn) (*generation, error) {
	g := &generation{engine: e, view: view, number: number, building: true}
	g.write.begin(conn)
	return g, g.write.enter(ctx, e.place.schema(view.Name(), number))
}

// Number implements projections.Generation.
func (g *generation) Number() int { return g.number }

// Close implements projections.Generation. It may be called twice.
func (g *generation) Close() error {
	conn := g.write.conn
	g.write = writer{}
	if !g.building {
		dropConn(context.Background(), conn)
		return nil
	}
	if err := closeConn(context.Background(), conn); err != nil {
		return fmt.Errorf("generation %d of view %s: %w", g.number, g.view.Name(), err)
	}
	return nil
}

// Checkpoint implements projections.Generation.
func (g *generation) Checkpoint(ctx context.Context) (c projections.Checkpoint, err error) {
	err = g.Snapshot(ctx, func(at projections.Checkpoint, _ projections.Rows) error { c = at; return nil })
	return c, err
}

// moves is how often a snapshot is begun: the generation that it was about to
// read can be exchanged and removed before its first lock.
const moves = 5

// errMoved: nothing was read, and it can be tried again at once.
var errMoved = errors.New("the generation was exchanged just now")

// Snapshot implements projections.Generation.
func (g *generation) Snapshot(ctx context.Context, read func(projections.Checkpoint, projections.Rows) error) error {
	if err := g.settle(ctx); err != nil {
		return err
	}
	var err error
	for range moves {
		if err = g.snapshot(ctx, read); !errors.Is(err, errMoved) {
			return err
		}
	}
	return g.failed("reading", err)
}

func (g *generation) snapshot(ctx context.Context, read func(projections.Checkpoint, projections.Rows) error) error {
	tx, at, err := g.begin(ctx)
	if err != nil {
		return err
	}
	// A connection that could not roll back is closed by the pool.
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // nothing was written
	return read(at, func(query string, args []any, each func([]any) error) error {
		return g.rows(ctx, tx, query, args, each)
	})
}

// begin begins a snapshot in bounded time.
func (g *generation) begin(ctx context.Context) (tx pgx.Tx, at projections.Checkpoint, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if tx, err = g.engine.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return nil, at, g.failed("reading", err)
	}
	if err = g.choose(ctx, tx); err == nil {
		at, err = scanCheckpoint(tx.QueryRow(ctx, "SELECT generation, commit_position, prepare_position, event, stream, revision FROM checkpoint"))
	}
	if err == nil {
		return tx, at, nil
	}
	_ = tx.Rollback(ctx) // nothing was written
	if code(err) == undefinedTable {
		return nil, at, errMoved
	}
	return nil, at, g.failed("reading the checkpoint of", err)
}

// choose makes the transaction see the tables of one generation by their names.
func (g *generation) choose(ctx context.Context, tx pgx.Tx) error {
	schema := g.engine.place.schema(g.view.Name(), g.number)
	if !g.building {
		var number int
		err := tx.QueryRow(ctx, "SELECT serves FROM "+g.engine.place.table("catalogue")+" WHERE view = $1", g.view.Name()).Scan(&number)
		if err != nil {
			return g.failed("finding what serves of", err)
		}
		schema = g.engine.place.schema(g.view.Name(), number)
	}
	if _, err := tx.Exec(ctx, "SELECT set_config('search_path', $1, true)", quote(schema)); err != nil {
		return g.failed("entering", err)
	}
	return nil
}

func (g *generation) failed(what string, err error) error {
	return fmt.Errorf("%s view %s: %w", what, g.view.Name(), classify(err))
}

// errUnsettled: the server does not end a session of ours.
var errUnsettled = errors.New("it is not known whether it was made")

// settle makes sure that a commit whose answer was lost is over, one way or the
// other: until the server has noticed that the session broke, it may still commit.
func (g *generation) settle(ctx context.Context) error {
	pid := g.unsettled.Load()
	if pid == 0 {
		return nil
	}
	over := false
	err := g.engine.pool.QueryRow(ctx, "SELECT coalesce(bool_and(pg_terminate_backend(pid, $2)), true) FROM pg_stat_activity WHERE pid = $1 AND application_name = $3",
		int64(pid), lockTimeout.Milliseconds(), g.engine.application()).Scan(&over)
	if err == nil && !over {
		err = unavailable(errUnsettled)
	}
	if err != nil {
		return g.failed("settling the last commit to", err)
	}
	g.unsettled.CompareAndSwap(pid, 0)
	return nil
}

func scanCheckpoint(row pgx.Row) (c projections.Checkpoint, err error) {
	var commit, prepare, revision int64
	var event, stream string
	if err := row.Scan(&c.Generation, &commit, &prepare, &event, &stream, &revision); err != nil {
		return c, err
	}
	c.Position = domain.Position{Commit: uint64(commit), Prepare: uint64(prepare)} //nolint:gosec // written by number
	c.Stream, c.Revision = domain.Stream(stream), domain.Revision(revision)        //nolint:gosec // written as it is
	if event != "" {
		err = c.Event.UnmarshalText([]byte(event))
	}
	return c, err
}
