package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
)

// Bounds of jobs.
const (
	maxRunning = 4  // at once
	maxJobs    = 64 // remembered, finished ones among them
)

// The states of a Job.
const (
	JobRunning = "running"
	JobDone    = "done"
	JobFailed  = "failed"
)

// A Job is long work under way: 202 with one is the answer that begins it. A
// finished job can be asked for during 10 minutes.
type Job struct {
	ID     string          `json:"id"`
	Action string          `json:"action"`
	State  string          `json:"state"` // running, done, failed
	Done   int64           `json:"done"`
	Total  int64           `json:"total"`            // 0: unknown
	Result json.RawMessage `json:"result,omitempty"` // of the state done
	Error  *Error          `json:"error,omitempty"`  // of the state failed
	File   bool            `json:"file,omitempty"`   // GET /v1/jobs/{id}/file has it
}

// jobs owns the goroutines of long work; close ends them. mu protects everything
// below it, and the fields of every job.
type jobs struct {
	ended context.Context //nolint:containedctx // the server's own life
	log   zerolog.Logger
	kept  time.Duration

	running sync.WaitGroup
	mu      sync.Mutex
	all     map[string]*job
	order   []string // ids, oldest first
	closed  bool
}

type job struct {
	Job
	principal string
	cancel    context.CancelFunc
	forget    *time.Timer // since it finished
	dir       string      // "" or the folder of its file
}

// A task is what a job does. The file it may write goes into dir.
type task struct {
	action string
	dir    string
	do     func(ctx context.Context, p Progress) (any, error)
}

// replayFile and replayPattern name a replay's file and its folder.
const (
	replayFile    = "replay.db"
	replayPattern = "lethe-replay-*"
)

func newJobs(ended context.Context, log zerolog.Logger, kept time.Duration) *jobs {
	return &jobs{ended: ended, log: log, kept: kept, all: map[string]*job{}}
}

var errBusy = Unavailable(fmt.Sprintf("%d jobs are running; wait for one to end", maxRunning))

// start begins a task, unless the key names one that the same principal began.
// Beyond maxRunning it is refused.
func (j *jobs) start(who Caller, key string, t task) (Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if known, found := j.all[key]; found && key != "" {
		if known.principal != who.Principal || known.Action != t.action {
			return Job{}, &Error{Code: CodeConflict, Message: "this " + HeaderIdempotencyKey + " is another job's", Status: http.StatusConflict}
		}
		return known.Job, errKnown
	}
	if j.closed || j.count() >= maxRunning {
		return Job{}, errBusy
	}
	if key == "" {
		key = uuid.NewString()
	}
	ctx, cancel := context.WithCancel(j.ended)
	n := &job{Job: Job{ID: key, Action: t.action, State: JobRunning}, principal: who.Principal, cancel: cancel, dir: t.dir}
	j.all[key], j.order = n, append(j.order, key)
	j.shrink()
	j.running.Go(func() { j.run(ctx, n, t) })
	return n.Job, nil
}

// errKnown says that a key's job was begun before; its task was not begun again.
var errKnown = errors.New("job is known")

func (j *jobs) count() (running int) {
	for _, n := range j.all {
		if n.State == JobRunning {
			running++
		}
	}
	return running
}

// shrink forgets the oldest finished jobs beyond maxJobs. The caller holds mu.
func (j *jobs) shrink() {
	for _, id := range append([]string(nil), j.order...) {
		if len(j.all) <= maxJobs {
			return
		}
		if j.all[id].State != JobRunning {
			j.drop(id)
		}
	}
}

// run is the goroutine of one job.
func (j *jobs) run(ctx context.Context, n *job, t task) {
	defer n.cancel()
	result, err := j.work(ctx, n, t)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		n.Result, err = json.Marshal(result)
	}
	switch {
	case err == nil:
		n.State, n.File = JobDone, n.dir != ""
	case ctx.Err() != nil:
		n.State, n.Error = JobFailed, Unavailable("the job was cancelled")
	default:
		n.State, n.Error = JobFailed, Wire(err)
		if n.Error.Status >= http.StatusInternalServerError {
			j.log.Error().Err(err).Str("job", n.ID).Str("action", n.Action).Msg("admin API: a job failed")
		}
	}
	if n.State == JobFailed {
		j.removeDir(n)
	}
	n.forget = time.AfterFunc(j.kept, func() { j.forget(n.ID) })
}

func (j *jobs) work(ctx context.Context, n *job, t task) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %T", errPanic, v)
		}
	}()
	return t.do(ctx, func(done, total int64) {
		j.mu.Lock()
		defer j.mu.Unlock()
		n.Done, n.Total = done, total
	})
}

// get returns a job of the caller's; operators see all of them.
func (j *jobs) get(who Caller, id string) (Job, string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, err := j.find(who, id)
	if err != nil {
		return Job{}, "", err
	}
	return n.Job, n.dir, nil
}

// find finds a job; the caller holds mu.
func (j *jobs) find(who Caller, id string) (*job, error) {
	n, found := j.all[id]
	if !found || (n.principal != who.Principal && who.Role != RoleOperator) {
		return nil, NotFound("there is no such job; a finished one is kept for 10 minutes")
	}
	return n, nil
}

// stop cancels a running job and forgets a finished one.
func (j *jobs) stop(who Caller, id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, err := j.find(who, id)
	if err != nil {
		return err
	}
	if n.State == JobRunning {
		n.cancel()
	} else {
		j.drop(id)
	}
	return nil
}

func (j *jobs) forget(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := j.all[id]; n != nil && n.State != JobRunning {
		j.drop(id)
	}
}

// drop removes a finished job with its file. The caller holds mu.
func (j *jobs) drop(id string) {
	n := j.all[id]
	n.forget.Stop()
	j.removeDir(n)
	delete(j.all, id)
	for i, known := range j.order {
		if known == id {
			j.order = append(j.order[:i], j.order[i+1:]...)
			return
		}
	}
}

func (j *jobs) removeDir(n *job) {
	if n.dir == "" {
		return
	}
	if err := os.RemoveAll(n.dir); err != nil {
		j.log.Warn().Err(err).Str("job", n.ID).Msg("a replay could not be removed")
	}
	n.dir = ""
}

// close waits for the jobs, which end with the server's context, then forgets
// them.
func (j *jobs) close(ctx context.Context) error {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	done := make(chan struct{})
	go func() { j.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("waiting for jobs: %w", ctx.Err())
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range append([]string(nil), j.order...) {
		j.drop(id)
	}
	return nil
}
