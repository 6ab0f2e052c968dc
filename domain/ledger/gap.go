package ledger

import (
	"context"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// Noted reports whether an event stands among the notes that a process made since a
// time.
func (n *Node) Noted(ctx context.Context, writer domain.WriterID, id domain.EventID, since time.Time) (bool, error) {
	if writer.IsZero() {
		return false, nil
	}
	return n.stands(ctx, writer, id, since, n.ledger.Clock())
}

// NoteGap appends gap.recorded under an id of its own, unless this process has done
// so since a time: called again, it settles what an answer that was lost left unknown.
func (n *Node) NoteGap(ctx context.Context, id domain.EventID, since time.Time, facts ...domain.Fact) error {
	return n.noteAs(ctx, id, since, domain.GapRecorded, facts...)
}
