package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
)

// Authenticate implements Service: the server tells whose token it is.
func (c *Client) Authenticate(ctx context.Context, token string) (Caller, error) {
	q := get("/v1/caller", Caller{})
	q.token = token
	return ask[Caller](ctx, c, q)
}

// SubjectShow implements Service.
func (c *Client) SubjectShow(ctx context.Context, by Caller, id string) (SubjectShow, error) {
	return ask[SubjectShow](ctx, c, post("/v1/subjects:show", by, subjectBody{ID: id}))
}

// SubjectList implements Service.
func (c *Client) SubjectList(ctx context.Context, by Caller, cursor string, limit int) (SubjectList, error) {
	return ask[SubjectList](ctx, c, paged("/v1/subjects", by, cursor, limit))
}

// SubjectExport implements Service. An error after the first byte means that what
// w got is not whole.
func (c *Client) SubjectExport(ctx context.Context, by Caller, id string, w io.Writer) error {
	return c.copy(ctx, post("/v1/subjects:export", by, subjectBody{ID: id}), w)
}

// copy makes a call whose answer is a stream.
func (c *Client) copy(ctx context.Context, q request, w io.Writer) error {
	answer, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	sink := &sinkErrors{w: w}
	if _, err := io.Copy(sink, answer.Body); err != nil {
		if sink.err != nil {
			return sink.err
		}
		return Unavailable("the answer was cut off: it is not whole; see the log of lethe serve")
	}
	return nil
}

// sinkErrors tells a failing writer from a failing server.
type sinkErrors struct {
	w   io.Writer
	err error
}

func (s *sinkErrors) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

// Erase implements Service. A request that the server could not finish comes with
// the state pending and an error.
func (c *Client) Erase(ctx context.Context, by Caller, r EraseRequest) (EraseResult, error) {
	result, err := ask[EraseResult](ctx, c, post("/v1/erasures", by, r))
	if err == nil && result.State == StatePending {
		err = Unavailable("the erasure is not finished; the log of lethe serve says why")
	}
	return result, err
}

// Receipt implements Service.
func (c *Client) Receipt(ctx context.Context, by Caller, id string) (ReceiptFile, error) {
	return ask[ReceiptFile](ctx, c, get("/v1/receipts/"+url.PathEscape(id), by))
}

// RetentionStatus implements Service.
func (c *Client) RetentionStatus(ctx context.Context, by Caller) (RetentionStatus, error) {
	return ask[RetentionStatus](ctx, c, get("/v1/retention", by))
}

// RetentionRun implements Service.
func (c *Client) RetentionRun(ctx context.Context, by Caller, dryRun bool) (RetentionRun, error) {
	return ask[RetentionRun](ctx, c, post("/v1/retention:run", by, retentionBody{DryRun: dryRun}))
}

// Views implements Service.
func (c *Client) Views(ctx context.Context, by Caller) (ViewList, error) {
	return ask[ViewList](ctx, c, get("/v1/views", by))
}

// Query implements Service. Numbers in the rows are json.Number.
func (c *Client) Query(ctx context.Context, by Caller, view, cursor string, limit int) (ViewRows, error) {
	return ask[ViewRows](ctx, c, paged("/v1/views/"+url.PathEscape(view)+"/rows", by, cursor, limit))
}

// Digest implements Service.
func (c *Client) Digest(ctx context.Context, by Caller, view string) (ViewDigest, error) {
	return ask[ViewDigest](ctx, c, get("/v1/views/"+url.PathEscape(view)+"/digest", by))
}

// RestoreCheck implements Service.
func (c *Client) RestoreCheck(ctx context.Context, by Caller, lost string) (RestoreCheck, error) {
	return ask[RestoreCheck](ctx, c, post("/v1/keys:restore-check", by, restoreBody{lost}))
}

// KeysStatus implements Service.
func (c *Client) KeysStatus(ctx context.Context, by Caller) (KeysStatus, error) {
	return ask[KeysStatus](ctx, c, get("/v1/keys", by))
}

// TokenCreate implements Service.
func (c *Client) TokenCreate(ctx context.Context, by Caller, name, role string) (Token, error) {
	return ask[Token](ctx, c, post("/v1/tokens", by, tokenBody{Name: name, Role: role}))
}

// TokenList implements Service.
func (c *Client) TokenList(ctx context.Context, by Caller) (TokenList, error) {
	return ask[TokenList](ctx, c, get("/v1/tokens", by))
}

// TokenRevoke implements Service.
func (c *Client) TokenRevoke(ctx context.Context, by Caller, name string) error {
	_, err := ask[struct{}](ctx, c, post("/v1/tokens:revoke", by, revokeBody{Name: name}))
	return err
}

// Doctor implements Service.
func (c *Client) Doctor(ctx context.Context, by Caller) (Doctor, error) {
	return ask[Doctor](ctx, c, get("/v1/doctor", by))
}

// Ready implements Service.
func (c *Client) Ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	answer, err := c.send(ctx, request{method: http.MethodGet, path: "/readyz"})
	if err != nil {
		return err
	}
	return answer.Body.Close()
}
