package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// A Generation is one complete set of a view's rows with its checkpoint: a file,
// or a schema. It knows tables, not views.
type Generation interface {
	// Number tells generations of a view apart; it rises.
	Number() int
	// Checkpoint reads the stored checkpoint.
	Checkpoint(ctx context.Context) (Checkpoint, error)
	// Commit MUST move the checkpoint from exactly from to to and apply changes,
	// segment by segment, in one transaction, durable before it returns (or, in a
	// generation that does not serve yet, before Swap returns). It MUST report
	// ErrActive and write nothing if the stored checkpoint is not from.
	Commit(ctx context.Context, from, to Checkpoint, changes *Changes) error
	// Snapshot calls read with rows and checkpoint of one moment.
	Snapshot(ctx context.Context, read func(at Checkpoint, rows Rows) error) error
	Close() error
}

// An Engine keeps the generations of views.
type Engine interface {
	// Open returns the serving generation of a view, an empty one if there is none
	// yet. Generations that were never swapped in are gone after it.
	Open(ctx context.Context, view View) (Generation, error)
	// Create makes an empty generation that does not serve yet.
	Create(ctx context.Context, view View) (Generation, error)
	// Swap makes the given generations, by view name, the serving ones: all or
	// none, also if the process is killed, durable before it returns. It closes
	// them and returns them opened for service.
	Swap(ctx context.Context, views map[string]View, next map[string]Generation) (map[string]Generation, error)
	// Drop closes and removes a generation that does not serve.
	Drop(view string, g Generation) error
	// SetAside closes a generation that was refused and keeps it for inspection,
	// under the name it returns.
	SetAside(view string, g Generation) (string, error)
}

// A Projection is one generation with the views in it: the consumer that turns
// events into its rows.
type Projection struct {
	name    string
	gen     Generation
	views   []View
	changes Changes
	// at is up to where events are folded, stored up to where rows are; they
	// differ only in bulk.
	at, stored Checkpoint
	bulk       bool
	// stale: the views in memory are not those of the rows; see Reload.
	stale  bool
	folded int
	// room is for how many rows changes has grown.
	room int
}

// NewProjection binds views to a generation and reads back what they keep.
func NewProjection(ctx context.Context, name string, gen Generation, views ...View) (*Projection, error) {
	p := &Projection{name: name, gen: gen, views: views}
	return p, p.Reload(ctx)
}

// Bulk makes p fold more events before it stores rows, for a generation that
// does not serve yet: its rows are complete only after Flush.
func (p *Projection) Bulk() *Projection {
	p.bulk = true
	return p
}

// Bounds of what is folded before it is stored in bulk, and of the changed rows
// for which a serving view always keeps memory.
const (
	bulkEvents = 32 << 10
	bulkRows   = 20 << 10
	usualRows  = 512
)

// Name returns the name it was made with.
func (p *Projection) Name() string { return p.name }

// Checkpoint returns up to where events are folded.
func (p *Projection) Checkpoint() Checkpoint { return p.at }

// Consume folds events and stores the rows with the checkpoint.
func (p *Projection) Consume(ctx context.Context, to Checkpoint, events []Event) error {
	if p.stale {
		// These events were chosen by a checkpoint that may not be the stored one.
		return errors.Join(fmt.Errorf("view %s was not read back: %w", p.name, domain.ErrUnavailable), p.Reload(ctx))
	}
	for i := range events {
		for _, v := range p.views {
			v.Apply(&events[i], &p.changes)
		}
	}
	to.Generation = p.at.Generation
	p.at, p.folded = to, p.folded+len(events)
	if p.bulk && p.folded < bulkEvents && p.changes.Len() < bulkRows {
		return nil
	}
	return p.Flush(ctx)
}

// Flush stores what is folded.
func (p *Projection) Flush(ctx context.Context) error {
	if p.at == p.stored {
		return nil
	}
	if err := p.gen.Commit(ctx, p.stored, p.at, &p.changes); err != nil {
		// The views are ahead of the rows now; nothing is applied to them again
		// before they have read back what is stored.
		err = fmt.Errorf("storing rows up to %s: %w", p.at.Position, err)
		p.at, p.stale = p.stored, true
		return errors.Join(err, p.readBack(ctx))
	}
	p.stored, p.folded = p.at, 0
	p.emptyChanges()
	return nil
}

// readBackTime bounds reading back after a failure: an engine that hangs must not
// hold up the end of a process. What is not read back stays stale.
const readBackTime = 5 * time.Second

// readBack is Reload also where ctx has ended because another consumer failed.
func (p *Projection) readBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readBackTime)
	defer cancel()
	return p.Reload(ctx)
}

// emptyChanges keeps memory for the next batch, but a serving view not after one
// that needed far more: there is a changed row for each person who did something.
func (p *Projection) emptyChanges() {
	rows := p.changes.Len()
	if !p.bulk && p.room > usualRows && rows < p.room/4 {
		p.rest()
		return
	}
	p.room = max(p.room, rows)
	p.changes.Reset()
}

// rest gives back the memory of changed rows. There are none.
func (p *Projection) rest() { p.changes, p.room = Changes{}, 0 }

// Reload reads checkpoint and views back from the rows.
func (p *Projection) Reload(ctx context.Context) error {
	p.folded = 0
	p.emptyChanges()
	err := p.gen.Snapshot(ctx, func(at Checkpoint, rows Rows) error {
		p.at, p.stored = at, at
		p.stale = true
		for _, v := range p.views {
			if err := v.Restore(rows); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading back view %s: %w", p.name, err)
	}
	p.stale = false
	return nil
}

// Tables returns what an engine stores for the views, and the relations that it
// shows.
func Tables(views ...View) (tables []*Table, relations []Relation) {
	for _, v := range views {
		tables = append(tables, v.Tables()...)
		relations = append(relations, v.Relations()...)
	}
	return tables, relations
}

// ErrNoView says that there is no view of that name.
var ErrNoView = fmt.Errorf("view %w", domain.ErrNotFound)

// NewView makes the named view.
func NewView(name string) (View, error) {
	for _, v := range Views() {
		if v.Name() == name {
			return v, nil
		}
	}
	return nil, fmt.Errorf("%q: %w", name, ErrNoView)
}
