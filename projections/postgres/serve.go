package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-ledger/lethe/projections"
)

// removeTime bounds the removal of a generation; what is not done then is done
// when the view is next opened.
const removeTime = 60 * time.Second

// Swap implements projections.Engine. The transaction runs in a session in which
// a generation was built: if that session still lives, the server did not crash
// since, and making this commit durable makes every one before it so, too.
func (e *Engine) Swap(
	ctx context.Context, views map[string]projections.View, next map[string]projections.Generation,
) (map[string]projections.Generation, error) {
	var conn *pgx.Conn
	for name, g := range next {
		b, ok := g.(*generation)
		if !ok || b.write.conn == nil || !b.building {
			return nil, fmt.Errorf("swapping in generation %d of view %s: %w", g.Number(), name, unavailable(errNotBuilding))
		}
		conn = b.write.conn
		// Fresh tables have no statistics, and these have no other reader yet.
		if _, err := conn.Exec(ctx, "ANALYZE "+tableNames(b.view)); err != nil {
			return nil, fmt.Errorf("analyzing generation %d of view %s: %w", g.Number(), name, classify(err))
		}
	}
	if conn == nil {
		return map[string]projections.Generation{}, nil
	}
	// COMMIT is the point from which the new generations serve, in every process.
	if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return e.swap(ctx, tx, next) }); err != nil {
		return nil, fmt.Errorf("swapping %d generations: %w", len(next), classify(err))
	}
	opened := map[string]projections.Generation{}
	for name, g := range next {
		opened[name] = e.serving(views[name], g.Number())
		// It serves: a session that does not end well changes nothing.
		_ = g.Close()
	}
	return opened, nil
}

var errNotBuilding = errors.New("the session that built it has ended")

func tableNames(view projections.View) string {
	var list strings.Builder
	list.WriteString("checkpoint")
	for _, t := range view.Tables() {
		list.WriteString(", " + t.Name)
	}
	return list.String()
}

func (e *Engine) swap(ctx context.Context, tx pgx.Tx, next map[string]projections.Generation) error {
	if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = on"); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockKey(string(e.place))); err != nil {
		return err
	}
	for name, g := range next {
		if err := e.retire(ctx, tx, name); err != nil {
			return err
		}
		// Fails if somebody removed it, and keeps others from it until the end.
		checkpoint := pgx.Identifier{e.place.schema(name, g.Number()), "checkpoint"}.Sanitize()
		if _, err := tx.Exec(ctx, "LOCK TABLE "+checkpoint+" IN ACCESS SHARE MODE"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE "+e.place.table("catalogue")+" SET serves = $2 WHERE view = $1", name, g.Number()); err != nil {
			return err
		}
	}
	return nil
}

// retire makes every later commit to the generation that serves now report
// ErrActive: its checkpoint is nobody's.
func (e *Engine) retire(ctx context.Context, tx pgx.Tx, view string) error {
	var number *int
	err := tx.QueryRow(ctx, "SELECT serves FROM "+e.place.table("catalogue")+" WHERE view = $1 FOR UPDATE", view).Scan(&number)
	if err != nil || number == nil {
		return err
	}
	_, err = tx.Exec(ctx, "UPDATE "+pgx.Identifier{e.place.schema(view, *number), "checkpoint"}.Sanitize()+" SET generation = 0")
	return err
}

// Drop implements projections.Engine. A generation that is still read, here or
// by another process, goes when the view is next opened or rebuilt.
func (e *Engine) Drop(view string, g projections.Generation) error {
	ctx, cancel := context.WithTimeout(context.Background(), removeTime)
	defer cancel()
	return errors.Join(g.Close(), e.removeLeftovers(ctx, view))
}

// removeLeftovers removes the generations of a view that neither serve nor are
// being built. What was refused stays for whoever looks into it.
func (e *Engine) removeLeftovers(ctx context.Context, view string) error {
	rows, err := e.pool.Query(ctx, "SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname, $1)", string(e.place)+"_"+view+"_")
	if err != nil {
		return fmt.Errorf("listing the generations of view %s: %w", view, classify(err))
	}
	schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("listing the generations of view %s: %w", view, classify(err))
	}
	slices.Sort(schemas)
	for _, schema := range schemas {
		number, ok := e.place.number(view, schema)
		if !ok {
			continue
		}
		err := pgx.BeginFunc(ctx, e.pool, func(tx pgx.Tx) error { return e.remove(ctx, tx, view, schema, number) })
		if c := code(err); err != nil && c != lockNotAvailable && c != undefinedTable {
			return fmt.Errorf("removing generation %d of view %s: %w", number, view, classify(err))
		}
	}
	return nil
}

// stillRead is how long the removal of a generation waits for its readers.
const stillRead = 2 * time.Second

// remove drops one generation, unless it is being built or serves. Readers hold
// a lock on its checkpoint from start to end of their snapshot, and so does a
// swap; whether it serves is looked at again behind them.
func (e *Engine) remove(ctx context.Context, tx pgx.Tx, view, schema string, number int) error {
	var free bool
	if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", lockKey(schema)).Scan(&free); err != nil || !free {
		return err
	}
	if serves, err := e.serves(ctx, tx, view, number); err != nil || serves {
		return err
	}
	for _, s := range []string{
		"SET LOCAL lock_timeout = " + milliseconds(stillRead),
		"LOCK TABLE " + pgx.Identifier{schema, "checkpoint"}.Sanitize() + " IN ACCESS EXCLUSIVE MODE",
	} {
		if _, err := tx.Exec(ctx, s); err != nil {
			return err
		}
	}
	if serves, err := e.serves(ctx, tx, view, number); err != nil || serves {
		return err
	}
	_, err := tx.Exec(ctx, "DROP SCHEMA "+quote(schema)+" CASCADE")
	return err
}

func (e *Engine) serves(ctx context.Context, tx pgx.Tx, view string, number int) (yes bool, err error) {
	err = tx.QueryRow(ctx, "SELECT coalesce(serves = $2, false) FROM "+e.place.table("catalogue")+" WHERE view = $1", view, number).Scan(&yes)
	return yes, err
}

// SetAside implements projections.Engine; the name is that of a schema.
func (e *Engine) SetAside(view string, g projections.Generation) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), removeTime)
	defer cancel()
	from, to := e.place.schema(view, g.Number()), e.place.refusedName(view, g.Number())
	_, err := e.pool.Exec(ctx, "ALTER SCHEMA "+quote(from)+" RENAME TO "+quote(to))
	if err = errors.Join(classify(err), g.Close()); err != nil {
		return "", fmt.Errorf("setting schema %s aside: %w", from, err)
	}
	return to, nil
}
