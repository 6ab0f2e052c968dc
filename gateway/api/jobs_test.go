package api

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func (b *bench) job(t *testing.T, role, line, body string, headers ...string) (int, Job) {
	t.Helper()
	status, got, _ := b.do(t, role, line, body, headers...)
	var j Job
	if err := json.Unmarshal([]byte(got), &j); err != nil {
		t.Fatalf("%s: %d %s: %v", line, status, got, err)
	}
	return status, j
}

// settled waits until a job is in a state.
func (b *bench) settled(t *testing.T, id, state string) Job {
	t.Helper()
	for range 500 {
		if _, j := b.job(t, RoleOperator, "GET /v1/jobs/"+id, ``); j.State == state {
			return j
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("job %s is never %s", id, state)
	return Job{}
}

func TestJobGoesItsWay(t *testing.T) {
	b := start(t, ServerOptions{})
	b.fake.hold = make(chan struct{})
	status, j := b.job(t, RoleOperator, "POST /v1/views:rebuild", `{"all":true}`, HeaderIdempotencyKey+": "+uuidA)
	if status != 202 || j.ID != uuidA || j.State != JobRunning {
		t.Fatalf("%d %+v", status, j)
	}
	if _, again := b.job(t, RoleOperator, "POST /v1/views:rebuild", `{"all":true}`, HeaderIdempotencyKey+": "+uuidA); again.ID != uuidA {
		t.Errorf("the same key began another job: %+v", again)
	}
	if status, got, _ := b.do(t, RoleAuditor, "POST /v1/audit:replay", `{"as_of":"2026-01-02T03:04:05Z"}`, HeaderIdempotencyKey+": "+uuidA); status != 409 {
		t.Errorf("somebody else's key: %d %s", status, got)
	}
	if status, _, _ := b.do(t, RoleAuditor, "GET /v1/jobs/"+uuidA, ``); status != 404 {
		t.Errorf("an auditor sees an operator's job: %d", status)
	}
	close(b.fake.hold)
	done := b.settled(t, uuidA, JobDone)
	if done.Done != 2 || done.Total != 2 || done.Error != nil || !json.Valid(done.Result) {
		t.Errorf("%+v", done)
	}
	if n := len(b.fake.calls); n != 1 {
		t.Errorf("%d rebuilds", n)
	}
}

func TestJobsAreBounded(t *testing.T) {
	b := start(t, ServerOptions{})
	b.fake.hold = make(chan struct{})
	for range maxRunning {
		b.job(t, RoleOperator, "POST /v1/views:rebuild", `{"all":true}`)
	}
	if status, got, _ := b.do(t, RoleOperator, "POST /v1/views:rebuild", `{"all":true}`); status != 503 {
		t.Errorf("one more: %d %s", status, got)
	}
	close(b.fake.hold)
	for range 3 * maxJobs {
		id := ""
		for id == "" {
			_, j := b.job(t, RoleOperator, "POST /v1/views:rebuild", `{"all":true}`)
			id = j.ID
		}
		b.settled(t, id, JobDone)
	}
	if n := len(b.api.jobs.all); n > maxJobs || n != len(b.api.jobs.order) {
		t.Errorf("%d jobs are remembered, %d in order", n, len(b.api.jobs.order))
	}
}

func TestJobFails(t *testing.T) {
	b := start(t, ServerOptions{})
	b.fake.fail = errors.New("secret detail")
	_, j := b.job(t, RoleOperator, "POST /v1/audit:replay", `{"as_of":"2026-01-02T03:04:05Z"}`)
	failed := b.settled(t, j.ID, JobFailed)
	if failed.Error.Code != CodeInternal || failed.Error.Message != "Internal error" || failed.File {
		t.Errorf("%+v %+v", failed, failed.Error)
	}
	if left, _ := filepath.Glob(filepath.Join(b.api.opt.TempDir, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestJobIsCancelled(t *testing.T) {
	b := start(t, ServerOptions{})
	b.fake.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.client(RoleOperator).Rebuild(ctx, Caller{}, nil, func(done, _ int64) {
		if done == 1 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the client: %v", err)
	}
	id := b.api.jobs.order[0]
	if j := b.settled(t, id, JobFailed); j.Error.Message != "the job was cancelled" {
		t.Errorf("%+v", j.Error)
	}
	if status, _, _ := b.do(t, RoleOperator, "DELETE /v1/jobs/"+id, ``); status != 200 {
		t.Errorf("forgetting: %d", status)
	}
	if status, _, _ := b.do(t, RoleOperator, "GET /v1/jobs/"+id, ``); status != 404 {
		t.Errorf("forgotten: %d", status)
	}
}

// TestJobFileGoes: a replay's file is there while its job is, and no longer.
func TestJobFileGoes(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "lethe-replay-1")
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	b := start(t, ServerOptions{TempDir: dir, JobKept: 300 * time.Millisecond})
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("an earlier process's replay stays: %v", err)
	}
	_, j := b.job(t, RoleAuditor, "POST /v1/audit:replay", `{"as_of":"2026-01-02T03:04:05Z"}`)
	b.settled(t, j.ID, JobDone)
	if status, got, _ := b.do(t, RoleAuditor, "GET /v1/jobs/"+j.ID+"/file", ``); status != 200 || got != "SQLite format 3" {
		t.Errorf("file: %d %s", status, got)
	}
	for range 500 {
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the replay outlives its job")
}
