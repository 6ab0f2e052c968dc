package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
)

// A mode says how durable a file is.
type mode int

const (
	// serving: every commit is on disk before it returns.
	serving mode = iota
	// building: nothing is, until the whole file is synced.
	building
)

// Bounds of one file's memory, in KiB of pages, and of its readers.
const (
	servingCache  = 4 << 10
	buildingCache = 2 << 10
	readerCache   = 512
	maxReaders    = 2
)

// file is one generation. The writing connection and its statements belong to
// the one goroutine that commits; readers have connections of their own.
type file struct {
	path    string
	number  int
	writers *sql.DB
	readers *sql.DB
	conn    *sql.Conn
	move    *sql.Stmt
	upserts upserts
	sweeps  map[string]*sql.Stmt
}

func (m mode) pragmas() []string {
	if m == building {
		return []string{
			"PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", fmt.Sprintf("PRAGMA cache_size = -%d", buildingCache),
		}
	}
	return []string{
		"PRAGMA busy_timeout = 5000", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
		fmt.Sprintf("PRAGMA cache_size = -%d", servingCache), "PRAGMA wal_autocheckpoint = 2000", "PRAGMA journal_size_limit = 16777216",
	}
}

func openFile(ctx context.Context, path string, number int, m mode, views ...projections.View) (*file, error) {
	f := &file{path: path, number: number, upserts: upserts{shapes: map[shape]*sql.Stmt{}}, sweeps: map[string]*sql.Stmt{}}
	if err := f.open(ctx, m, views); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, classify(err)), f.Close())
	}
	return f, nil
}

func (f *file) open(ctx context.Context, m mode, views []projections.View) (err error) {
	if f.writers, err = sql.Open("sqlite", "file:"+f.path); err != nil {
		return err
	}
	if f.conn, err = f.writers.Conn(ctx); err != nil {
		return err
	}
	for _, s := range append(m.pragmas(), fmt.Sprintf("PRAGMA application_id = %d", applicationID)) {
		if _, err := f.conn.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	if err := f.create(ctx, views); err != nil {
		return err
	}
	reader := fmt.Sprintf("file:%s?_pragma=busy_timeout(5000)&_pragma=query_only(1)&_pragma=cache_size(-%d)", f.path, readerCache)
	if f.readers, err = sql.Open("sqlite", reader); err != nil {
		return err
	}
	f.readers.SetMaxOpenConns(maxReaders)
	return nil
}

// create declares what is not there yet, all or nothing.
func (f *file) create(ctx context.Context, views []projections.View) error {
	if err := f.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, s := range Declarations(views...) {
		if err := f.exec(ctx, s); err != nil {
			return errors.Join(err, f.exec(ctx, "ROLLBACK"))
		}
	}
	_, err := f.conn.ExecContext(ctx, "INSERT INTO checkpoint VALUES (1, ?, 0, 0, '', '', 0) ON CONFLICT DO NOTHING", f.number)
	if err != nil {
		return errors.Join(err, f.exec(ctx, "ROLLBACK"))
	}
	return f.exec(ctx, "COMMIT")
}

func (f *file) exec(ctx context.Context, s string) error {
	_, err := f.conn.ExecContext(ctx, s)
	return err
}

// Number implements projections.Generation.
func (f *file) Number() int { return f.number }

// Close implements projections.Generation. It may be called twice.
func (f *file) Close() error {
	var errs []error
	for _, s := range f.sweeps {
		errs = append(errs, s.Close())
	}
	errs = append(errs, f.upserts.close())
	clear(f.sweeps)
	if f.move != nil {
		errs = append(errs, f.move.Close())
		f.move = nil
	}
	if f.conn != nil {
		errs = append(errs, f.conn.Close())
		f.conn = nil
	}
	for _, db := range []*sql.DB{f.readers, f.writers} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	f.readers, f.writers = nil, nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing %s: %w", f.path, classify(err))
	}
	return nil
}

// Checkpoint implements projections.Generation.
func (f *file) Checkpoint(ctx context.Context) (at projections.Checkpoint, err error) {
	err = f.Snapshot(ctx, func(c projections.Checkpoint, _ projections.Rows) error { at = c; return nil })
	return at, err
}

// Snapshot implements projections.Generation.
func (f *file) Snapshot(ctx context.Context, read func(projections.Checkpoint, projections.Rows) error) (err error) {
	tx, err := f.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.path, classify(err))
	}
	defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
	at, err := scanCheckpoint(tx.QueryRowContext(ctx, "SELECT generation, commit_position, prepare_position, event, stream, revision FROM checkpoint"))
	if err != nil {
		return fmt.Errorf("reading the checkpoint of %s: %w", f.path, classify(err))
	}
	return read(at, func(query string, args []any, each func([]any) error) error {
		if err := selectRows(ctx, tx, query, args, each); err != nil {
			return fmt.Errorf("reading %s: %w", f.path, classify(err))
		}
		return nil
	})
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

func scanCheckpoint(row *sql.Row) (c projections.Checkpoint, err error) {
	var commit, prepare int64
	var event, stream string
	if err := row.Scan(&c.Generation, &commit, &prepare, &event, &stream, &c.Revision); err != nil {
		return c, err
	}
	c.Position = domain.Position{Commit: uint64(commit), Prepare: uint64(prepare)} //nolint:gosec // written by number
	c.Stream = domain.Stream(stream)
	if event != "" {
		err = c.Event.UnmarshalText([]byte(event))
	}
	return c, err
}

func selectRows(ctx context.Context, tx *sql.Tx, query string, args []any, each func([]any) error) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	row, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range row {
		into[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return rows.Err()
}
