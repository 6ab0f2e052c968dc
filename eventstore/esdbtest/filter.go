package esdbtest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
)

// defaultWindow is how many events a filter looks at before it reports where it
// is, if the caller leaves that to the server.
const defaultWindow = 32

// window reads the filter of a read of the whole log, and after how many
// considered events a subscription sends a checkpoint.
func (r *reading) window() (window, int, error) {
	f := r.options.GetFilter()
	if f == nil {
		return window{server: r.s.index}, 0, nil
	}
	match, err := matcher(f)
	if err != nil {
		return window{}, 0, err
	}
	w := window{match: match, considered: defaultWindow, server: r.s.index}
	switch size := f.GetWindow().(type) {
	case *api.ReadReq_Options_FilterOptions_Max:
		w.considered = int(size.Max)
	case *api.ReadReq_Options_FilterOptions_Count:
	default:
		return window{}, 0, notValid("None", "ReadReq+Types+Options+Types+FilterOptions+WindowOneofCase")
	}
	return w, w.considered * int(f.GetCheckpointIntervalMultiplier()), nil
}

// matcher makes the test of a filter. A regular expression outweighs prefixes.
// The expressions are Go's, which lack the look-around of .NET's.
func matcher(f *api.ReadReq_Options_FilterOptions) (func(*record) bool, error) {
	var of func(*record) string
	var e *api.ReadReq_Options_FilterOptions_Expression
	switch by := f.GetFilter().(type) {
	case *api.ReadReq_Options_FilterOptions_StreamIdentifier:
		of, e = func(r *record) string { return r.stream }, by.StreamIdentifier
	case *api.ReadReq_Options_FilterOptions_EventType:
		of, e = func(r *record) string { return r.kind }, by.EventType
	default:
		return nil, fail(codes.InvalidArgument, fmt.Sprintf("'%s' is not a valid EventStore.Client.Streams.ReadReq+Types+Options+Types+FilterOptions", shown(f)))
	}
	if e.GetRegex() == "" {
		prefixes := e.GetPrefix()
		return func(r *record) bool {
			return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(of(r), p) })
		}, nil
	}
	re, err := regexp.Compile(e.GetRegex())
	if err != nil {
		return nil, handlerFailure()
	}
	return func(r *record) bool { return re.MatchString(of(r)) }, nil
}

// shown writes a filter without a criterion as the server's message does.
func shown(f *api.ReadReq_Options_FilterOptions) string {
	return fmt.Sprintf(`{ "max": %d, "checkpointIntervalMultiplier": %d }`, f.GetMax(), f.GetCheckpointIntervalMultiplier())
}
