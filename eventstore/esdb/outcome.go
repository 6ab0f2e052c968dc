package esdb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A verdict is what an error of the client says about the call.
type verdict int

const (
	// answered: the server did it.
	answered verdict = iota
	// wrongRevision: the stream does not end where it was expected.
	wrongRevision
	// deleted: the stream is deleted for ever.
	deleted
	// absent: there is no such stream. Only the server's word in the reply counts
	// as that: a follower that knows no leader answers NotFound, too.
	absent
	// tooLarge: more than the server takes.
	tooLarge
	// denied: the account may not, or is not known.
	denied
	// misplaced: a position that no event has.
	misplaced
	// unsent: nothing was sent, so nothing was done.
	unsent
	// refused: the node is not the leader, and did nothing.
	refused
	// unknown: anything may have happened.
	unknown
)

// decisive verdicts end an operation; the others are worth another try.
func (v verdict) decisive() bool { return v < unsent }

// errPanic is what a call becomes that panicked inside the client.
var errPanic = errors.New("client panicked")

// judge reads an error of the client. Its own FromError looks at the outermost
// error only, and its codes lump together what must be told apart, so the status
// underneath is looked at as well.
func judge(err error) verdict {
	if err == nil {
		return answered
	}
	if errors.Is(err, eventstore.ErrDeleted) {
		return deleted
	}
	var ce *client.Error
	if errors.As(err, &ce) {
		if v, ok := byCode(ce, err); ok {
			return v
		}
	}
	if errors.Is(err, errUnsent) {
		return unsent
	}
	return byStatus(err)
}

func byCode(ce *client.Error, err error) (verdict, bool) {
	switch ce.Code() {
	case client.ErrorCodeWrongExpectedVersion:
		return wrongRevision, true
	case client.ErrorCodeStreamDeleted:
		return deleted, true
	case client.ErrorCodeNotLeader:
		return refused, true
	case client.ErrorCodeConnectionClosed:
		return unsent, true
	case client.ErrorCodeResourceNotFound:
		if _, wire := status.FromError(err); wire {
			return refused, true // "Leader info available", without the leader
		}
		return absent, true
	default:
		return 0, false
	}
}

// estranged reports whether an error sheds doubt on who leads, or on the way there.
func estranged(err error) bool {
	switch judge(err) {
	case refused, unsent:
		return true
	case unknown:
		s, ok := status.FromError(err)
		// Aborted is what a leader answers whom nobody follows any more.
		return !ok || s.Code() == codes.Unavailable || s.Code() == codes.DeadlineExceeded || s.Code() == codes.Canceled || s.Code() == codes.Aborted
	default:
		return false
	}
}

// Texts of 23.10 and later; newer servers give the second one a code of its own.
const (
	textTooLarge      = "Maximum Append"
	textBadPosition   = "Unexpected ReadAllResult: Error"
	textNewerPosition = "invalid position"
	textNoDiscovery   = "maximum discovery attempt count reached"
)

func byStatus(err error) verdict {
	if strings.Contains(err.Error(), textNoDiscovery) {
		return unsent
	}
	s, ok := status.FromError(err)
	if !ok {
		return unknown
	}
	switch s.Code() {
	case codes.PermissionDenied, codes.Unauthenticated:
		return denied
	case codes.InvalidArgument:
		switch {
		case strings.Contains(s.Message(), textTooLarge):
			return tooLarge
		case strings.Contains(s.Message(), textNewerPosition):
			return misplaced
		}
	case codes.Unknown:
		if strings.Contains(s.Message(), textBadPosition) {
			return misplaced
		}
	default:
	}
	return unknown
}

// told turns a verdict into an error of the contract. Behind wrongRevision there
// stands a *WrongRevision already (wrong).
func told(v verdict, err error) error {
	switch v {
	case answered:
		return nil
	case wrongRevision:
		return err
	case deleted:
		return eventstore.ErrDeleted
	case tooLarge:
		return fmt.Errorf("%w: %w", eventstore.ErrTooLarge, err)
	case misplaced:
		return eventstore.ErrPosition
	case denied:
		return fmt.Errorf("%w: the account may not: %w", domain.ErrUnavailable, err)
	case refused:
		return fmt.Errorf("%w: the node is not the leader (a cluster needs all its nodes in the URL): %w", domain.ErrUnavailable, err)
	default:
		return unavailable(err)
	}
}

// unavailable marks an error without marking it twice.
func unavailable(err error) error {
	if errors.Is(err, domain.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", domain.ErrUnavailable, err)
}

var (
	errClosed             = fmt.Errorf("store is closed: %w", domain.ErrUnavailable)
	errSubscriptionClosed = fmt.Errorf("closed: %w", domain.ErrUnavailable)
	errUnsent             = errors.New("nothing was sent")
)

// ended is the error of a context that has ended.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, domain.ErrUnavailable) {
		return cause
	}
	return fmt.Errorf("%w: %w", domain.ErrUnavailable, ctx.Err())
}
