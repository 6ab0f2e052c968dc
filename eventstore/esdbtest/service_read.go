package esdbtest

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
)

// errRead is the answer to a read that begins nowhere.
func errRead(what string) error {
	return fail(codes.Unknown, fmt.Sprintf("Unexpected Read%sResult: Error", what))
}

// Read serves the four reads: a stream or the whole log, once or for ever.
func (h streams) Read(req *api.ReadReq, out api.Streams_ReadServer) error {
	o := req.GetOptions()
	if o == nil {
		return handlerFailure()
	}
	if err := checkShape(o); err != nil {
		return err
	}
	call := Call{Method: MethodRead, Stream: AllStream}
	if o.GetStream() != nil {
		call.Stream = streamName(o.GetStream().GetStreamIdentifier())
	}
	if o.GetSubscription() != nil {
		call.Method = MethodSubscribe
	}
	if err := h.s.admit(out.Context(), call); err != nil {
		return err
	}
	if o.GetUuidOption().GetContent() == nil {
		<-out.Context().Done() // a read that does not say how to write ids is never answered
		return out.Context().Err()
	}
	r := &reading{s: h.s, options: o, out: out, call: call, idString: o.GetUuidOption().GetString_() != nil}
	return r.serve()
}

// A reading is one read or subscription; it belongs to the goroutine of its call.
type reading struct {
	s        *Server
	options  *api.ReadReq_Options
	out      api.Streams_ReadServer
	call     Call
	idString bool
}

func (r *reading) serve() error {
	ledger, _ := r.s.view()
	switch o := r.options; {
	case o.GetSubscription() != nil && o.GetStream() != nil:
		return r.subscribeStream(ledger)
	case o.GetSubscription() != nil:
		return r.subscribeAll(ledger)
	case o.GetStream() != nil:
		return r.readStream(ledger)
	default:
		return r.readAll(ledger)
	}
}

// checkShape refuses the combinations that mean nothing, in the server's words.
func checkShape(o *api.ReadReq_Options) error {
	source, count, filter := "Stream", "None", "None"
	switch o.GetStreamOption().(type) {
	case *api.ReadReq_Options_All:
		source = "All"
	case *api.ReadReq_Options_Stream:
	default:
		return notValid("None", "ReadReq+Types+Options+StreamOptionOneofCase")
	}
	switch o.GetCountOption().(type) {
	case *api.ReadReq_Options_Count:
		count = "Count"
	case *api.ReadReq_Options_Subscription:
		count = "Subscription"
	}
	switch o.GetFilterOption().(type) {
	case *api.ReadReq_Options_Filter:
		filter = "Filter"
	case *api.ReadReq_Options_NoFilter:
		filter = "NoFilter"
	}
	backwards := o.GetReadDirection() == api.ReadReq_Options_Backwards
	if count == "None" || filter == "None" || (source == "Stream" && filter == "Filter") || (count == "Subscription" && backwards) {
		return fail(codes.InvalidArgument, fmt.Sprintf("The combination of (%s, %s, %s, %s) is invalid.", source, count, o.GetReadDirection(), filter))
	}
	return nil
}

func (r *reading) backwards() bool {
	return r.options.GetReadDirection() == api.ReadReq_Options_Backwards
}

// startRevision is where a stream read begins; the end is fromEnd.
func (r *reading) startRevision() (int64, error) {
	switch at := r.options.GetStream().GetRevisionOption().(type) {
	case *api.ReadReq_Options_StreamOptions_Start:
		return 0, nil
	case *api.ReadReq_Options_StreamOptions_End:
		return fromEnd, nil
	case *api.ReadReq_Options_StreamOptions_Revision:
		if at.Revision == math.MaxUint64 {
			return fromEnd, nil
		}
		if at.Revision <= math.MaxInt64 {
			return int64(at.Revision), nil
		}
	}
	return 0, handlerFailure()
}

func (r *reading) readStream(l *ledger) error {
	from, err := r.startRevision()
	if err != nil {
		return err
	}
	left := r.options.GetCount()
	switch {
	case r.call.Stream == "":
		return handlerFailure()
	case r.call.Stream == AllStream:
		return nil
	case left == 0 || (from == fromEnd && !r.backwards()):
		return errRead("Stream")
	}
	sent := 0
	for {
		page := l.readStream(r.call.Stream, r.s.bound(l), from, r.backwards(), left)
		switch page.standing {
		case ended:
			return streamDeleted(r.call.Stream)
		case absent:
			return r.out.Send(notFound(r.call.Stream))
		case present:
		}
		for _, rec := range page.records {
			if err := r.event(l, rec); err != nil {
				return err
			}
		}
		sent, left, from = sent+len(page.records), left-uint64(len(page.records)), page.next
		if page.done || left == 0 {
			return r.streamPositions(page, sent)
		}
	}
}

// streamPositions ends a read for clients that ask for the ends of the stream.
func (r *reading) streamPositions(page streamPage, sent int) error {
	if r.options.GetControlOption().GetCompatibility() == 0 || r.backwards() && sent == 0 {
		return nil
	}
	if sent == 0 {
		if err := r.out.Send(firstPositionOf(page.last + 1)); err != nil {
			return err
		}
	}
	return r.out.Send(lastPositionOf(page.last))
}

// event sends one event, through its link if links are to be followed.
func (r *reading) event(l *ledger, rec *record) error {
	if r.options.GetResolveLinks() && rec.kind == kindLink {
		return r.out.Send(readEvent(l.linked(rec, r.s.bound(l)), rec, r.idString))
	}
	return r.out.Send(readEvent(rec, nil, r.idString))
}

// linked is the event that a link names; nil if there is none any more.
func (l *ledger) linked(link *record, bound uint64) *record {
	number, stream, found := strings.Cut(string(link.data), "@")
	revision, err := strconv.ParseInt(number, 10, 64)
	if !found || err != nil {
		return nil
	}
	page := l.readStream(stream, bound, revision, false, 1)
	if len(page.records) == 0 || page.records[0].revision != revision {
		return nil
	}
	return page.records[0]
}

// startPosition is where a read of the whole log begins.
func (r *reading) startPosition() (uint64, error) {
	switch at := r.options.GetAll().GetAllOption().(type) {
	case *api.ReadReq_Options_AllOptions_Start:
		return 0, nil
	case *api.ReadReq_Options_AllOptions_End:
		return fromLogEnd, nil
	case *api.ReadReq_Options_AllOptions_Position:
		if at.Position.GetPreparePosition() <= at.Position.GetCommitPosition() {
			return at.Position.GetCommitPosition(), nil
		}
	}
	return 0, handlerFailure()
}

func (r *reading) readAll(l *ledger) error {
	from, err := r.startPosition()
	if err != nil {
		return err
	}
	w, _, err := r.window()
	if err != nil {
		return err
	}
	left := r.options.GetCount()
	if left == 0 {
		return errRead("All")
	}
	if !l.readableFrom(from, r.s.bound(l), r.backwards()) {
		if w.match != nil {
			return handlerFailure()
		}
		return errRead("All")
	}
	for {
		w.limit = left
		page := l.readAll(r.s.bound(l), from, r.backwards(), w)
		for _, rec := range page.records {
			if err := r.event(l, rec); err != nil {
				return err
			}
		}
		left, from = left-uint64(len(page.records)), page.next
		if page.done || left == 0 {
			return nil
		}
	}
}
