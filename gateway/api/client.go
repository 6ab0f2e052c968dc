package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds what a Client reads of an answer that is not a stream.
const maxAnswer = 256 << 20

// A Client is a Service at the other end of the admin API. What a call's Caller
// says of principal and role is not sent: the token says it. The caller's purpose
// is, and the Client's own where the caller has none.
//
// Errors are *Error as the server sent them; CodeUnavailable if it does not
// answer. A Client is safe for concurrent use.
type Client struct {
	Base    string // such as http://127.0.0.1:7402
	Token   string
	Purpose string
	// HTTP is http.Client without proxies and redirects, if nil: a token goes to the
	// server that was named and to nobody else.
	HTTP *http.Client
}

var _ Service = (*Client)(nil)

// ErrNoServer says that nobody listens at the address: no process of the ledger
// is there.
var ErrNoServer = errors.New("nobody listens at the admin address")

func direct() *http.Client {
	transport := &http.Transport{ //nolint:exhaustruct // the zero Proxy is meant
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 10 * time.Minute, // an erasure or the first byte of an export
		DisableKeepAlives:     true,             // no connection outlives its call
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// A request is one call on its way out.
type request struct {
	method, path string
	query        url.Values
	body         any
	caller       Caller
	key          string // Idempotency-Key
	token        string // "": the client's
}

// send makes the call and returns an answer of 2xx; everything else is an error.
func (c *Client) send(ctx context.Context, q request) (*http.Response, error) {
	r, err := c.build(ctx, q)
	if err != nil {
		return nil, err
	}
	client := c.HTTP
	if client == nil {
		client = direct()
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if answer.StatusCode/100 != 2 {
		defer answer.Body.Close() //nolint:errcheck // only read
		return nil, errorOf(answer)
	}
	return answer, nil
}

func (c *Client) build(ctx context.Context, q request) (*http.Request, error) {
	var body io.Reader
	if q.body != nil {
		b, err := Encode(q.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	address := strings.TrimSuffix(c.Base, "/") + q.path
	if len(q.query) > 0 {
		address += "?" + q.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, q.method, address, body)
	if err != nil || r.URL.Host == "" || (r.URL.Scheme != "http" && r.URL.Scheme != "https") {
		return nil, Usage("the admin address is not a URL, such as http://127.0.0.1:7402")
	}
	token := q.token
	if token == "" {
		token = c.Token
	}
	r.Header.Set("Authorization", "Bearer "+token)
	c.describe(r.Header, q)
	return r, nil
}

func (c *Client) describe(h http.Header, q request) {
	purpose := q.caller.Purpose
	if purpose == "" {
		purpose = c.Purpose
	}
	if purpose != "" {
		h.Set(HeaderPurpose, purpose)
	}
	if q.key != "" {
		h.Set(HeaderIdempotencyKey, q.key)
	}
	if q.body != nil {
		h.Set("Content-Type", "application/json")
	}
}

// unreachable keeps the address out of the message: url.Error would print it.
func unreachable(ctx context.Context, err error) error {
	var op *net.OpError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%w: %w", ErrNoServer, &Error{Code: CodeUnavailable, Message: "lethe serve does not answer: " + op.Err.Error(), Status: http.StatusServiceUnavailable})
	}
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	return Unavailable("lethe serve went away before it answered: " + err.Error())
}

// errorOf reads the error of an answer; what is no error of ours is told by its
// status.
func errorOf(answer *http.Response) error {
	var body errorBody
	err := json.NewDecoder(io.LimitReader(answer.Body, maxBody)).Decode(&body)
	if err != nil || body.Error == nil || body.Error.Code == "" {
		return &Error{Code: CodeInternal, Message: "the admin address answers " + answer.Status + ", not as lethe serve does", Status: answer.StatusCode}
	}
	body.Error.Status = answer.StatusCode
	return body.Error
}

// ask makes a call and reads its answer. Numbers in rows stay exact.
func ask[T any](ctx context.Context, c *Client, q request) (into T, err error) {
	answer, err := c.send(ctx, q)
	if err != nil {
		return into, err
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	d := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer))
	d.UseNumber()
	if err := d.Decode(&into); err != nil {
		return into, Unavailable("the answer of lethe serve ended early or cannot be read")
	}
	return into, nil
}

func get(path string, caller Caller) request {
	return request{method: http.MethodGet, path: path, caller: caller}
}

func post(path string, caller Caller, body any) request {
	return request{method: http.MethodPost, path: path, caller: caller, body: body}
}

func paged(path string, caller Caller, cursor string, limit int) request {
	q := get(path, caller)
	q.query = url.Values{}
	if cursor != "" {
		q.query.Set("cursor", cursor)
	}
	if limit > 0 {
		q.query.Set("limit", strconv.Itoa(limit))
	}
	return q
}
