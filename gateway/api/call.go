package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// A call is one request while it is served. It belongs to the goroutine that
// serves it.
type call struct {
	server *Server
	w      http.ResponseWriter
	r      *http.Request
	id     string
	caller Caller
	status int // 0: nothing is answered yet
}

func (c *call) ctx() context.Context { return c.r.Context() }

// admit finds who asks, whether their role may, and why they ask.
func (c *call) admit(ctx context.Context, rt route) error {
	token, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return &Error{Code: CodeDenied, Message: "a token is needed: Authorization: Bearer TOKEN; lethe token create makes one", Status: http.StatusUnauthorized}
	}
	caller, err := c.server.service.Authenticate(ctx, token)
	if err != nil {
		return err
	}
	if !rt.admits(caller.Role) {
		return Denied("the role " + caller.Role + " may not do this")
	}
	c.caller = caller
	if c.caller.Purpose, err = purposeOf(c.r.Header); err != nil {
		return err
	}
	if rt.because && c.caller.Purpose == PurposeUnspecified {
		return Usage("say why: this call needs a purpose in the header " + HeaderPurpose)
	}
	return c.knowsParams(rt.params)
}

func purposeOf(h http.Header) (string, error) {
	purpose := strings.TrimSpace(h.Get(HeaderPurpose))
	if purpose == "" {
		return PurposeUnspecified, nil
	}
	if len(purpose) > maxPurpose || strings.ContainsFunc(purpose, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", Usage(fmt.Sprintf("the purpose has at most %d bytes and no control characters", maxPurpose))
	}
	return purpose, nil
}

// knowsParams refuses a parameter that would be passed over in silence, an id of a
// person in the address above all.
func (c *call) knowsParams(known []string) error {
	for name := range c.r.URL.Query() {
		if !slices.Contains(known, name) {
			return Usage("unknown query parameter; this call has: " + strings.Join(known, ", "))
		}
	}
	return nil
}

// page reads cursor and limit; 0 leaves the limit to the Service.
func (c *call) page() (cursor string, limit int, err error) {
	q := c.r.URL.Query()
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return "", 0, Usage(fmt.Sprintf("limit is a number from 1 to %d", maxPage))
		}
	}
	return q.Get("cursor"), limit, nil
}

// idempotencyKey returns the caller's UUID, or "". A UUID, because it becomes a
// request's or a job's id, which stand in clear: a key made from a name or an
// address would put that name there.
func (c *call) idempotencyKey() (string, error) {
	key := c.r.Header.Get(HeaderIdempotencyKey)
	if key == "" {
		return "", nil
	}
	u, err := uuid.Parse(key)
	if err != nil || u.String() != key || u == uuid.Nil {
		return "", Usage(HeaderIdempotencyKey + " is a UUID in lower case")
	}
	return key, nil
}

// decode reads the body strictly: JSON, one value, no unknown field.
func (c *call) decode(into any) error {
	if media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return &Error{Code: CodeUsage, Message: "the body is JSON: Content-Type: application/json", Status: http.StatusUnsupportedMediaType}
	}
	d := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, after := d.Token(); !errors.Is(after, io.EOF) {
			err = errTrailing
		}
	}
	return bodyError(err)
}

var errTrailing = errors.New("more than one value")

func bodyError(err error) error {
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return &Error{Code: CodeUsage, Message: fmt.Sprintf("the request is larger than %d bytes", maxBody), Status: http.StatusRequestEntityTooLarge}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Usage("the body is not a whole JSON value")
	}
	return Usage("the body cannot be read: " + strings.TrimPrefix(err.Error(), "json: "))
}

// answer sends a result.
func (c *call) answer(status int, v any) error {
	b, err := Encode(v)
	if err != nil {
		return err
	}
	c.begin(status, "application/json")
	_, _ = c.w.Write(b) // a caller who went away hears nothing
	return nil
}

// ok answers 200, unless the work failed.
func ok[T any](c *call, v T, err error) error {
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, v)
}

func (c *call) begin(status int, media string) {
	c.status = status
	c.w.Header().Set("Content-Type", media)
	c.w.WriteHeader(status)
}

// fail answers an error. Once an answer has begun only cutting it off tells the
// caller that it is not whole.
func (c *call) fail(err error) {
	e := Wire(err)
	if e.Status >= http.StatusInternalServerError {
		c.server.opt.Logger.Error().Err(err).Str("request", c.id).Str("code", e.Code).Msg("admin API")
	}
	c.answerError(e)
}

func (c *call) answerError(e *Error) {
	if c.status != 0 {
		panic(http.ErrAbortHandler)
	}
	switch e.Status {
	case http.StatusUnauthorized:
		c.w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable:
		c.w.Header().Set("Retry-After", "1")
	}
	_ = c.answer(e.Status, errorBody{e}) // two strings always encode
}

type errorBody struct {
	Error *Error `json:"error"`
}

// Encode writes a result as the API does: one line, and bytes of receipts as they
// are (no HTML escaping), because their signature is over them.
func Encode(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding an answer: %w", err)
	}
	return []byte(b.String()), nil
}
