package lethe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// The end-to-end tests drive the command as people do: a process that serves, and
// commands beside it. It is built once a run, with the race detector where the
// tests have it.

// built is the command, with the folder that TestMain removes.
var built struct {
	once sync.Once
	dir  string
	err  error
	out  []byte
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// racing reports whether the tests run with the race detector.
func racing() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

func program(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "lethe-e2e-"); built.err != nil {
			return
		}
		args := []string{"build", "-buildvcs=false", "-o", filepath.Join(built.dir, "lethe")}
		if racing() {
			args = append(args, "-race")
		}
		built.out, built.err = exec.Command("go", append(args, "./cmd/lethe")...).CombinedOutput()
	})
	if built.err != nil {
		t.Fatalf("building the command: %v\n%s", built.err, built.out)
	}
	return filepath.Join(built.dir, "lethe")
}

// soaking reports whether the long form of a test is asked for.
func soaking() bool {
	return os.Getenv("LETHE_SOAK") != "" || os.Getenv("LETHE_SOAK_ROUNDS") != ""
}

// A buffer collects what a process writes, while others read it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A home is a folder of one ledger: data, the journal beside it, a configuration
// and a folder for temporary files.
type home struct {
	dir, data, tmp string
	config         string // "": none
}

func newHome(t *testing.T) *home {
	t.Helper()
	dir := t.TempDir()
	h := &home{dir: dir, data: filepath.Join(dir, "data"), tmp: filepath.Join(dir, "tmp")}
	if err := os.Mkdir(h.tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	return h
}

// configure writes lethe.yaml, goodConfig or a part of it with replacements.
func (h *home) configure(t *testing.T, text string, edits ...string) {
	t.Helper()
	for i := 0; i < len(edits); i += 2 {
		changed := strings.Replace(text, edits[i], edits[i+1], 1)
		if changed == text {
			t.Fatalf("%q is not in the file", edits[i])
		}
		text = changed
	}
	h.config = filepath.Join(h.dir, "lethe.yaml")
	if err := os.WriteFile(h.config, []byte(strings.ReplaceAll(text, "DIR", h.dir)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command is lethe with the home's flags; it runs inside the home.
func (h *home) command(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if h.config != "" {
		args = append(args, "--config", h.config)
	} else {
		args = append(args, "--data", h.data)
	}
	c := exec.CommandContext(ctx, program(t), args...)
	c.Dir = h.dir
	c.Env = append(os.Environ(), "TMPDIR="+h.tmp, "LETHE_ADMIN=", "LETHE_TOKEN=", "NO_COLOR=1")
	return c
}

// A result is how a command ended.
type result struct {
	code        int
	out, errors string
}

// run runs a command to its end.
func (h *home) run(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := h.command(ctx, t, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("lethe %v: %v", args, err)
	}
	return result{code: c.ProcessState.ExitCode(), out: out.String(), errors: errs.String()}
}

// ask runs a command with --json that must succeed, and decodes its answer.
func ask[T any](t *testing.T, h *home, args ...string) (answer T) {
	t.Helper()
	r := h.run(t, append(args, "--json")...)
	if r.code != 0 {
		t.Fatalf("lethe %v exits with %d: %s", args, r.code, r.errors)
	}
	if err := json.Unmarshal([]byte(r.out), &answer); err != nil {
		t.Fatalf("lethe %v: %v in %s", args, err, r.out)
	}
	return answer
}

// A server is a running lethe serve.
type server struct {
	*home
	Gateway, Admin string

	cmd         *exec.Cmd
	out, errors *buffer
	done        chan struct{} // closed when the process has ended
}

// start begins lethe serve and waits for its ready line.
func (h *home) start(t *testing.T, args ...string) *server {
	t.Helper()
	s := h.launch(t, h.command(context.Background(), t, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)...))
	s.await(t)
	return s
}

func (h *home) launch(t *testing.T, c *exec.Cmd) *server {
	t.Helper()
	s := &server{home: h, cmd: c, out: &buffer{}, errors: &buffer{}, done: make(chan struct{})}
	c.Stdout, c.Stderr = s.out, s.errors
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(s.done); _ = c.Wait() }()
	t.Cleanup(func() { s.end(syscall.SIGKILL); s.report(t) })
	return s
}

// report shows what the process logged, if its test failed, and a race in any case.
func (s *server) report(t *testing.T) {
	if log := s.errors.String(); strings.Contains(log, "DATA RACE") {
		t.Errorf("the process raced:\n%s", log)
	} else if t.Failed() && log != "" {
		t.Logf("the process of %s logged:\n%.4000s", s.dir, log)
	}
}

func (s *server) await(t *testing.T) {
	t.Helper()
	var line struct {
		Ready          bool
		Gateway, Admin string
	}
	within(t, 60*time.Second, "the ready line", func() bool {
		select {
		case <-s.done:
			t.Fatalf("serve ended with %d: %s", s.cmd.ProcessState.ExitCode(), s.errors)
		default:
		}
		return strings.HasSuffix(s.out.String(), "\n")
	})
	if err := json.Unmarshal([]byte(s.out.String()), &line); err != nil || !line.Ready {
		t.Fatalf("the ready line is %q: %v", s.out, err)
	}
	s.Gateway, s.Admin = line.Gateway, line.Admin
}

// end sends a signal and waits; it returns the exit code, -1 after a signal.
func (s *server) end(sig syscall.Signal) int {
	_ = s.cmd.Process.Signal(sig) // one that has ended already is waited for all the same
	<-s.done
	return s.cmd.ProcessState.ExitCode()
}

// client calls the admin API with the token of admin.json.
func (h *home) client(t *testing.T) *api.Client {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.data, "admin.json"))
	if err != nil {
		t.Fatal(err)
	}
	var at lethe.AdminFile
	if err := json.Unmarshal(b, &at); err != nil {
		t.Fatal(err)
	}
	return &api.Client{Base: at.Address, Token: at.Token, Purpose: "test"}
}

