package lethe

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore/outbox"
)

// A localBook is of one machine: gaps are kept in the file, and the log's own notes
// say whether one stands in it.
type localBook struct {
	file *gapFile
	node *ledger.Node
}

func (b *localBook) known() []outbox.Debt { return b.file.known() }

func (b *localBook) keep(d outbox.Debt) error {
	kept := fileDebt{Debt: d}
	if at := b.file.index(d.ID); at >= 0 {
		kept.Tried = b.file.debts[at].Tried
	}
	return b.file.put(kept)
}

func (b *localBook) forget(id domain.EventID) error { return b.file.forget(id) }

// note asks first whether whoever tried before has noted the gap. That process is
// gone: it did, or it never will.
func (b *localBook) note(ctx context.Context, d outbox.Debt) error {
	at := b.file.index(d.ID)
	if at < 0 {
		return fmt.Errorf("gap %s is not kept: %w", d.ID, domain.ErrNotFound)
	}
	kept, since := b.file.debts[at], time.Unix(d.From, 0)
	if kept.Tried != b.node.Writer() {
		noted, err := b.node.Noted(ctx, kept.Tried, d.ID, since)
		if err != nil {
			return err
		}
		if noted {
			return b.file.forget(d.ID)
		}
		kept.Tried = b.node.Writer()
		if err := b.file.put(kept); err != nil {
			return err
		}
	}
	if err := b.node.NoteGap(ctx, d.ID, since, d.Facts()...); err != nil {
		return err
	}
	return b.file.forget(d.ID)
}

// An outboxBook is of a process beyond one machine: gaps are kept in the file, which
// takes them in place however long they last, and paid by the outbox, whose commit
// that appends the note clears the debt.
type outboxBook struct {
	box   *outbox.Outbox
	notes outbox.Notes
	file  *gapFile
}

// known are those that were on their way to be paid, and those in the file.
func (b *outboxBook) known() []outbox.Debt {
	all := b.box.Debts()
	for _, d := range b.file.known() {
		if !slices.ContainsFunc(all, func(o outbox.Debt) bool { return o.ID == d.ID }) {
			all = append(all, d)
		}
	}
	return all
}

func (b *outboxBook) keep(d outbox.Debt) error { return b.file.put(fileDebt{Debt: d}) }

func (b *outboxBook) forget(id domain.EventID) error { return b.file.forget(id) }

// note moves a gap from the file to the outbox before it is paid there: what is paid
// must not be owed again by a file that was left behind.
func (b *outboxBook) note(ctx context.Context, d outbox.Debt) error {
	if b.file.index(d.ID) >= 0 {
		if err := b.box.Owe(d); err != nil {
			return err
		}
		if err := b.file.forget(d.ID); err != nil {
			return err
		}
	}
	return b.box.PayDebt(ctx, b.notes, d.ID)
}

// openGaps opens what is owed by this process and those before it, and pays what can
// be paid.
func (e *edge) openGaps(ctx context.Context) error {
	l := e.lethe
	file, err := openGapFile(l.cfg.Data)
	if err != nil {
		return err
	}
	var book gapBook = &localBook{file: file, node: e.node}
	if l.shared != nil {
		book = &outboxBook{box: l.shared.outbox, notes: l.ledger.NewScribe(), file: file}
	}
	e.gaps = newGaps(book, file, l.log)
	if e.gaps.count() > 0 {
		e.try(ctx, "noting gaps", e.gaps.Pay)
	}
	return nil
}
