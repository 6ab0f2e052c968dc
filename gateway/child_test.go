package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/lxzan/gws"
)

// child runs what a test started in a process of its own, until stdin ends; it
// reports whether it did. Each line on stdin frees memory and is answered.
func child() bool {
	mode := os.Getenv("GATEWAY_TEST_CHILD")
	if mode == "" {
		return false
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go serveChild(mode, l)
	_, _ = os.Stdout.WriteString(l.Addr().String() + "\n")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		debug.FreeOSMemory()
		_, _ = os.Stdout.WriteString("freed\n")
	}
	return true
}

func serveChild(mode string, l net.Listener) {
	if mode == "bare" {
		u := gws.NewUpgrader(newApp(), nil)
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // a test's process
			if s, err := u.Upgrade(w, r); err == nil {
				go s.ReadLoop()
			}
		}))
		return
	}
	g, err := New(Config{Recorder: Unrecorded{}, Clock: time.Now}, Settings{Pools: []Pool{{ID: "chat", Path: "/", Upstreams: []string{"ws://" + os.Getenv("GATEWAY_TEST_UPSTREAM")}}}})
	if err != nil {
		panic(err)
	}
	if mode == "tap" {
		_ = g.Serve(l, Listen{})
		return
	}
	h, err := g.Handler("chat", newApp(), HandlerOptions{})
	if err != nil {
		panic(err)
	}
	_ = http.Serve(l, h) //nolint:gosec // a test's process
}

type childProcess struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

func startChild(t *testing.T, mode, upstream string) *childProcess {
	t.Helper()
	c := &childProcess{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), "GATEWAY_TEST_CHILD="+mode, "GATEWAY_TEST_UPSTREAM="+upstream)
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.stop() })
	line, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	c.addr = strings.TrimSpace(line)
	return c
}

// stop ends the child and returns how it went.
func (c *childProcess) stop() error {
	_ = c.in.Close()
	return c.cmd.Wait()
}

// TestProcessSurvivesTheFrame sends the frame to a process of its own, in both
// modes; and to gws alone, which must die, or the test shows nothing.
func TestProcessSurvivesTheFrame(t *testing.T) {
	for _, mode := range []string{"bare", "handler", "tap"} {
		t.Run(mode, func(t *testing.T) {
			b := newBackend(t, nil, nil)
			c := startChild(t, mode, strings.TrimPrefix(b.url, "ws://"))
			r := &rig{addr: c.addr, backend: b}
			p, _ := r.ask(t, "/", "")
			p.send(crash)
			_, _ = io.ReadAll(p.br)
			err := c.stop()
			if dead := err != nil; dead != (mode == "bare") {
				t.Fatalf("the process ended with %v", err)
			}
		})
	}
}
