package api

import (
	"context"
	"time"
)

type clockBody struct {
	Now string `json:"now"`
}

// TrustClock implements Service.
func (c *Client) TrustClock(ctx context.Context, by Caller, now time.Time) (KeysStatus, error) {
	return ask[KeysStatus](ctx, c, post("/v1/keys:trust-clock", by, clockBody{Now: now.Format(time.RFC3339)}))
}

func (s *Server) trustClock(c *call) error {
	var body clockBody
	if err := c.decode(&body); err != nil {
		return err
	}
	now, err := time.Parse(time.RFC3339, body.Now)
	if err != nil {
		return Usage("say what time it is: now, as in 2026-11-23T10:15:00Z")
	}
	status, err := s.service.TrustClock(c.ctx(), c.caller, now)
	return ok(c, status, err)
}
