package docs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lxzan/gws"
)

// A block is a fenced piece of README.md that is marked to be run.
type block struct {
	background bool
	lines      []string
}

var marked = regexp.MustCompile("(?m)^<!-- test(: background)? -->\n```sh\n((?s).*?)\n```$")

func readBlocks(page string) []block {
	var out []block
	for _, m := range marked.FindAllStringSubmatch(page, -1) {
		out = append(out, block{background: m[1] != "", lines: strings.Split(m[2], "\n")})
	}
	return out
}

// says splits a line from what its output must contain.
func says(line string) (command, want string) {
	command, want, _ = strings.Cut(line, "# says: ")
	return command, strings.TrimSpace(want)
}

// TestReadme runs the commands of README.md in a clean copy of the tree, as
// somebody who has just cloned it would: only the addresses are free ones, and
// behind the upstream's stands a server that echoes.
func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command")
	}
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	wantTool(t, "git", "make", "/usr/bin/python3")
	blocks := readBlocks(string(page))
	if len(blocks) < 4 {
		t.Fatalf("README.md has %d blocks to run; the walk needs at least 4", len(blocks))
	}
	w := &walk{dir: cleanCopy(t), addresses: strings.NewReplacer(
		"127.0.0.1:9000", echoServer(t), "127.0.0.1:8080", freeAddress(t), "127.0.0.1:8081", freeAddress(t))}
	for _, b := range blocks {
		if b.background {
			w.start(t, b)
			continue
		}
		for _, line := range b.lines {
			w.run(t, line)
		}
	}
}

// A walk is a shell in the clean copy.
type walk struct {
	dir       string
	addresses *strings.Replacer
}

func (w *walk) command(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", w.addresses.Replace(line))
	cmd.Dir = w.dir
	// A developer's own server must not answer, nor his flags build another binary.
	cmd.Env = append(os.Environ(), "LETHE_ADMIN=", "LETHE_TOKEN=", "MAKEFLAGS=", "NO_COLOR=1")
	return cmd
}

// run runs one line. A look at what has just been recorded may come before the
// views have read it, so what a line shows is asked for again for a while.
func (w *walk) run(t *testing.T, line string) {
	t.Helper()
	command, want := says(line)
	var out []byte
	var err error
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		out, err = w.command(t.Context(), command).CombinedOutput()
		shown := err == nil && strings.Contains(string(out), want)
		if shown || err != nil || !strings.Contains(command, " show ") || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		t.Fatalf("README.md: %s: %v\n%s", command, err, out)
	}
	if !strings.Contains(string(out), want) {
		t.Fatalf("README.md: %s: says nothing of %q:\n%s", command, want, out)
	}
}

// start runs a block until the test ends; it must end well when asked to.
func (w *walk) start(t *testing.T, b block) {
	t.Helper()
	cmd := w.command(context.WithoutCancel(t.Context()), "exec "+strings.Join(b.lines, "\n"))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1)
	go func() { // owns stdout; ends with the process
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		lines <- line
		_, _ = io.Copy(io.Discard, stdout)
	}()
	t.Cleanup(func() { stopWell(t, cmd, &log) })
	select {
	case line := <-lines:
		if !strings.Contains(line, `"ready":true`) {
			t.Fatalf("the first line was %q\n%s", line, log.String())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("not ready after 30 s")
	}
}

func stopWell(t *testing.T, cmd *exec.Cmd, log fmt.Stringer) {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, log)
	}
}

// cleanCopy copies what git knows of, or would, and nothing that was built.
func cleanCopy(t *testing.T) string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = ".."
	names, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name := range strings.SplitSeq(strings.Trim(string(names), "\x00"), "\x00") {
		copyFile(t, filepath.Join("..", name), filepath.Join(dir, name))
	}
	return dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if errors.Is(err, os.ErrNotExist) {
		return // removed, and the removal not committed yet
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, info.Mode().Perm()); err != nil {
		t.Fatal(err)
	}
}

// wantTool skips where a tool is missing, and fails where nothing may be skipped.
func wantTool(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing", name)
		}
		t.Skipf("%s is missing", name)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// echo answers every message with itself.
type echo struct{ gws.BuiltinEventHandler }

func (echo) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

// echoServer stands for the reader's own server.
func echoServer(t *testing.T) string {
	t.Helper()
	upgrader := gws.NewUpgrader(echo{}, &gws.ServerOption{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := upgrader.Upgrade(w, r); err == nil {
			go c.ReadLoop() // ends with its connection
		}
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

func TestReadmeCanFail(t *testing.T) {
	const page = "text\n\n<!-- test -->\n```sh\na\nb # says: x y\n```\n\n```sh\nnot run\n```\n\n<!-- test: background -->\n```sh\nserve\n```\n"
	blocks := readBlocks(page)
	if len(blocks) != 2 || blocks[0].background || len(blocks[0].lines) != 2 || !blocks[1].background {
		t.Fatalf("read %+v", blocks)
	}
	if command, want := says(blocks[0].lines[1]); command != "b " || want != "x y" {
		t.Errorf("read %q, %q", command, want)
	}
}
