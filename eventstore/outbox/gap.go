package outbox

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A Debt is a gap in the record that a pool let happen because the outbox was full:
// it is owed to the log as gap.recorded.
type Debt struct {
	ID          domain.EventID `json:"id"` // random
	Pool        string         `json:"pool"`
	From        int64          `json:"from"` // Unix seconds
	To          int64          `json:"to"`
	Connections int64          `json:"connections"`
	Bytes       int64          `json:"bytes"` // rounded (FORMAT §3): it lies in clear
}

// owed is a debt with the segment that says so.
type owed struct {
	Debt
	segment *segment
}

// maxDebts bounds the debts; beyond, Owe answers ErrFull.
const maxDebts = 256

func (d Debt) append(b []byte) []byte {
	b = append(b, d.ID[:]...)
	for _, n := range []int64{d.From, d.To, d.Connections, d.Bytes} {
		b = binary.AppendUvarint(b, uint64(n)) //nolint:gosec // checked by Owe
	}
	b = binary.AppendUvarint(b, uint64(len(d.Pool)))
	return append(b, d.Pool...)
}

func (d *decoder) debt() (out Debt) {
	copy(out.ID[:], d.fixed(16))
	for _, n := range []*int64{&out.From, &out.To, &out.Connections, &out.Bytes} {
		*n = int64(d.number()) //nolint:gosec // as written
	}
	out.Pool = string(d.bytes())
	return out
}

// Owe notes a gap durably, also when the outbox is full. A debt with a known ID
// replaces what was noted under it, so a gap that goes on is owed again with its
// new end.
func (b *Outbox) Owe(d Debt) error {
	if d.ID.IsZero() || d.Pool == "" || len(d.Pool) > 160 || d.From < 0 || d.To < d.From || d.Connections < 0 || d.Bytes < 0 {
		return fmt.Errorf("gap of pool %s: %w", d.Pool, eventstore.ErrInvalid)
	}
	err := b.commit(&unit{page: naming, place: func(c *commit) error {
		at := slices.IndexFunc(b.debts, func(o owed) bool { return o.ID == d.ID })
		if at < 0 && len(b.debts) >= maxDebts {
			return fmt.Errorf("%d gaps are owed: %w", len(b.debts), ErrFull)
		}
		c.owe(d)
		return nil
	}})
	if err != nil {
		return fmt.Errorf("owe a gap of pool %s: %w", d.Pool, err)
	}
	return nil
}

// Debts are the gaps that are owed, oldest first.
func (b *Outbox) Debts() []Debt {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Debt, len(b.debts))
	for i, o := range b.debts {
		out[i] = o.Debt
	}
	return out
}

// PayDebt appends gap.recorded for the debt that is owed under an id, made by notes;
// the same commit clears it. Whoever found the outbox full calls it before it appends
// again. With ErrFull it is still owed; what is not owed is paid.
func (b *Outbox) PayDebt(ctx context.Context, notes Notes, id domain.EventID) error {
	debts := b.Debts()
	at := slices.IndexFunc(debts, func(d Debt) bool { return d.ID == id })
	if at < 0 {
		return nil
	}
	d := debts[at]
	note, err := notes.Note(ctx, domain.GapRecorded, d.Facts()...)
	if err != nil {
		return fmt.Errorf("note a gap of pool %s: %w", d.Pool, err)
	}
	if err := b.pay(d, note); err != nil {
		return fmt.Errorf("pay a gap of pool %s: %w", d.Pool, err)
	}
	return nil
}

// Facts are those of its gap.recorded.
func (d Debt) Facts() []domain.Fact {
	return []domain.Fact{
		domain.Name("pool", d.Pool), domain.Int("from", d.From), domain.Int("to", d.To),
		positive("connections", d.Connections), positive("bytes", d.Bytes),
	}
}

func positive(name string, n int64) domain.Fact {
	if n == 0 {
		return domain.Fact{}
	}
	return domain.Int(name, n)
}

// pay appends a note and clears the debt.
func (b *Outbox) pay(d Debt, note domain.Sealed) error {
	return b.commit(&unit{size: sizeOf([]domain.Sealed{note}), page: 2 * naming, place: func(c *commit) error {
		if !slices.ContainsFunc(b.debts, func(o owed) bool { return o.ID == d.ID }) {
			return nil // another call paid it
		}
		if b.used+int64(note.Size()) > b.opt.MaxBytes {
			return ErrFull
		}
		c.note(note)
		c.entry(entry{kind: entryPaid, debt: d})
		c.then = append(c.then, func() { b.paid(d.ID) })
		return nil
	}})
}

// note lays a note of the outbox's own behind whatever came for its stream.
func (c *commit) note(e domain.Sealed) {
	l := c.box.lanes[e.Stream()]
	if l == nil {
		l = c.box.lane(e.Stream(), 0)
	}
	c.event(l, e)
}

func (c *commit) owe(d Debt) {
	c.entry(entry{kind: entryOwed, debt: d})
	c.then = append(c.then, func() { c.box.oweAgain(d, c.segment) })
}

// oweAgain notes in memory what segment s says. It needs mu.
func (b *Outbox) oweAgain(d Debt, s *segment) {
	i := slices.IndexFunc(b.debts, func(o owed) bool { return o.ID == d.ID })
	if i < 0 {
		b.debts = append(b.debts, owed{Debt: d, segment: s})
		return
	}
	b.debts[i] = owed{Debt: d, segment: s}
}

// paid clears a debt in memory. It needs mu.
func (b *Outbox) paid(id domain.EventID) {
	b.debts = slices.DeleteFunc(b.debts, func(o owed) bool { return o.ID == id })
}
