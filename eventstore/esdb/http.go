package esdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/lethe-ledger/lethe/domain"
)

// httpClient is for what the client does not do: scavenges and accounts. It trusts
// and shows the same certificates.
func (t *target) httpClient() *http.Client {
	transport := &http.Transport{ResponseHeaderTimeout: t.Deadlines.Read}
	if t.tls {
		transport.TLSClientConfig = t.tlsConfig()
	}
	return &http.Client{Transport: transport}
}

// replyLimit is more than any answer that is looked at.
const replyLimit = 1 << 20

// ask does one request to a node and reads the answer into reply, if that is not
// nil and the status is one of 200 to 299. The status is returned whatever it is.
func (s *Store) ask(ctx context.Context, a Account, method, node, path string, body, reply any) (code int, err error) {
	resp, err := s.send(ctx, a, method, node, path, body)
	if err != nil {
		return 0, fmt.Errorf("%w: %s %s: %w", domain.ErrUnavailable, method, path, err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, replyLimit))
	if err != nil {
		return 0, fmt.Errorf("%w: %s %s: %w", domain.ErrUnavailable, method, path, err)
	}
	if resp.StatusCode >= 300 || reply == nil {
		return resp.StatusCode, nil
	}
	if err := json.Unmarshal(raw, reply); err != nil {
		return 0, fmt.Errorf("%w: answer to %s %s: %w", domain.ErrUnavailable, method, path, err)
	}
	return resp.StatusCode, nil
}

func (s *Store) send(ctx context.Context, a Account, method, node, path string, body any) (*http.Response, error) {
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(raw)
	}
	scheme := "http"
	if s.tls {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+node+path, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.ContentLength = 0
	}
	if a != (Account{}) {
		req.SetBasicAuth(a.User, a.Password)
	}
	return s.http.Do(req)
}

// statusError is a status that was not asked for.
func statusError(code int, method, path string) error {
	return fmt.Errorf("%w: %s %s answered %d", domain.ErrUnavailable, method, path, code)
}
