package lethe

import (
	"context"

	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
)

// fillerType is that of an event which holds nothing and stands where a truncated
// one stood: revisions are named by records such as stream.disposed, and those of a
// stream begin at 0. Readers skip types that begin with $.
const fillerType domain.EventType = "$lethe-filler"

// fillerEvents bounds the fillers of one append.
const fillerEvents = 1000

// filler is the filler at a revision. Its id follows from its place, so that it is
// written once however often it is sent.
func filler(s domain.Stream, r domain.Revision) domain.Sealed {
	stream := domain.CommandID(uuid.NewSHA1(uuid.NameSpaceOID, []byte("lethe/filler/v1\n"+string(s))))
	return domain.NewSealed(domain.Event(stream, uint32(r)), s, fillerType, nil, nil) //nolint:gosec // no stream has 2^32 events
}

// fill appends fillers up to the first revision that a stream has left.
func (t *transfer) fill(ctx context.Context, s domain.Stream, upTo domain.Revision) error {
	for at := domain.Revision(0); at < upTo; {
		expected := at - 1
		var events []domain.Sealed
		for at < upTo && len(events) < fillerEvents {
			events = append(events, filler(s, at))
			at++
		}
		if err := t.append(ctx, s, expected, events); err != nil {
			return err
		}
	}
	return nil
}
