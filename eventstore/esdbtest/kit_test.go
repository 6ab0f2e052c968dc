package esdbtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A kit drives one rule with the raw stubs and writes what came back in the
// notation of testdata/observed.tsv.
type kit struct {
	t   *testing.T
	id  string
	s   *Server
	c   api.StreamsClient
	con *grpc.ClientConn
	ctx context.Context

	mu     *sync.Mutex
	ids    map[string]uuid.UUID
	labels map[uuid.UUID]string
}

func dial(t *testing.T, s *Server) *grpc.ClientConn {
	t.Helper()
	con, err := grpc.NewClient(s.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(17<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { con.Close() })
	return con
}

func newKit(t *testing.T, id string, s *Server, con *grpc.ClientConn) *kit {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return &kit{t: t, id: id, s: s, con: con, c: api.NewStreamsClient(con), ctx: ctx, mu: &sync.Mutex{}, ids: map[string]uuid.UUID{}, labels: map[uuid.UUID]string{}}
}

// st names a stream of the rule.
func (k *kit) st(name string) string { return k.id + "-" + name }

// ev is the id of the event with a label; the same label is the same event.
func (k *kit) ev(label string) uuid.UUID {
	k.mu.Lock()
	defer k.mu.Unlock()
	id, known := k.ids[label]
	if !known {
		id = uuid.New()
		k.ids[label], k.labels[id] = id, label
	}
	return id
}

// run makes labels: run("e", 0, 3) is e0 e1 e2.
func run(prefix string, from, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = prefix + strconv.Itoa(from+i)
	}
	return out
}

// hide writes the streams of the rule as the table does.
func (k *kit) hide(s string) string {
	return regexp.MustCompile(regexp.QuoteMeta(k.id)+`-([a-z]\d*)`).ReplaceAllString(s, "{$1}")
}

// failed writes a status; those of the transport bear only their code.
func (k *kit) failed(err error, trailers metadata.MD) string {
	s := status.Convert(err)
	if c := s.Code(); c == codes.Canceled || c == codes.DeadlineExceeded || c == codes.Unimplemented {
		return c.String()
	}
	var shown []string
	for _, key := range slices.Sorted(maps.Keys(trailers)) {
		if key != "content-type" {
			shown = append(shown, key+"="+strings.Join(trailers[key], ","))
		}
	}
	return k.hide(s.Code().String() + " " + strconv.Quote(s.Message()) + " {" + strings.Join(shown, " ") + "}")
}

// options make the first message of an append. The revision is a number, one of
// the three words, or nil for none.
func options(stream string, expected any) *api.AppendReq_Options {
	o := &api.AppendReq_Options{StreamIdentifier: streamID(stream)}
	switch e := expected.(type) {
	case int:
		o.ExpectedStreamRevision = &api.AppendReq_Options_Revision{Revision: uint64(e)}
	case uint64:
		o.ExpectedStreamRevision = &api.AppendReq_Options_Revision{Revision: e}
	case string:
		switch e {
		case "NoStream":
			o.ExpectedStreamRevision = &api.AppendReq_Options_NoStream{NoStream: &shared.Empty{}}
		case "Any":
			o.ExpectedStreamRevision = &api.AppendReq_Options_Any{Any: &shared.Empty{}}
		case "StreamExists":
			o.ExpectedStreamRevision = &api.AppendReq_Options_StreamExists{StreamExists: &shared.Empty{}}
		}
	}
	return o
}

// message makes one event; change may be nil.
func (k *kit) message(label string, change func(*api.AppendReq_ProposedMessage)) *api.AppendReq_ProposedMessage {
	m := &api.AppendReq_ProposedMessage{
		Id:       writeID(k.ev(label), false),
		Metadata: map[string]string{"type": "t-" + label, "content-type": "application/octet-stream"},
		Data:     []byte("data of " + label),
	}
	if change != nil {
		change(m)
	}
	return m
}

