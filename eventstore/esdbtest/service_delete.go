package esdbtest

import (
	"context"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// Delete hides a stream until something is appended to it.
func (h streams) Delete(ctx context.Context, req *api.DeleteReq) (*api.DeleteResp, error) {
	o := req.GetOptions()
	expected, err := expectedOf("DeleteReq", o.GetExpectedStreamRevision())
	if err != nil {
		return nil, err
	}
	stream := streamName(o.GetStreamIdentifier())
	out, err := h.delete(ctx, MethodDelete, stream, expected, func(l *ledger) outcome { return l.softDelete(stream, expected) })
	if err != nil {
		return nil, err
	}
	return &api.DeleteResp{PositionOption: &api.DeleteResp_Position_{Position: &api.DeleteResp_Position{CommitPosition: out.position, PreparePosition: out.position}}}, nil
}

// Tombstone ends a stream for ever.
func (h streams) Tombstone(ctx context.Context, req *api.TombstoneReq) (*api.TombstoneResp, error) {
	o := req.GetOptions()
	expected, err := expectedOf("TombstoneReq", o.GetExpectedStreamRevision())
	if err != nil {
		return nil, err
	}
	stream := streamName(o.GetStreamIdentifier())
	out, err := h.delete(ctx, MethodTombstone, stream, expected, func(l *ledger) outcome { return l.tombstone(stream, expected) })
	if err != nil {
		return nil, err
	}
	return &api.TombstoneResp{PositionOption: &api.TombstoneResp_Position_{Position: &api.TombstoneResp_Position{CommitPosition: out.position, PreparePosition: out.position}}}, nil
}

// expectedOf reads the expected revision of a deletion, which two messages
// express by types of their own.
func expectedOf(message string, option any) (expectation, error) {
	switch e := option.(type) {
	case *api.DeleteReq_Options_NoStream, *api.TombstoneReq_Options_NoStream:
		return expectNone, nil
	case *api.DeleteReq_Options_Any, *api.TombstoneReq_Options_Any:
		return expectAny, nil
	case *api.DeleteReq_Options_StreamExists, *api.TombstoneReq_Options_StreamExists:
		return expectExists, nil
	case *api.DeleteReq_Options_Revision:
		return exactly(e.Revision)
	case *api.TombstoneReq_Options_Revision:
		return exactly(e.Revision)
	}
	return 0, notValid("None", message+"+Types+Options+ExpectedStreamRevisionOneofCase")
}

func (h streams) delete(ctx context.Context, method, stream string, expected expectation, write func(*ledger) outcome) (outcome, error) {
	if stream == "" {
		return outcome{}, handlerFailure()
	}
	call := Call{Method: method, Stream: stream, Expected: int64(expected)}
	if err := h.s.admit(ctx, call); err != nil {
		return outcome{}, err
	}
	run, err := h.s.beforeCommit(ctx, call)
	if err != nil {
		return outcome{}, err
	}
	out, err := h.s.commit(run, write)
	if err != nil {
		return outcome{}, err
	}
	switch out.verdict {
	case wrong:
		return outcome{}, deleteFailed(stream, expected, out.current)
	case deleted:
		return outcome{}, streamDeleted(stream)
	case accept, repeat:
	}
	return out, h.s.afterCommit(ctx, call, out)
}
