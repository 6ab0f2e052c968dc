package ledger

import (
	"context"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// NoteGap appends gap.recorded under an id of its own, once: not if an event of that
// id stands, since a time, among the notes of this process, or of tried, the one that
// last tried before (zero: none did). The same call settles what is left unknown.
func (n *Node) NoteGap(ctx context.Context, tried domain.WriterID, id domain.EventID, since time.Time, facts ...domain.Fact) error {
	if !tried.IsZero() && tried != n.writer {
		stands, err := n.stands(ctx, tried, id, since, n.ledger.Clock())
		if err != nil || stands {
			return err
		}
	}
	return n.noteAs(ctx, id, since, domain.GapRecorded, facts...)
}