func (k *kit) messages(labels []string) []*api.AppendReq_ProposedMessage {
	out := make([]*api.AppendReq_ProposedMessage, len(labels))
	for i, l := range labels {
		out[i] = k.message(l, nil)
	}
	return out
}

func optionsMessage(o *api.AppendReq_Options) *api.AppendReq {
	return &api.AppendReq{Content: &api.AppendReq_Options_{Options: o}}
}

func eventMessage(m *api.AppendReq_ProposedMessage) *api.AppendReq {
	return &api.AppendReq{Content: &api.AppendReq_ProposedMessage_{ProposedMessage: m}}
}

// post sends the messages of an append as they are.
func (k *kit) post(ctx context.Context, messages ...*api.AppendReq) (*api.AppendResp, metadata.MD, error) {
	call, err := k.c.Append(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range messages {
		if err := call.Send(m); err != nil {
			if !errors.Is(err, io.EOF) {
				return nil, nil, err
			}
			break // the server has answered already
		}
	}
	resp, err := call.CloseAndRecv()
	return resp, call.Trailer(), err
}

// full makes all messages of an append.
func full(o *api.AppendReq_Options, events ...*api.AppendReq_ProposedMessage) []*api.AppendReq {
	out := []*api.AppendReq{optionsMessage(o)}
	for _, e := range events {
		out = append(out, eventMessage(e))
	}
	return out
}

// app appends the labelled events.
func (k *kit) app(stream string, expected any, labels ...string) string {
	return k.send(full(options(stream, expected), k.messages(labels)...)...)
}

// one appends a single changed event.
func (k *kit) one(stream string, expected any, label string, change func(*api.AppendReq_ProposedMessage)) string {
	return k.send(full(options(stream, expected), k.message(label, change))...)
}

func (k *kit) send(messages ...*api.AppendReq) string {
	resp, trailers, err := k.post(k.ctx, messages...)
	if err != nil {
		return k.failed(err, trailers)
	}
	return answered(resp)
}

// answered writes the answer to an append.
func answered(resp *api.AppendResp) string {
	if w := resp.GetWrongExpectedVersion(); w != nil {
		return wev(w)
	}
	s := resp.GetSuccess()
	out := "ok no_stream"
	if _, has := s.GetCurrentRevisionOption().(*api.AppendResp_Success_CurrentRevision); has {
		out = fmt.Sprintf("ok rev=%d", s.GetCurrentRevision())
	}
	return out + " " + placed(s.GetPosition().GetCommitPosition(), s.GetPosition().GetPreparePosition(), s.GetPosition() != nil)
}

func placed(commit, prepare uint64, known bool) string {
	switch {
	case !known:
		return "no_position"
	case commit == prepare:
		return "commit==prepare"
	}
	return "commit!=prepare"
}

func wev(w *api.AppendResp_WrongExpectedVersion) string {
	number := func(n uint64) string {
		if n == math.MaxUint64 {
			return "maxuint64"
		}
		return strconv.FormatUint(n, 10)
	}
	var parts []string
	add := func(name string, option any, value uint64) {
		kind := fmt.Sprintf("%T", option)
		shown := number(value)
		switch {
		case option == nil:
			return
		case strings.Contains(kind, "NoStream"):
			shown = "no_stream"
		case strings.Contains(kind, "Any"):
			shown = "any"
		case strings.Contains(kind, "StreamExists"):
			shown = "stream_exists"
		}
		parts = append(parts, name+"="+shown)
	}
	add("cur20", w.GetCurrentRevisionOption_20_6_0(), w.GetCurrentRevision_20_6_0())
	add("exp20", w.GetExpectedRevisionOption_20_6_0(), w.GetExpectedRevision_20_6_0())
	add("cur", w.GetCurrentRevisionOption(), w.GetCurrentRevision())
	add("exp", w.GetExpectedRevisionOption(), w.GetExpectedRevision())
	return "WEV{" + strings.Join(parts, " ") + "}"
}

// positionOf appends and answers the position.
func (k *kit) positionOf(stream string, expected any, labels ...string) uint64 {
	resp, _, err := k.post(k.ctx, full(options(stream, expected), k.messages(labels)...)...)
	if err != nil || resp.GetSuccess() == nil {
		k.t.Fatalf("append to %s: %v %v", stream, resp, err)
	}
	return resp.GetSuccess().GetPosition().GetCommitPosition()
}

// must appends and expects success.
func (k *kit) must(stream string, expected any, labels ...string) {
	k.positionOf(stream, expected, labels...)
}

// meta writes metadata of a stream.
func (k *kit) meta(stream, body string) string {
	return k.metaAs(stream, "Any", "meta"+uuid.NewString(), body)
}

func (k *kit) metaAs(stream string, expected any, label, body string) string {
	return k.one("$$"+stream, expected, label, func(m *api.AppendReq_ProposedMessage) {
		m.Metadata["type"], m.Metadata["content-type"], m.Data = "$metadata", "application/json", []byte(body)
	})
}

// del soft-deletes, or tombstones.
func (k *kit) del(stream string, expected any, hard bool) string {
	var trailers metadata.MD
	var commit, prepare uint64
	var known bool
	var err error
	o := options(stream, expected)
	if hard {
		req := &api.TombstoneReq_Options{StreamIdentifier: o.StreamIdentifier}
		switch e := o.ExpectedStreamRevision.(type) {
		case *api.AppendReq_Options_Revision:
			req.ExpectedStreamRevision = &api.TombstoneReq_Options_Revision{Revision: e.Revision}
		case *api.AppendReq_Options_NoStream:
			req.ExpectedStreamRevision = &api.TombstoneReq_Options_NoStream{NoStream: e.NoStream}
		case *api.AppendReq_Options_Any:
			req.ExpectedStreamRevision = &api.TombstoneReq_Options_Any{Any: e.Any}
		case *api.AppendReq_Options_StreamExists:
			req.ExpectedStreamRevision = &api.TombstoneReq_Options_StreamExists{StreamExists: e.StreamExists}
		}
		var resp *api.TombstoneResp
		resp, err = k.c.Tombstone(k.ctx, &api.TombstoneReq{Options: req}, grpc.Trailer(&trailers))
		commit, prepare, known = resp.GetPosition().GetCommitPosition(), resp.GetPosition().GetPreparePosition(), resp.GetPosition() != nil
	} else {
		req := &api.DeleteReq_Options{StreamIdentifier: o.StreamIdentifier}
		switch e := o.ExpectedStreamRevision.(type) {
		case *api.AppendReq_Options_Revision:
			req.ExpectedStreamRevision = &api.DeleteReq_Options_Revision{Revision: e.Revision}
		case *api.AppendReq_Options_NoStream:
			req.ExpectedStreamRevision = &api.DeleteReq_Options_NoStream{NoStream: e.NoStream}
		case *api.AppendReq_Options_Any:
			req.ExpectedStreamRevision = &api.DeleteReq_Options_Any{Any: e.Any}
		case *api.AppendReq_Options_StreamExists:
			req.ExpectedStreamRevision = &api.DeleteReq_Options_StreamExists{StreamExists: e.StreamExists}
		}
		var resp *api.DeleteResp
		resp, err = k.c.Delete(k.ctx, &api.DeleteReq{Options: req}, grpc.Trailer(&trailers))
		commit, prepare, known = resp.GetPosition().GetCommitPosition(), resp.GetPosition().GetPreparePosition(), resp.GetPosition() != nil
	}
	if err != nil {
		return k.failed(err, trailers)
	}
	return "ok " + placed(commit, prepare, known)
}

func (k *kit) soft(stream string, expected any) string { return k.del(stream, expected, false) }
func (k *kit) hard(stream string, expected any) string { return k.del(stream, expected, true) }
