package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lethe-ledger/lethe/projections"
)

// lead is this engine's turn to keep the views, while it lasts. mu protects
// users and now.
type lead struct {
	mu    sync.Mutex
	users int
	now   *term
}

// term is one uninterrupted turn. Its goroutine renews it and ends it; conn is
// that goroutine's.
type term struct {
	engine *Engine
	conn   *pgx.Conn
	// held ends with the term.
	held context.Context //nolint:containedctx // the term is a span of time
	stop context.CancelCauseFunc
	done chan struct{}
}

// errOver: the lead could not be renewed in time, or another process has it.
var errOver = fmt.Errorf("the lead is over: %w", projections.ErrActive)

// Lead implements projections.Shared. The clock is the server's; the process
// that holds the lead also stops believing in it by itself, by its own timer.
// What it may still do is bounded by Commit.
func (e *Engine) Lead(ctx context.Context) (context.Context, func(), error) {
	e.lead.mu.Lock()
	defer e.lead.mu.Unlock()
	if e.lead.now == nil || e.lead.now.held.Err() != nil {
		t, err := e.take(ctx)
		if err != nil {
			return nil, nil, err
		}
		e.lead.now, e.lead.users = t, 0
	}
	t := e.lead.now
	e.lead.users++
	lasting, stop := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(t.held, func() { stop(errOver) })
	once := sync.Once{}
	return lasting, func() {
		once.Do(func() {
			unhook()
			stop(context.Canceled)
			e.lead.give(t)
		})
	}, nil
}

// give ends a term that nobody uses any more.
func (l *lead) give(t *term) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != t {
		return
	}
	if l.users--; l.users == 0 {
		t.end()
		l.now = nil
	}
}

// end ends the lead whoever uses it.
func (l *lead) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != nil {
		l.now.end()
		l.now = nil
	}
}

func (t *term) end() {
	t.stop(context.Canceled)
	<-t.done
}

// take makes this engine the one that leads, or says who does.
func (e *Engine) take(ctx context.Context) (*term, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var other string
	err := e.pool.QueryRow(ctx, "SELECT name FROM "+e.place.table("lead")+" WHERE holder <> $1 AND until > clock_timestamp()", e.holder).Scan(&other)
	switch {
	case err == nil:
		return nil, &projections.Led{By: other}
	case !errors.Is(err, pgx.ErrNoRows):
		return nil, fmt.Errorf("asking who keeps the views: %w", classify(err))
	}
	conn, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	begun := time.NewTimer(e.lease) // before the server counts
	if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return e.seize(ctx, tx) }); err != nil {
		begun.Stop()
		return nil, errors.Join(fmt.Errorf("taking the lead of the views: %w", classify(err)), closeConn(ctx, conn))
	}
	t := &term{engine: e, conn: conn, done: make(chan struct{})}
	t.held, t.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	go t.keep(t.held, begun) //nolint:contextcheck // the term outlives the call that began it
	return t, nil
}

// seize writes the lead down, and ends the sessions of the process that had it:
// one that hangs may hang in a transaction, with its locks.
func (e *Engine) seize(ctx context.Context, tx pgx.Tx) error {
	var holder, name string
	var lasts bool
	err := tx.QueryRow(ctx, "SELECT holder, name, until > clock_timestamp() FROM "+e.place.table("lead")+" FOR UPDATE").Scan(&holder, &name, &lasts)
	switch {
	case err != nil:
		return err
	case lasts && holder != e.holder:
		return &projections.Led{By: name}
	}
	if holder != "" && holder != e.holder {
		before := &Engine{name: name, holder: holder}
		_, err := tx.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND usename = current_user AND datname = current_database()", before.application())
		if err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, "UPDATE "+e.place.table("lead")+" SET holder = $1, name = $2, until = clock_timestamp() + $3 * interval '1 millisecond'", e.holder, e.name, e.lease.Milliseconds())
	return err
}

// keep renews the term three times a lease until it is given back or over. over
// fires when the lease has run since before the last renewal was sent.
func (t *term) keep(held context.Context, over *time.Timer) {
	defer close(t.done)
	defer over.Stop()
	third := t.engine.lease / 3
	next := time.NewTicker(third)
	defer next.Stop()
	for held.Err() == nil {
		select {
		case <-held.Done():
		case <-over.C:
			t.stop(errOver)
		case <-next.C:
			t.renew(held, over, third)
		}
	}
	t.release(context.WithoutCancel(held))
}

// renew asks the server once. A failure is tried again until the lease is over.
func (t *term) renew(ctx context.Context, over *time.Timer, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var err error
	if t.conn.IsClosed() {
		if t.conn, err = t.reconnect(ctx); err != nil {
			return
		}
	}
	e := t.engine
	tag, err := t.conn.Exec(ctx, "UPDATE "+e.place.table("lead")+" SET until = clock_timestamp() + $2 * interval '1 millisecond' WHERE holder = $1 AND until > clock_timestamp()",
		e.holder, e.lease.Milliseconds())
	switch {
	case err != nil:
	case tag.RowsAffected() == 0:
		t.stop(errOver)
	default:
		over.Reset(e.lease - within)
	}
}

func (t *term) reconnect(ctx context.Context) (*pgx.Conn, error) {
	c, err := t.engine.connect(ctx)
	if err != nil {
		return t.conn, err
	}
	return c, nil
}

// release lets the others go on at once. It may fail: then the lease ends by
// itself.
func (t *term) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, t.engine.lease)
	defer cancel()
	if !t.conn.IsClosed() {
		_, _ = t.conn.Exec(ctx, "UPDATE "+t.engine.place.table("lead")+" SET holder = '', until = '-infinity' WHERE holder = $1", t.engine.holder)
	}
	dropConn(ctx, t.conn)
}
