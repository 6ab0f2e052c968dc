package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lethe-ledger/lethe/projections"
)

// Options of an engine.
type Options struct {
	// Schema is where the catalogue stands, and how the names of the generations'
	// schemas begin: at most 30 of a-z, 0-9 and _; empty is DefaultSchema. Ledgers
	// that share a database each need their own.
	Schema string
	// Name tells other processes who keeps the views; it is shown in errors and in
	// pg_stat_activity, so it must not be personal. Empty is "lethe".
	Name string
	// Lease is how long a process that hangs keeps the others waiting; 0 is
	// DefaultLease.
	Lease time.Duration
}

// Defaults of Options.
const (
	DefaultSchema = "lethe"
	DefaultLease  = 5 * time.Second
	defaultName   = "lethe"
	maxName       = 40
)

// Engine keeps generations in one database. It is safe for concurrent use.
type Engine struct {
	place  place
	pool   *pgxpool.Pool // for readers and the catalogue
	config *pgx.ConnConfig
	name   string
	// holder is this engine among all of them: a restarted process is another one.
	holder string
	lease  time.Duration
	lead   lead
}

var _ projections.Shared = (*Engine)(nil)

// Open connects to a server, looks whether it can keep views, and makes what is
// common to them where it is missing. The caller closes the engine after its
// generations.
func Open(ctx context.Context, url string, opt Options) (*Engine, error) {
	opt = opt.withDefaults()
	if !placeForm.MatchString(opt.Schema) {
		return nil, fmt.Errorf("%w: %q is not a schema of views (at most 30 of a-z, 0-9 and _)", ErrAddress, opt.Schema)
	}
	e := &Engine{place: place(opt.Schema), name: opt.Name, holder: uuid.NewString(), lease: opt.Lease}
	cfg, err := parse(url, e.application())
	if err != nil {
		return nil, err
	}
	e.config = cfg.ConnConfig.Copy()
	if e.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, fmt.Errorf("opening the views on PostgreSQL: %w", classify(err))
	}
	if err := examine(ctx, e.pool); err != nil {
		e.pool.Close()
		return nil, fmt.Errorf("opening the views on PostgreSQL: %w", err)
	}
	if err := e.prepare(ctx); err != nil {
		e.pool.Close()
		return nil, fmt.Errorf("preparing schema %s: %w", e.place, classify(err))
	}
	return e, nil
}

func (o Options) withDefaults() Options {
	if o.Schema == "" {
		o.Schema = DefaultSchema
	}
	if o.Name == "" {
		o.Name = defaultName
	}
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	o.Name = o.Name[:min(len(o.Name), maxName)]
	return o
}

// application is how the sessions of this engine are called on the server:
// whoever takes the lead over finds them by it.
func (e *Engine) application() string { return e.name + " " + e.holder[:18] }

// Close ends the lead and every session that readers had. Where the server hangs,
// what is left of them ends by itself, within 15 s.
func (e *Engine) Close() error {
	e.lead.end()
	closed := make(chan struct{})
	go func() {
		e.pool.Close()
		close(closed)
	}()
	late := time.NewTimer(closeTimeout)
	defer late.Stop()
	select {
	case <-closed:
	case <-late.C:
	}
	return nil
}

// prepare makes the base tables, one process at a time.
func (e *Engine) prepare(ctx context.Context) error {
	return e.locked(ctx, func(tx pgx.Tx) error {
		var there bool
		err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL AND EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $2)", e.place.table("lead"), string(e.place)).Scan(&there)
		if err != nil || there {
			return err
		}
		for _, s := range e.place.baseTables() {
			if _, err := tx.Exec(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// locked runs f in a transaction, one at a time of all processes of this place.
func (e *Engine) locked(ctx context.Context, f func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, e.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockKey(string(e.place))); err != nil {
			return err
		}
		return f(tx)
	})
}

// Open implements projections.Engine. What another process is building stays.
func (e *Engine) Open(ctx context.Context, view projections.View) (projections.Generation, error) {
	var number int
	err := e.locked(ctx, func(tx pgx.Tx) (err error) {
		number, err = e.served(ctx, tx, view)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening view %s: %w", view.Name(), classify(err))
	}
	if err := e.removeLeftovers(ctx, view.Name()); err != nil {
		return nil, err
	}
	return e.serving(view, number), nil
}

// served returns the number of the generation that serves, and makes the first.
func (e *Engine) served(ctx context.Context, tx pgx.Tx, view projections.View) (int, error) {
	var number *int
	err := tx.QueryRow(ctx, "SELECT serves FROM "+e.place.table("catalogue")+" WHERE view = $1", view.Name()).Scan(&number)
	switch {
	case err == nil && number != nil:
		return *number, e.present(ctx, tx, view, *number)
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return 0, err
	}
	first, err := e.next(ctx, tx, view.Name())
	if err != nil {
		return 0, err
	}
	if err := e.declare(ctx, tx, e.place.schema(view.Name(), first), first, view); err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, "UPDATE "+e.place.table("catalogue")+" SET serves = $2 WHERE view = $1", view.Name(), first)
	return first, err
}

// next gives out a number that no generation of the view ever had.
func (e *Engine) next(ctx context.Context, tx pgx.Tx, view string) (number int, err error) {
	name := e.place.table("catalogue")
	err = tx.QueryRow(ctx, "INSERT INTO "+name+" AS c (view, last) VALUES ($1, 1) ON CONFLICT (view) DO UPDATE SET last = c.last + 1 RETURNING last", view).Scan(&number)
	return number, err
}

// Create implements projections.Engine. The session that builds holds the lock
// of the generation: while it lives, nobody removes it.
func (e *Engine) Create(ctx context.Context, view projections.View) (projections.Generation, error) {
	conn, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	g, err := e.create(ctx, conn, view)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("creating a generation of view %s: %w", view.Name(), classify(err)), closeConn(ctx, conn))
	}
	return g, nil
}

func (e *Engine) create(ctx context.Context, conn *pgx.Conn, view projections.View) (*generation, error) {
	var number int
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
		if number, err = e.next(ctx, tx, view.Name()); err != nil {
			return err
		}
		schema := e.place.schema(view.Name(), number)
		if _, err = tx.Exec(ctx, "SELECT pg_advisory_lock($1)", lockKey(schema)); err != nil {
			return err
		}
		return e.declare(ctx, tx, schema, number, view)
	})
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "SET synchronous_commit = off"); err != nil {
		return nil, err
	}
	return e.building(ctx, view, number, conn)
}
