package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

func (s *Server) rebuild(c *call) error {
	var body rebuildBody
	if err := c.decode(&body); err != nil {
		return err
	}
	if body.All == (len(body.Names) > 0) {
		return Usage("name the views to rebuild, or all of them, not both")
	}
	caller := c.caller
	return s.begin(c, task{action: "views.rebuild", do: func(ctx context.Context, p Progress) (any, error) {
		return s.service.Rebuild(ctx, caller, body.Names, p)
	}})
}

func (s *Server) dispose(c *call) error {
	var body retentionBody
	if err := c.decode(&body); err != nil {
		return err
	}
	caller := c.caller
	return s.begin(c, task{action: "retention.dispose", do: func(ctx context.Context, p Progress) (any, error) {
		return s.service.Dispose(ctx, caller, body.DryRun, p)
	}})
}

func (s *Server) replay(c *call) error {
	var body replayBody
	if err := c.decode(&body); err != nil {
		return err
	}
	if body.AsOf.IsZero() {
		return Usage("say as of when: as_of")
	}
	dir, err := os.MkdirTemp(s.opt.TempDir, replayPattern)
	if err != nil {
		return fmt.Errorf("making a folder for the replay: %w", err)
	}
	caller := c.caller
	return s.begin(c, task{action: "audit.replay", dir: dir, do: func(ctx context.Context, p Progress) (any, error) {
		return s.service.Replay(ctx, caller, body.AsOf, filepath.Join(dir, replayFile), p)
	}})
}

// begin answers 202 with the job, new or known. The folder of a task that was not
// begun goes at once.
func (s *Server) begin(c *call, t task) error {
	key, err := c.idempotencyKey()
	var started Job
	if err == nil {
		started, err = s.jobs.start(c.caller, key, t)
	}
	if err != nil && t.dir != "" {
		if gone := os.RemoveAll(t.dir); gone != nil {
			s.opt.Logger.Warn().Err(gone).Msg("a replay's folder could not be removed")
		}
	}
	if err != nil && !errors.Is(err, errKnown) {
		return err
	}
	c.w.Header().Set("Location", "/v1/jobs/"+started.ID)
	return c.answer(http.StatusAccepted, started)
}

func (s *Server) job(c *call) error {
	j, _, err := s.jobs.get(c.caller, c.r.PathValue("id"))
	return ok(c, j, err)
}

func (s *Server) jobCancel(c *call) error {
	return ok(c, struct{}{}, s.jobs.stop(c.caller, c.r.PathValue("id")))
}

// jobFile sends the file that a finished job wrote, with its length, so that a
// part of it is never taken for the whole.
func (s *Server) jobFile(c *call) (err error) {
	j, dir, err := s.jobs.get(c.caller, c.r.PathValue("id"))
	if err != nil {
		return err
	}
	if !j.File {
		return NotFound("this job has no file, or is not done")
	}
	f, err := os.Open(filepath.Join(dir, replayFile))
	if errors.Is(err, os.ErrNotExist) {
		return NotFound("the job's file is gone; begin it again")
	}
	if err != nil {
		return fmt.Errorf("opening a job's file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading a job's file: %w", err)
	}
	c.w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	w := c.stream("application/vnd.sqlite3")
	defer w.close()
	w.begin()
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("sending a job's file: %w", err)
	}
	return nil
}
