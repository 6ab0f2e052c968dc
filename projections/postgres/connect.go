package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// minServer is the oldest version whose makers still repair it, and pgx's.
const minServer = 14

// Bounds of connections and of waiting for the server.
const (
	maxReaders     = 4
	connectTimeout = 5 * time.Second
	closeTimeout   = 2 * time.Second
	// lockTimeout bounds how long one process waits for another, answerTimeout how
	// long for a small answer of the server.
	lockTimeout   = 10 * time.Second
	answerTimeout = 15 * time.Second
	// idleTimeout ends the transaction of a process that hangs in it, with its locks.
	idleTimeout = 30 * time.Second
)

// parse reads an address and sets what every session needs, whatever the
// defaults of server, database and role are. An error never holds the address,
// which may hold a password.
func parse(url, name string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil || url == "" {
		return nil, fmt.Errorf("%w: want postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full", ErrAddress)
	}
	cfg.MaxConns = maxReaders
	cfg.BeforeClose = hangUp
	// A session that broke while nobody used it is not an outage.
	cfg.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	c := cfg.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	c.RuntimeParams["application_name"] = name
	c.RuntimeParams["client_encoding"] = "UTF8"
	c.RuntimeParams["synchronous_commit"] = "on"
	c.RuntimeParams["lock_timeout"] = milliseconds(lockTimeout)
	c.RuntimeParams["idle_in_transaction_session_timeout"] = milliseconds(idleTimeout)
	return cfg, nil
}

// hangUp lets a session that nobody uses end without a farewell, for which a
// server that hangs would make the pool wait.
func hangUp(c *pgx.Conn) { _ = c.PgConn().Conn().SetDeadline(time.Unix(1, 0)) } // in the past

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// examine reports what keeps the server from being used.
func examine(ctx context.Context, pool *pgxpool.Pool) error {
	var version int
	var encoding, fsync, database string
	err := pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_setting('fsync'), current_database()`).
		Scan(&version, &encoding, &fsync, &database)
	switch {
	case err != nil:
		return refused(err)
	case version/10000 < minServer:
		return fmt.Errorf("%w: it is version %d, the views need %d", ErrTooOld, version/10000, minServer)
	case encoding != "UTF8":
		return fmt.Errorf("%w: the encoding of database %s is %s, not UTF8", ErrSetting, database, encoding)
	case fsync != "on":
		return fmt.Errorf("%w: fsync is %s, so nothing that it acknowledges is durable", ErrSetting, fsync)
	}
	return nil
}

// refused tells why no session was to be had.
func refused(err error) error {
	switch code(err) {
	case wrongPassword, wrongLogin:
		return fmt.Errorf("%w: %w", ErrLogin, err)
	case noDatabase:
		return fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	return classify(err)
}

// connect makes a session of its own, for one goroutine.
func (e *Engine) connect(ctx context.Context) (*pgx.Conn, error) {
	c, err := pgx.ConnectConfig(ctx, e.config.Copy())
	if err != nil {
		return nil, fmt.Errorf("connecting to PostgreSQL: %w", classify(err))
	}
	return c, nil
}

// closeConn ends a session and waits until the server has ended it, with the
// locks that it held; one that is broken already ended.
func closeConn(ctx context.Context, c *pgx.Conn) error {
	if c == nil || c.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		return fmt.Errorf("closing a session of PostgreSQL: %w", classify(err))
	}
	return nil
}

// dropConn ends a session that holds nothing, and does not wait.
func dropConn(ctx context.Context, c *pgx.Conn) {
	if c == nil || c.IsClosed() {
		return
	}
	hangUp(c)
	_ = c.Close(ctx) // there is no farewell to fail
}
