package esdbtest

import (
	"context"
	"errors"
	"io"
	"math"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// maxAppendSize bounds the data of an append; types and metadata do not count.
const maxAppendSize = 1 << 20

// maxMessage bounds one message of a caller. The transport's own limit lies
// above it, because its words would be others.
const (
	maxMessage   = 16<<20 - 1024
	maxTransport = 64 << 20
)

// streams serves the Streams service of one server.
type streams struct {
	api.UnimplementedStreamsServer
	s *Server
}

// appending is an append as far as it was received.
type appending struct {
	options  *api.AppendReq_Options
	stream   string
	expected expectation
	events   []proposal
	size     int
}

// Append receives an append whole, decides, and writes all of it or nothing.
func (h streams) Append(in api.Streams_AppendServer) error {
	a := &appending{}
	for {
		req, err := in.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if proto.Size(req) > maxMessage {
			return fail(codes.ResourceExhausted, "Received message exceeds the maximum configured message size.")
		}
		if err := h.take(in.Context(), a, req); err != nil {
			return err
		}
	}
	if a.options == nil {
		return handlerFailure()
	}
	out, err := h.s.append(in.Context(), a)
	if err != nil {
		return err
	}
	return in.SendAndClose(a.answer(out))
}

// take receives one message. What is refused is refused at once, in the middle
// of what the caller still sends.
func (h streams) take(ctx context.Context, a *appending, req *api.AppendReq) error {
	switch c := req.GetContent().(type) {
	case *api.AppendReq_Options_:
		if a.options != nil {
			return handlerFailure()
		}
		if err := a.begin(c.Options); err != nil {
			return err
		}
		return h.s.admit(ctx, a.call())
	case *api.AppendReq_ProposedMessage_:
		if a.options == nil {
			return handlerFailure()
		}
		return a.add(c.ProposedMessage)
	}
	return handlerFailure()
}

func (a *appending) begin(o *api.AppendReq_Options) error {
	a.options, a.stream = o, streamName(o.GetStreamIdentifier())
	if a.stream == "" || a.stream == "$$" {
		return handlerFailure()
	}
	switch e := o.GetExpectedStreamRevision().(type) {
	case *api.AppendReq_Options_NoStream:
		a.expected = expectNone
	case *api.AppendReq_Options_Any:
		a.expected = expectAny
	case *api.AppendReq_Options_StreamExists:
		a.expected = expectExists
	case *api.AppendReq_Options_Revision:
		var err error
		a.expected, err = exactly(e.Revision)
		return err
	default:
		return notValid("None", "AppendReq+Types+Options+ExpectedStreamRevisionOneofCase")
	}
	return nil
}

// exactly takes a revision; the largest number there is stands for no stream.
func exactly(revision uint64) (expectation, error) {
	if revision == math.MaxUint64 {
		return expectNone, nil
	}
	if revision > math.MaxInt64 {
		return 0, handlerFailure()
	}
	return expectation(revision), nil
}

func (a *appending) add(m *api.AppendReq_ProposedMessage) error {
	kind, typed := m.GetMetadata()["type"]
	content, told := m.GetMetadata()["content-type"]
	id, valid := readID(m.GetId())
	switch {
	case !typed:
		return missingProperty("type")
	case !told:
		return missingProperty("content-type")
	case !valid || kind == "":
		return handlerFailure()
	}
	a.size += len(m.GetData())
	if a.size > maxAppendSize {
		return tooLarge()
	}
	a.events = append(a.events, proposal{id: id, kind: kind, json: content == "application/json", data: m.GetData(), custom: m.GetCustomMetadata()})
	return nil
}

func (a *appending) call() Call {
	return Call{Method: MethodAppend, Stream: a.stream, Expected: int64(a.expected), Events: len(a.events)}
}

func (a *appending) answer(o outcome) *api.AppendResp {
	if o.verdict == wrong {
		return wrongRevision(o.current, a.options)
	}
	return appendSuccess(o)
}

// append carries an append out: one that equals another still in flight is
// dropped and never answered.
func (s *Server) append(ctx context.Context, a *appending) (outcome, error) {
	leave, err := s.enter(ctx, a)
	if err != nil {
		return outcome{}, err
	}
	defer leave()
	run, err := s.beforeCommit(ctx, a.call())
	if err != nil {
		return outcome{}, err
	}
	out, err := s.commit(run, func(l *ledger) outcome { return l.append(a.stream, a.expected, a.events, s.partial(a.call())) })
	leave()
	if err != nil {
		return outcome{}, err
	}
	if out.verdict == deleted {
		return outcome{}, streamDeleted(a.stream)
	}
	return out, s.afterCommit(ctx, a.call(), out)
}