// within asks again until ok.
func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, d)
		}
	}
}

// held sums the records of a class that subject show lists in a state.
func held(s api.SubjectShow, class, readable string) (n int64) {
	for _, h := range s.Holdings {
		if h.Class == class && h.Readable == readable {
			n += h.Records
		}
	}
	return n
}

// subject is lethe subject show ID --json.
func (h *home) subject(t *testing.T, id string) api.SubjectShow {
	t.Helper()
	return ask[api.SubjectShow](t, h, "subject", "show", id)
}

// counts waits until subject show lists n message records of a person as
// readable, and checks that the command says so.
func (h *home) counts(t *testing.T, id string, n int64) {
	t.Helper()
	h.tally(t, h.client(t), id, n)
	if show := h.subject(t, id); held(show, "messages", "present") != n {
		t.Errorf("subject show counts other than %d messages: %+v", n, show)
	}
}

// tally is counts by the API alone, for many people.
func (h *home) tally(t *testing.T, client *api.Client, id string, n int64) {
	t.Helper()
	var last api.SubjectShow
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var err error
		if last, err = client.SubjectShow(t.Context(), api.Caller{}, id); err != nil {
			t.Fatalf("asking for a subject: %v", err)
		}
		if held(last, "messages", "present") >= n {
			break
		}
	}
	if got := held(last, "messages", "present"); got != n {
		t.Errorf("%d messages are counted, want %d: %+v", got, n, last)
	}
}

// sameViews rebuilds all views and compares each with the live one.
func (h *home) sameViews(t *testing.T) {
	t.Helper()
	built := ask[api.Rebuilt](t, h, "views", "rebuild", "--all").Rebuilt
	if len(built) < 6 {
		t.Errorf("%d views were rebuilt", len(built))
	}
	for _, v := range built {
		if v.Digest != v.LiveDigest || len(v.Digest) != 64 || v.Events == 0 {
			t.Errorf("view %s differs from its rebuild: %+v", v.Name, v)
		}
	}
}

// files lists the regular files below some folders.
func files(t *testing.T, dirs ...string) (paths []string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // removed while walking
				return nil
			}
			if err == nil && d.Type().IsRegular() {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return paths
}
