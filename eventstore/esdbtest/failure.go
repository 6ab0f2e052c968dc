package esdbtest

import (
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A failure is an error status with the trailers that clients read.
type failure struct {
	code     codes.Code
	message  string
	trailers metadata.MD
}

func (f *failure) Error() string { return f.code.String() + ": " + f.message }

// GRPCStatus lets the transport answer with the code of the failure.
func (f *failure) GRPCStatus() *status.Status { return status.New(f.code, f.message) }

// trailersOf are those an error carries, if any.
func trailersOf(err error) metadata.MD {
	var f *failure
	if errors.As(err, &f) {
		return f.trailers
	}
	return nil
}

func fail(code codes.Code, message string, trailers ...string) *failure {
	return &failure{code: code, message: message, trailers: metadata.Pairs(trailers...)}
}

// handlerFailure is how 23.10 answers what it did not foresee.
func handlerFailure() error { return fail(codes.Unknown, "Exception was thrown by handler.") }

func notValid(option, of string) error {
	return fail(codes.InvalidArgument, fmt.Sprintf("'%s' is not a valid EventStore.Client.Streams.%s", option, of))
}

func streamDeleted(stream string) error {
	return fail(codes.FailedPrecondition, fmt.Sprintf("Event stream '%s' is deleted.", stream),
		"exception", "stream-deleted", "stream-name", stream)
}

func deleteFailed(stream string, expected expectation, actual int64) error {
	want, have := strconv.FormatInt(int64(expected), 10), strconv.FormatInt(actual, 10)
	return fail(codes.FailedPrecondition,
		fmt.Sprintf("Delete failed due to WrongExpectedVersion. Stream: %s, Expected version: %s, Actual version: %s", stream, want, have),
		"exception", "wrong-expected-version", "stream-name", stream, "expected-version", want, "actual-version", have)
}

func missingProperty(name string) error {
	return fail(codes.InvalidArgument, fmt.Sprintf("Required Metadata Property '%s' is missing", name),
		"exception", "missing-required-metadata-property", "required-metadata-properties", "type,content-type")
}

func tooLarge() error {
	return fail(codes.InvalidArgument, fmt.Sprintf("Maximum Append Size of %d Exceeded.", maxAppendSize),
		"exception", "maximum-append-size-exceeded", "maximum-append-size", strconv.Itoa(maxAppendSize))
}

func accessDenied() error {
	return fail(codes.PermissionDenied, "Access Denied", "exception", "access-denied")
}

// The failures below are also what hooks answer with.

// NotLeader is how a node that is not the leader refuses a call that requires
// one, naming the leader.
func NotLeader(host string, port int) error {
	return fail(codes.NotFound, "Leader info available",
		"exception", "not-leader", "leader-endpoint-host", host, "leader-endpoint-port", strconv.Itoa(port))
}

// NoLeader is the same while no leader is known.
func NoLeader() error { return fail(codes.Unknown, "No leader info available in response") }

// Aborted is the answer to an append that was not replicated in time; it may
// have been written, and may still be.
func Aborted() error { return fail(codes.Aborted, "Operation timed out: Prepare phase timeout") }

// Unavailable is how a server answers that is starting or shutting down.
func Unavailable() error { return fail(codes.Unavailable, "Server Is Not Ready") }

// TooSlow ends a subscription whose reader did not keep up.
func TooSlow() error {
	return fail(codes.Aborted, "Operation timed out: Consumer too slow to handle event while live. Client resubscription required.")
}
