package esdbtest

import (
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
)

// TestAsked asks that a read is not answered before its caller has ended what it
// sends: the transport would reset the call behind the answer.
func TestAsked(t *testing.T) {
	s := Start(t, Options{Clock: time.Now})
	desc := &grpc.StreamDesc{StreamName: "Read", ServerStreams: true, ClientStreams: true}
	call, err := dial(t, s).NewStream(t.Context(), desc, api.Streams_Read_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	req := &api.ReadReq{Options: &api.ReadReq_Options{
		StreamOption: &api.ReadReq_Options_Stream{Stream: &api.ReadReq_Options_StreamOptions{
			StreamIdentifier: streamID("absent"), RevisionOption: &api.ReadReq_Options_StreamOptions_Start{Start: &shared.Empty{}},
		}},
		CountOption:  &api.ReadReq_Options_Count{Count: 1},
		FilterOption: &api.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}},
		UuidOption:   &api.ReadReq_Options_UUIDOption{Content: &api.ReadReq_Options_UUIDOption_String_{String_: &shared.Empty{}}},
	}}
	if err := call.SendMsg(req); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- call.RecvMsg(new(api.ReadResp)) }()
	select {
	case err := <-answered:
		t.Fatalf("answered (%v) before the caller had ended", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := call.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}
