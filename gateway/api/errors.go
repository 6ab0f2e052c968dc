package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/lethe-ledger/lethe/domain"
)

// An Error is what went wrong, in words for the caller. It holds no personal
// data beyond what the caller typed.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Status is the HTTP status; it is not part of the body.
	Status int `json:"-"`
}

func (e *Error) Error() string { return e.Message }

// Codes of errors. The command's exit status follows from them: usage exits 2,
// refused 3, the others 1.
const (
	CodeUsage       = "usage"
	CodeRefused     = "refused"
	CodeNotFound    = "not_found"
	CodeDenied      = "denied"
	CodeConflict    = "conflict"
	CodeUnavailable = "unavailable"
	CodeTampered    = "tampered"
	CodeErased      = "erased"
	CodeExpired     = "expired"
	CodeInternal    = "internal"
)

// errorTable is the one table from errors to the wire. What is not in it is an
// internal error, whose text stays in the log.
var errorTable = []struct {
	is       error
	status   int
	code     string
	sentence string
}{
	{domain.ErrTampered, http.StatusInternalServerError, CodeTampered, "Stored bytes are not those that were written; run lethe doctor"},
	{domain.ErrClock, http.StatusServiceUnavailable, CodeUnavailable, "The clock is not trusted yet; nothing is issued or destroyed by it"},
	{domain.ErrForked, http.StatusServiceUnavailable, CodeUnavailable, "A journal file has lines that the log does not have: nothing is opened or erased until they stand in it. Start the node that has that file and run lethe keys restore-check there; lethe doctor names the file"},
	{domain.ErrUnavailable, http.StatusServiceUnavailable, CodeUnavailable, "The store or the custodian does not answer; nothing was changed that was not acknowledged"},
	{domain.ErrFenced, http.StatusConflict, CodeConflict, "An erasure of this person is in progress; try again"},
	{domain.ErrConflict, http.StatusConflict, CodeConflict, "Changed by someone else meanwhile; try again"},
	{domain.ErrErased, http.StatusGone, CodeErased, "It was erased; its receipt says so"},
	{domain.ErrExpired, http.StatusGone, CodeExpired, "Its period is over and its key is destroyed"},
	{domain.ErrHeld, http.StatusUnprocessableEntity, CodeRefused, "Only a legal hold still keeps it"},
	{domain.ErrDenied, http.StatusForbidden, CodeDenied, "Not allowed"},
	{domain.ErrNotFound, http.StatusNotFound, CodeNotFound, "There is no such thing"},
	{context.Canceled, http.StatusServiceUnavailable, CodeUnavailable, "Given up before it ended"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, CodeUnavailable, "Not answered in time; try again"},
}

// Wire turns an error into what the caller sees.
func Wire(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	for _, row := range errorTable {
		if errors.Is(err, row.is) {
			return &Error{Code: row.code, Message: row.sentence, Status: row.status}
		}
	}
	return &Error{Code: CodeInternal, Message: "Internal error", Status: http.StatusInternalServerError}
}

// Usage is an error of what the caller typed; the message says what to do.
func Usage(message string) *Error {
	return &Error{Code: CodeUsage, Message: message, Status: http.StatusBadRequest}
}

// Unavailable says that something cannot be done now, and when it can.
func Unavailable(message string) *Error {
	return &Error{Code: CodeUnavailable, Message: message, Status: http.StatusServiceUnavailable}
}

// Denied says that the caller may not do this.
func Denied(message string) *Error {
	return &Error{Code: CodeDenied, Message: message, Status: http.StatusForbidden}
}

// Refused is a refusal by a rule.
func Refused(message string) *Error {
	return &Error{Code: CodeRefused, Message: message, Status: http.StatusUnprocessableEntity}
}

// NotFound says what is not there.
func NotFound(message string) *Error {
	return &Error{Code: CodeNotFound, Message: message, Status: http.StatusNotFound}
}
