package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
)

const moveCheckpoint = `UPDATE checkpoint SET commit_position = ?, prepare_position = ?, event = ?, stream = ?, revision = ?
 WHERE generation = ? AND commit_position = ? AND prepare_position = ? AND event = ?`

// Commit implements projections.Generation. COMMIT is the point from which the
// batch counts.
func (f *file) Commit(ctx context.Context, from, to projections.Checkpoint, changes *projections.Changes) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// A transaction that has begun is ended here, not by the caller's context,
	// which would also cost a goroutine a statement.
	ctx = context.WithoutCancel(ctx)
	if err := f.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return f.failed("beginning a transaction", err)
	}
	if err := f.write(ctx, from, to, changes); err != nil {
		return errors.Join(err, f.rollback(ctx))
	}
	if err := f.exec(ctx, "COMMIT"); err != nil {
		return errors.Join(f.failed("committing", err), f.rollback(ctx))
	}
	return nil
}

func (f *file) failed(what string, err error) error {
	return fmt.Errorf("%s in %s: %w", what, f.path, classify(err))
}

// rollback ends what SQLite has not ended by itself.
func (f *file) rollback(ctx context.Context) error {
	if err := f.exec(ctx, "ROLLBACK"); err != nil && !noTransaction(err) {
		return f.failed("rolling back", err)
	}
	return nil
}

func (f *file) write(ctx context.Context, from, to projections.Checkpoint, changes *projections.Changes) error {
	if err := f.moved(ctx, from, to); err != nil {
		return err
	}
	for _, s := range changes.Segments() {
		for t, rows := range s.Each {
			if err := f.upsert(ctx, t, rows); err != nil {
				return f.failed("writing table "+t.Name, err)
			}
		}
		for _, sweep := range s.Sweeps {
			if err := f.sweep(ctx, sweep); err != nil {
				return f.failed("sweeping", err)
			}
		}
	}
	return nil
}

func (f *file) moved(ctx context.Context, from, to projections.Checkpoint) (err error) {
	if f.move == nil {
		if f.move, err = f.conn.PrepareContext(ctx, moveCheckpoint); err != nil {
			return f.failed("preparing to move the checkpoint", err)
		}
	}
	res, err := f.move.ExecContext(ctx, number(to.Position.Commit), number(to.Position.Prepare), eventText(to.Event), string(to.Stream), int64(to.Revision),
		from.Generation, number(from.Position.Commit), number(from.Position.Prepare), eventText(from.Event))
	if err != nil {
		return f.failed("moving the checkpoint", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return f.failed("moving the checkpoint", err)
	}
	if n != 1 {
		return fmt.Errorf("moving the checkpoint of %s from %s: %w", f.path, from.Position, projections.ErrActive)
	}
	return nil
}

func number(n uint64) int64 { return int64(n) } //nolint:gosec // positions are below 2^63

// eventText is empty before the first event, and for an event without id, which the
// deletion of a stream can be.
func eventText(id domain.EventID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

// sweep runs a statement; views have a fixed set of them.
func (f *file) sweep(ctx context.Context, s projections.Sweep) (err error) {
	stmt, ok := f.sweeps[s.SQL]
	if !ok {
		if stmt, err = f.conn.PrepareContext(ctx, s.SQL); err != nil {
			return err
		}
		f.sweeps[s.SQL] = stmt
	}
	_, err = stmt.ExecContext(ctx, s.Args...)
	return err
}
