package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/lethe-ledger/lethe/domain"
)

// Why Vault could not be asked. Every one of them matches domain.ErrUnavailable
// and none says that a key is gone.
var (
	// ErrSealed: the server runs and has not been unsealed.
	ErrSealed = fmt.Errorf("vault is sealed: %w", domain.ErrUnavailable)
	// ErrUnreachable: no answer in time, a broken connection, a server's failure,
	// or a pause after several of them.
	ErrUnreachable = fmt.Errorf("vault does not answer: %w", domain.ErrUnavailable)
	// ErrThrottled: a rate limit quota was reached.
	ErrThrottled = fmt.Errorf("vault limits the rate of calls: %w", domain.ErrUnavailable)
	// ErrRefused: the token was revoked, ran out, or lacks the right.
	ErrRefused = fmt.Errorf("vault refuses the token: %w", domain.ErrUnavailable)
	// ErrSetup: a mount or a document that initialising makes is not there.
	ErrSetup = fmt.Errorf("vault is not initialised for this ledger: %w", domain.ErrUnavailable)
	// ErrDamaged: what Vault holds does not fit together: a Transit key is missing
	// without a record of its destruction, or a record does not open under it.
	ErrDamaged = fmt.Errorf("what vault holds for this ledger is damaged: %w", domain.ErrUnavailable)
	// ErrFull: a document would grow beyond what Vault stores.
	ErrFull = fmt.Errorf("a document in vault is full: %w", domain.ErrUnavailable)
)

// Answers that callers within the package act on. They never leave it.
var (
	errAbsent   = errors.New("no such document")
	errConflict = errors.New("the document has another version")
	errNoKey    = errors.New("no such transit key")
	errToken    = errors.New("the token is not valid") // within ErrRefused
	errForged   = errors.New("the wrapped key is not this transit key's")
)

// errNoLayout: Init has not been run, or what it made is gone.
var errNoLayout = fmt.Errorf("there is no layout: %w", ErrSetup)

var errClosed = fmt.Errorf("the custodian is closed: %w", domain.ErrUnavailable)

// Texts by which Vault tells its errors of status 400 apart; there are no codes.
const (
	saysConflict  = "check-and-set parameter did not match"
	saysNoKey     = "encryption key not found"
	saysNoConfig  = "no existing key named"
	saysNotFound  = "could not delete key; not found"
	saysToken     = "invalid token"
	saysForged    = "message authentication failed"
	saysBadCipher = "invalid ciphertext"
)

// classify turns what the client answered into one of the errors above. ctx is
// the caller's: its end is told apart from a call's own time-out, which says
// something about Vault.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var answer *api.ResponseError
	switch {
	case errors.As(err, &answer):
		return classifyAnswer(answer)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", domain.ErrUnavailable, ctx.Err())
	}
	return fmt.Errorf("%w: %v", ErrUnreachable, err) //nolint:errorlint // a time-out of ours must not look like the caller's
}

func classifyAnswer(a *api.ResponseError) error {
	switch {
	case a.StatusCode == http.StatusNotFound && len(a.Errors) == 0:
		return errAbsent
	case a.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: %s", ErrSetup, texts(a))
	case a.StatusCode == http.StatusForbidden && strings.Contains(texts(a), saysToken):
		return fmt.Errorf("%w: %w", ErrRefused, errToken)
	case a.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: %s", ErrRefused, texts(a))
	case a.StatusCode == http.StatusTooManyRequests:
		return ErrThrottled
	case a.StatusCode == http.StatusServiceUnavailable && strings.Contains(texts(a), "sealed"):
		return ErrSealed
	case a.StatusCode == http.StatusBadRequest:
		return classifyBad(a)
	}
	return fmt.Errorf("%w: status %d: %s", ErrUnreachable, a.StatusCode, texts(a))
}

// classifyBad reads the text of a status 400. One that is not known says nothing
// about a key: an engine that is being upgraded answers so, too.
func classifyBad(a *api.ResponseError) error {
	text := texts(a)
	for _, known := range []struct {
		says string
		err  error
	}{
		{saysConflict, errConflict},
		{saysNoKey, errNoKey},
		{saysNoConfig, errNoKey},
		{saysNotFound, errNoKey},
		{saysForged, errForged},
		{saysBadCipher, errForged},
	} {
		if strings.Contains(text, known.says) {
			return known.err
		}
	}
	return fmt.Errorf("vault does not take the call: %s: %w", text, domain.ErrUnavailable)
}

func texts(a *api.ResponseError) string { return strings.Join(a.Errors, "; ") }

// struck reports whether an error speaks against calling again at once.
func struck(err error) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrSealed) || errors.Is(err, ErrThrottled)
}
