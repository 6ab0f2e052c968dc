package vaulttest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Storages of a server.
const (
	InMemory = "inmem" // gone with the process
	Raft     = "raft"
)

// Options of Start. The zero value is a server in memory.
type Options struct {
	Storage string
	// Unsynced keeps the files of raft in memory, where the machine has a file
	// system for that: syncing them costs nothing. They outlive the process, as
	// on a disk, and not the machine.
	Unsynced bool
}

// memoryFiles is where Linux has a file system in memory.
const memoryFiles = "/dev/shm"

// home makes the directory of a server's state.
func (o Options) home(t testing.TB) string {
	t.Helper()
	if !o.Unsynced {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memoryFiles, "lethe-vault-")
	if err != nil {
		t.Logf("no files in memory, so on disk: %v", err)
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing a Vault server's files: %v", err)
		}
	})
	return dir
}

// A Server is one process. It is not safe for use by several goroutines.
type Server struct {
	Addr      string // such as http://127.0.0.1:8200
	RootToken string

	t       testing.TB
	options Options
	dir     string
	unseal  string
	cluster string
	cmd     *exec.Cmd
	stderr  *tail
	done    chan struct{} // closed when the process has ended
}

// startWithin bounds how long a server may take until it answers.
const startWithin = time.Minute

// Start starts a server that is stopped with the test. It skips the test, or
// fails it in CI, where the server cannot be built.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Storage == "" {
		o.Storage = InMemory
	}
	path, err := program()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no Vault server to test with: %v", err)
		}
		t.Skipf("no Vault server to test with: %v", err)
	}
	s := &Server{t: t, options: o, dir: o.home(t)}
	s.run(path)
	t.Cleanup(s.stop)
	return s
}

func (s *Server) run(path string) {
	s.t.Helper()
	if s.Addr == "" { // else the same address again
		s.Addr, s.cluster = "http://"+address(s.t), address(s.t)
	}
	args := []string{"-dir", s.dir, "-storage", s.options.Storage, "-log", "error", "-listen", s.Addr[len("http://"):], "-cluster", s.cluster}
	s.cmd, s.stderr, s.done = exec.Command(path, args...), &tail{}, make(chan struct{})
	s.cmd.Stderr = s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err == nil {
		err = s.await(out)
	}
	if err != nil {
		s.t.Fatalf("starting a Vault server: %v: %s", err, s.stderr)
	}
}

// address is a free one on loopback, of a port below those that systems hand out by
// themselves: nothing takes it while a server is stopped.
func address(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000)))
		if err != nil {
			continue // it is taken
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// await reads the line that the server prints when it answers.
func (s *Server) await(out io.Reader) error {
	lines := make(chan []byte, 1)
	cmd, done := s.cmd, s.done
	go func() {
		line, _ := bufio.NewReader(out).ReadBytes('\n') // an empty one where it ended
		lines <- line
		_, _ = io.Copy(io.Discard, out) // until it ends
		_ = cmd.Wait()
		close(done)
	}()
	select {
	case line := <-lines:
		return s.read(line)
	case <-time.After(startWithin):
		return errors.Join(errors.New("it does not answer"), s.cmd.Process.Kill())
	}
}

func (s *Server) read(line []byte) error {
	var ready struct {
		Addr      string `json:"addr"`
		Cluster   string `json:"cluster"`
		RootToken string `json:"root_token"`
		UnsealKey string `json:"unseal_key"`
	}
	if err := json.Unmarshal(line, &ready); err != nil {
		return fmt.Errorf("what it prints cannot be read: %w", err)
	}
	s.Addr, s.cluster, s.RootToken, s.unseal = ready.Addr, ready.Cluster, ready.RootToken, ready.UnsealKey
	return nil
}

// stop ends the process and waits for it.
func (s *Server) stop() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill() // as above
		<-s.done
	}
}

// Kill ends the process at once. Restart starts it again.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.done
}

// Restart stops the server, if it runs, and starts it on the same address. In
// memory nothing is left of what it held.
func (s *Server) Restart() {
	s.t.Helper()
	s.stop()
	path, err := program()
	if err != nil {
		s.t.Fatalf("restarting a Vault server: %v", err)
	}
	s.run(path)
}

// CopyData stops a server on raft, copies what it holds and starts it again.
func (s *Server) CopyData() (dir string) {
	s.t.Helper()
	s.onRaft()
	dir = s.t.TempDir()
	s.stop()
	if err := os.CopyFS(filepath.Join(dir, "copy"), os.DirFS(s.dir)); err != nil {
		s.t.Fatalf("copying a Vault server's data: %v", err)
	}
	s.Restart()
	return dir
}

// RestoreData puts a copy in the place of what the server holds.
func (s *Server) RestoreData(dir string) {
	s.t.Helper()
	s.onRaft()
	s.stop()
	err := os.RemoveAll(filepath.Join(s.dir, "data"))
	if err == nil {
		err = os.CopyFS(filepath.Join(s.dir, "data"), os.DirFS(filepath.Join(dir, "copy", "data")))
	}
	if err != nil {
		s.t.Fatalf("restoring a Vault server's data: %v", err)
	}
	s.Restart()
}

func (s *Server) onRaft() {
	s.t.Helper()
	if s.options.Storage != Raft {
		s.t.Fatal("a server in memory has no data to copy")
	}
}

// Seal seals the server: it answers, and knows nothing.
func (s *Server) Seal() {
	s.t.Helper()
	s.call("sys/seal", nil)
}

// Unseal unseals it, and returns when it serves again.
func (s *Server) Unseal() {
	s.t.Helper()
	s.call("sys/unseal", map[string]string{"key": s.unseal})
	for range 600 {
		response, err := http.Get(s.Addr + "/v1/sys/health")
		if err == nil {
			_ = response.Body.Close() // nothing is lost with it
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatal("the Vault server does not serve again")
}

// call sends a request of the root's.
func (s *Server) call(path string, body any) {
	s.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, s.Addr+"/v1/"+path, bytes.NewReader(raw))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("X-Vault-Token", s.RootToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatalf("calling %s: %v", path, err)
	}
	defer func() { _ = response.Body.Close() }() // nothing is lost with it
	if response.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(response.Body) // what there is of it
		s.t.Fatalf("calling %s: status %d: %s", path, response.StatusCode, text)
	}
}

// A tail keeps the end of what the server logs.
type tail struct {
	mu  sync.Mutex // guards end
	end []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end = append(l.end, p...)
	if n := len(l.end) - 4096; n > 0 {
		l.end = l.end[n:]
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.end)
}
