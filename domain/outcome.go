package domain

import "errors"

// The outcomes of reading an event (FORMAT §4). Exactly one holds; "present" is
// the absence of an error. They are never merged: an outage is not an erasure.
var (
	// ErrUnavailable: a key or a store cannot be asked now. It says nothing about
	// whether the data still exists.
	ErrUnavailable = errors.New("unavailable")
	// ErrTampered: the event's bytes are not those that were sealed here.
	ErrTampered = errors.New("tampered")
	// ErrHeld: the key exists only in the escrow of a legal hold.
	ErrHeld = errors.New("held")
	// ErrErased: the journal names the person's key as destroyed.
	ErrErased = errors.New("erased")
	// ErrExpired: the journal names the retention key as destroyed.
	ErrExpired = errors.New("expired")
	// ErrDenied: no right to open, or past due and not yet destroyed.
	ErrDenied = errors.New("denied")
	// ErrUnknownKey: neither custodian nor journal knows the key.
	ErrUnknownKey = errors.New("unknown key")
)

// Refusals that cross packages.
var (
	// ErrFenced: a destruction has begun for this person or class.
	ErrFenced = errors.New("fenced by an erasure in progress")
	// ErrNotDue: a bucket lies more than 5 minutes ahead.
	ErrNotDue = errors.New("bucket starts in the future")
	// ErrPastDue: the bucket's period is over; its events are recorded empty.
	ErrPastDue = errors.New("bucket is past due")
	// ErrExhausted: a key sealed 2^24 times and is refused until the next bucket.
	ErrExhausted = errors.New("seal key used up")
	// ErrConflict: someone else changed what was read before.
	ErrConflict = errors.New("changed by someone else meanwhile")
	// ErrNotFound: there is no such thing, and there was none.
	ErrNotFound = errors.New("not found")
	// ErrClock: the clock is not trusted, so nothing is issued or destroyed by it.
	ErrClock = errors.New("the clock is not trusted")
	// ErrForked: an erasure journal holds lines that the log does not have. Nothing
	// is opened or erased anywhere until they stand in it.
	ErrForked = errors.New("an erasure journal holds lines that the log does not have")
)
