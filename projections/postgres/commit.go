package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
)

const moveCheckpoint = `UPDATE checkpoint SET commit_position = $1::bigint, prepare_position = $2::bigint, event = $3, stream = $4, revision = $5::bigint
 WHERE generation = $6::integer AND commit_position = $7::bigint AND prepare_position = $8::bigint AND event = $9`

// writer is the session that writes one generation. It belongs to the goroutine
// that commits.
type writer struct {
	conn     *pgx.Conn
	schema   string // that names are looked up in
	prepared map[string]string
	upserts  map[*projections.Table]string
	batch    pgconn.Batch
	queued   int // bytes in batch
}

// Bounds of what is sent before the server's answer is awaited, and of the
// statements that are kept prepared: a view has a dozen.
const (
	maxQueued   = 1 << 20
	maxPrepared = 64
)

func (w *writer) begin(conn *pgx.Conn) {
	*w = writer{conn: conn, prepared: map[string]string{}, upserts: map[*projections.Table]string{}}
}

func (w *writer) enter(ctx context.Context, schema string) error {
	if w.schema == schema {
		return nil
	}
	if _, err := w.conn.Exec(ctx, "SET search_path = "+quote(schema)); err != nil {
		return err
	}
	w.schema = schema
	return nil
}

// Commit implements projections.Generation. The server's COMMIT is the point from
// which the batch counts; where its answer is lost, the checkpoint tells.
func (g *generation) Commit(ctx context.Context, from, to projections.Checkpoint, changes *projections.Changes) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := g.session(ctx, from.Generation); err != nil {
		return err
	}
	err := g.write.commit(ctx, from, to, changes)
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("writing view %s from %s: %w", g.view.Name(), from.Position, classify(err)), g.rollback(ctx))
}

// session makes sure of a session in the schema of a generation. One that builds
// has had its own from the start: without it, nothing keeps the generation.
func (g *generation) session(ctx context.Context, number int) error {
	w := &g.write
	if w.conn == nil || w.conn.IsClosed() {
		if g.building {
			return fmt.Errorf("writing generation %d of view %s: %w", g.number, g.view.Name(), unavailable(errNotBuilding))
		}
		conn, err := g.engine.connect(ctx)
		if err != nil {
			return err
		}
		w.begin(conn)
	}
	if err := w.enter(ctx, g.engine.place.schema(g.view.Name(), number)); err != nil {
		return g.failed("entering", err)
	}
	return nil
}

// rollback ends the transaction. Of a session that is broken, the server's
// process is noted: it may not have noticed.
func (g *generation) rollback(ctx context.Context) error {
	w := &g.write
	if !w.conn.IsClosed() && w.conn.PgConn().TxStatus() != 'I' {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if _, err := w.conn.Exec(ctx, "ROLLBACK"); err != nil && !w.conn.IsClosed() {
			return closeConn(ctx, w.conn)
		}
	}
	if w.conn.IsClosed() {
		g.unsettled.Store(w.conn.PgConn().PID())
	}
	return nil
}

func (w *writer) commit(ctx context.Context, from, to projections.Checkpoint, changes *projections.Changes) error {
	if err := w.move(ctx, from, to); err != nil {
		return err
	}
	for _, s := range changes.Segments() {
		for t, rows := range s.Each {
			if err := w.upsert(ctx, t, rows); err != nil {
				return fmt.Errorf("table %s: %w", t.Name, err)
			}
		}
		for _, sweep := range s.Sweeps {
			if err := w.sweep(ctx, sweep); err != nil {
				return err
			}
		}
	}
	w.batch.ExecParams("COMMIT", nil, nil, nil, nil)
	return w.send(ctx)
}

// move moves the checkpoint. Where its table is gone, another projector swapped
// in a generation that followed this one.
func (w *writer) move(ctx context.Context, from, to projections.Checkpoint) error {
	err := w.begun(ctx, from, to)
	if code(err) == undefinedTable {
		return projections.ErrActive
	}
	return err
}

