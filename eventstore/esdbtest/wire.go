package esdbtest

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
)

func streamName(id *shared.StreamIdentifier) string {
	return strings.ToValidUTF8(string(id.GetStreamName()), "\ufffd")
}

func streamID(name string) *shared.StreamIdentifier {
	return &shared.StreamIdentifier{StreamName: []byte(name)}
}

// readID takes an id in either of its two forms; a missing or zero one is none.
func readID(id *shared.UUID) (uuid.UUID, bool) {
	switch v := id.GetValue().(type) {
	case *shared.UUID_Structured_:
		var out uuid.UUID
		binary.BigEndian.PutUint64(out[:8], uint64(v.Structured.GetMostSignificantBits()))
		binary.BigEndian.PutUint64(out[8:], uint64(v.Structured.GetLeastSignificantBits()))
		return out, out != uuid.Nil
	case *shared.UUID_String_:
		out, err := uuid.Parse(v.String_)
		return out, err == nil && out != uuid.Nil
	}
	return uuid.Nil, false
}

func writeID(id uuid.UUID, asString bool) *shared.UUID {
	if asString {
		return &shared.UUID{Value: &shared.UUID_String_{String_: id.String()}}
	}
	return &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
		MostSignificantBits:  int64(binary.BigEndian.Uint64(id[:8])),
		LeastSignificantBits: int64(binary.BigEndian.Uint64(id[8:])),
	}}}
}

// contentType: everything that is not JSON to the letter is bytes.
func contentType(r *record) string {
	if r.json {
		return "application/json"
	}
	return "application/octet-stream"
}

func recordedEvent(r *record, idString bool) *api.ReadResp_ReadEvent_RecordedEvent {
	return &api.ReadResp_ReadEvent_RecordedEvent{
		Id:               writeID(r.id, idString),
		StreamIdentifier: streamID(r.stream),
		StreamRevision:   uint64(r.revision),
		PreparePosition:  r.position,
		CommitPosition:   r.position,
		Metadata: map[string]string{
			"type":         r.kind,
			"created":      strconv.FormatInt(r.created.UnixNano()/100, 10),
			"content-type": contentType(r),
		},
		CustomMetadata: r.custom,
		Data:           r.data,
	}
}

// readEvent answers a record; link is the link that led to it, if one did.
func readEvent(r, link *record, idString bool) *api.ReadResp {
	out := &api.ReadResp_ReadEvent{}
	outer := r
	if link != nil {
		outer, out.Link = link, recordedEvent(link, idString)
	}
	if r != nil {
		out.Event = recordedEvent(r, idString)
	}
	out.Position = &api.ReadResp_ReadEvent_CommitPosition{CommitPosition: outer.position}
	return &api.ReadResp{Content: &api.ReadResp_Event{Event: out}}
}

func notFound(stream string) *api.ReadResp {
	return &api.ReadResp{Content: &api.ReadResp_StreamNotFound_{StreamNotFound: &api.ReadResp_StreamNotFound{StreamIdentifier: streamID(stream)}}}
}

func confirmation(id uuid.UUID) *api.ReadResp {
	return &api.ReadResp{Content: &api.ReadResp_Confirmation{Confirmation: &api.ReadResp_SubscriptionConfirmation{SubscriptionId: id.String()}}}
}

func caughtUp() *api.ReadResp {
	return &api.ReadResp{Content: &api.ReadResp_CaughtUp_{CaughtUp: &api.ReadResp_CaughtUp{}}}
}

func checkpoint(r *record) *api.ReadResp {
	return &api.ReadResp{Content: &api.ReadResp_Checkpoint_{Checkpoint: &api.ReadResp_Checkpoint{CommitPosition: r.position, PreparePosition: r.position}}}
}

func firstPositionOf(n int64) *api.ReadResp {
	return &api.ReadResp{Content: &api.ReadResp_FirstStreamPosition{FirstStreamPosition: uint64(n)}}
}

func lastPositionOf(n int64) *api.ReadResp {
	return &api.ReadResp{Content: &api.ReadResp_LastStreamPosition{LastStreamPosition: uint64(n)}}
}

// appendSuccess answers an append that is in the log.
func appendSuccess(o outcome) *api.AppendResp {
	s := &api.AppendResp_Success{}
	if o.revision == noEvents {
		s.CurrentRevisionOption = &api.AppendResp_Success_NoStream{NoStream: &shared.Empty{}}
	} else {
		s.CurrentRevisionOption = &api.AppendResp_Success_CurrentRevision{CurrentRevision: uint64(o.revision)}
	}
	if o.position == 0 {
		s.PositionOption = &api.AppendResp_Success_NoPosition{NoPosition: &shared.Empty{}}
	} else {
		s.PositionOption = &api.AppendResp_Success_Position{Position: &api.AppendResp_Position{CommitPosition: o.position, PreparePosition: o.position}}
	}
	return &api.AppendResp{Result: &api.AppendResp_Success_{Success: s}}
}

// wrongRevision fills both generations of the answer's fields.
func wrongRevision(current int64, asked *api.AppendReq_Options) *api.AppendResp {
	w, none := &api.AppendResp_WrongExpectedVersion{}, &shared.Empty{}
	if current == noEvents {
		w.CurrentRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_NoStream_20_6_0{NoStream_20_6_0: none}
		w.CurrentRevisionOption = &api.AppendResp_WrongExpectedVersion_CurrentNoStream{CurrentNoStream: none}
	} else {
		w.CurrentRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_CurrentRevision_20_6_0{CurrentRevision_20_6_0: uint64(current)}
		w.CurrentRevisionOption = &api.AppendResp_WrongExpectedVersion_CurrentRevision{CurrentRevision: uint64(current)}
	}
	switch asked.GetExpectedStreamRevision().(type) {
	case *api.AppendReq_Options_Any:
		w.ExpectedRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_Any_20_6_0{Any_20_6_0: none}
		w.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedAny{ExpectedAny: none}
	case *api.AppendReq_Options_StreamExists:
		w.ExpectedRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_StreamExists_20_6_0{StreamExists_20_6_0: none}
		w.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedStreamExists{ExpectedStreamExists: none}
	case *api.AppendReq_Options_NoStream:
		w.ExpectedRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{ExpectedRevision_20_6_0: math.MaxUint64}
		w.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: none}
	default:
		w.ExpectedRevisionOption_20_6_0 = &api.AppendResp_WrongExpectedVersion_ExpectedRevision_20_6_0{ExpectedRevision_20_6_0: asked.GetRevision()}
		w.ExpectedRevisionOption = &api.AppendResp_WrongExpectedVersion_ExpectedRevision{ExpectedRevision: asked.GetRevision()}
	}
	return &api.AppendResp{Result: &api.AppendResp_WrongExpectedVersion_{WrongExpectedVersion: w}}
}
