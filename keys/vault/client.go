package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
)

// maxAnswer bounds an answer's body; Vault stores no more than 1 MiB in one
// entry.
const maxAnswer = 8 << 20

// A client makes single calls. It never repeats one: who calls knows whether
// that is safe.
type client struct {
	api     *api.Client
	timeout time.Duration
	breaker *breaker
	revoked func() // told of an answer that the token is no more; may be nil
	closed  atomic.Bool
	date    atomic.Int64 // Vault's own clock as it last told it, in Unix seconds
}

// call sends one request and decodes the data of its answer into out, which may
// be nil.
func (c *client) call(ctx context.Context, method, path string, params url.Values, body, out any) error {
	if c.closed.Load() {
		return errClosed
	}
	if err := c.breaker.allow(); err != nil {
		return err
	}
	err := c.send(ctx, method, path, params, body, out)
	if ctx.Err() == nil {
		c.breaker.note(err)
	}
	if c.revoked != nil && errors.Is(err, errToken) {
		c.revoked()
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", strings.ToLower(method), parent(path), err)
	}
	return nil
}

func (c *client) send(ctx context.Context, method, path string, params url.Values, body, out any) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request := c.api.NewRequest(method, "/v1/"+path)
	if params != nil {
		request.Params = params
	}
	if body != nil {
		if err := request.SetJSONBody(body); err != nil {
			return err
		}
	}
	// The higher methods of the client hide a missing mount behind a missing
	// document, and cancel the body before it is read.
	response, err := c.api.RawRequestWithContext(limited, request) //nolint:staticcheck // see above
	if response != nil {
		defer response.Body.Close() //nolint:errcheck // nothing is lost with it
		if at, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			c.date.Store(at.Unix())
		}
	}
	if err != nil {
		return classify(ctx, err)
	}
	return classify(ctx, decode(response, out))
}

// decode reads an answer and clears the buffer, which may hold a key.
func decode(response *api.Response, out any) error {
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	defer clear(raw)
	if err != nil || out == nil || response.StatusCode == http.StatusNoContent {
		return err
	}
	answer := struct {
		Data any `json:"data"`
	}{out}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("an answer that cannot be read: %w", err)
	}
	return nil
}

// parent is a path without its last element, which may name a person's ref.
func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return path
}

// close makes every further call fail and lets idle connections go.
func (c *client) close() {
	if !c.closed.Swap(true) {
		c.api.CloneConfig().HttpClient.CloseIdleConnections()
	}
}