// begun begins the transaction and moves the checkpoint. A row that another
// projector moved meanwhile is waited for, and then no longer matches.
func (w *writer) begun(ctx context.Context, from, to projections.Checkpoint) error {
	w.batch, w.queued = pgconn.Batch{}, 0
	name, err := w.prepare(ctx, moveCheckpoint)
	if err != nil {
		return err
	}
	w.batch.ExecParams("BEGIN", nil, nil, nil, nil)
	w.batch.ExecPrepared(name, [][]byte{
		number(to.Position.Commit), number(to.Position.Prepare), eventText(to.Event), []byte(to.Stream), number(uint64(to.Revision)),
		strconv.AppendInt(nil, int64(from.Generation), 10), number(from.Position.Commit), number(from.Position.Prepare), eventText(from.Event),
	}, nil, nil)
	moved := int64(0)
	if err := w.exchange(ctx, func(tag pgconn.CommandTag) { moved += tag.RowsAffected() }); err != nil {
		return err
	}
	if moved != 1 {
		return projections.ErrActive
	}
	return nil
}

// number writes what is kept in 63 bits; NoStream and the like wrap around.
func number(n uint64) []byte { return strconv.AppendInt(nil, int64(n), 10) } //nolint:gosec // two's complement

// eventText is empty before the first event, and for an event without id, which the
// deletion of a stream can be.
func eventText(id domain.EventID) []byte {
	if id.IsZero() {
		return []byte{}
	}
	return []byte(id.String())
}

func (w *writer) sweep(ctx context.Context, s projections.Sweep) error {
	args := make([][]byte, len(s.Args))
	for i, a := range s.Args {
		switch a := a.(type) {
		case string:
			args[i] = []byte(a)
		case int64:
			args[i] = strconv.AppendInt(nil, a, 10)
		default:
			return fmt.Errorf("argument %d of a sweep is a %T: %w", i, a, errValue)
		}
	}
	return w.queue(ctx, s.SQL, args, nil)
}

// queue adds a statement to what is sent next, and sends what has become much.
func (w *writer) queue(ctx context.Context, sql string, args [][]byte, formats []int16) error {
	name, err := w.prepare(ctx, sql)
	if err != nil {
		return err
	}
	w.batch.ExecPrepared(name, args, formats, nil)
	for _, a := range args {
		w.queued += len(a)
	}
	if w.queued < maxQueued {
		return nil
	}
	return w.send(ctx)
}

// prepare returns the name of a prepared statement. A statement that is queued
// keeps its name: only when nothing is, all are forgotten.
func (w *writer) prepare(ctx context.Context, sql string) (string, error) {
	if name, ok := w.prepared[sql]; ok {
		return name, nil
	}
	if len(w.prepared) >= maxPrepared {
		if err := w.send(ctx); err != nil {
			return "", err
		}
		if _, err := w.conn.Exec(ctx, "DEALLOCATE ALL"); err != nil {
			return "", err
		}
		clear(w.prepared)
	}
	name := "s" + strconv.Itoa(len(w.prepared))
	if _, err := w.conn.PgConn().Prepare(ctx, name, numbered(sql), nil); err != nil {
		return "", err
	}
	w.prepared[sql] = name
	return name, nil
}

func (w *writer) send(ctx context.Context) error {
	return w.exchange(ctx, func(pgconn.CommandTag) {})
}

// errAborted: COMMIT of a transaction that failed answers without an error.
var errAborted = errors.New("the transaction was rolled back")

// exchange sends what is queued and reads every answer.
func (w *writer) exchange(ctx context.Context, each func(pgconn.CommandTag)) error {
	results, rolledBack := w.conn.PgConn().ExecBatch(ctx, &w.batch), false
	w.batch, w.queued = pgconn.Batch{}, 0
	for results.NextResult() {
		tag, err := results.ResultReader().Close()
		if err != nil {
			break
		}
		each(tag)
		rolledBack = rolledBack || tag.String() == "ROLLBACK"
	}
	if err := results.Close(); err != nil {
		return err
	}
	if rolledBack {
		return errAborted
	}
	return nil
}
