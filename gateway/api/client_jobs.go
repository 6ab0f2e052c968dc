package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
)

// How a Client watches a job, and how long it waits where nothing is at stake.
const (
	pollFirst = 20 * time.Millisecond
	pollLast  = time.Second
	readyTime = 5 * time.Second
	maxLine   = 1 << 20 // bytes of a feed's line
)

// Rebuild implements Service. If ctx ends, the job is cancelled.
func (c *Client) Rebuild(ctx context.Context, by Caller, names []string, p Progress) (Rebuilt, error) {
	job, err := c.follow(ctx, post("/v1/views:rebuild", by, rebuildBody{Names: names, All: len(names) == 0}), p)
	if err != nil {
		return Rebuilt{}, err
	}
	return resultOf[Rebuilt](job)
}

// Dispose implements Service. If ctx ends, the job is cancelled; what is left goes
// with the next one.
func (c *Client) Dispose(ctx context.Context, by Caller, dryRun bool, p Progress) (Disposal, error) {
	job, err := c.follow(ctx, post("/v1/retention:dispose", by, retentionBody{DryRun: dryRun}), p)
	if err != nil {
		return Disposal{}, err
	}
	return resultOf[Disposal](job)
}

// Replay implements Service: the server builds the file, and the client fetches it
// to path, which must not exist. If ctx ends, the job is cancelled.
func (c *Client) Replay(ctx context.Context, by Caller, asOf time.Time, path string, p Progress) (Replay, error) {
	job, err := c.follow(ctx, post("/v1/audit:replay", by, replayBody{AsOf: asOf}), p)
	if err != nil {
		return Replay{}, err
	}
	if err := c.fetch(ctx, by, job, path); err != nil {
		return Replay{}, err
	}
	c.forget(ctx, by, job.ID)
	return resultOf[Replay](job)
}

func resultOf[T any](job Job) (into T, err error) {
	if err := json.Unmarshal(job.Result, &into); err != nil {
		return into, fmt.Errorf("reading the result of %s: %w", job.Action, err)
	}
	return into, nil
}

// follow begins a job and waits until it is done.
func (c *Client) follow(ctx context.Context, q request, p Progress) (Job, error) {
	q.key = uuid.NewString()
	job, err := ask[Job](ctx, c, q)
	for wait := pollFirst; err == nil && job.State == JobRunning; wait = min(2*wait, pollLast) {
		if p != nil {
			p(job.Done, job.Total)
		}
		if err = pause(ctx, wait); err == nil {
			job, err = ask[Job](ctx, c, get("/v1/jobs/"+q.key, q.caller))
		}
	}
	if ctx.Err() != nil {
		c.forget(context.WithoutCancel(ctx), q.caller, q.key)
	}
	switch {
	case err != nil:
		return job, err
	case job.Error != nil:
		return job, job.Error
	case p != nil:
		p(job.Done, job.Total)
	}
	return job, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// forget cancels a job or lets go of its file. Without an answer the server does
// so by itself in 10 minutes.
func (c *Client) forget(ctx context.Context, by Caller, id string) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	answer, err := c.send(ctx, request{method: http.MethodDelete, path: "/v1/jobs/" + id, caller: by})
	if err == nil {
		_ = answer.Body.Close() // only read
	}
}

// fetch writes a job's file to path: whole, or not at all.
func (c *Client) fetch(ctx context.Context, by Caller, job Job, path string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("making the file of the replay: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := c.copy(ctx, get("/v1/jobs/"+job.ID+"/file", by), f); err != nil {
		return err
	}
	return f.Sync()
}

// Feed implements Service.
func (c *Client) Feed(ctx context.Context, by Caller, each func(FeedEvent) error) error {
	answer, err := c.send(ctx, get("/v1/feed", by))
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	err = eachEvent(answer.Body, each)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// eachEvent reads server-sent events, of which a feed uses the data line only.
func eachEvent(r io.Reader, each func(FeedEvent) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		if !found {
			continue
		}
		var e FeedEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("reading the feed: %w", err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return lines.Err()
}
