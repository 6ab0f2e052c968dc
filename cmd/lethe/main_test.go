package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lxzan/gws"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lethe": main})
}

// TestScripts runs testdata/script: the command as people and scripts see it.
// Those that begin with fake_ talk to a canned Service, the others to a ledger.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "fake": startFake, "upstream": startUpstream, "eventstore": startEventStore, "port": freePort, "ready": waitReady, "talk": talk, "until": until, "await": await, "expand": expand, "signal": signalAll, "field": field,
		},
	})
}

// exits runs the command and compares its exit code: exits CODE ARG...
func exits(ts *testscript.TestScript, _ bool, args []string) {
	var exit *exec.ExitError
	code := "0"
	if err := ts.Exec("lethe", args[1:]...); errors.As(err, &exit) {
		code = strconv.Itoa(exit.ExitCode())
	} else {
		ts.Check(err)
	}
	if code != args[0] {
		ts.Fatalf("lethe %v exits with %s, want %s", args[1:], code, args[0])
	}
}

// startFake serves the canned Service: fake
func startFake(ts *testscript.TestScript, _ bool, _ []string) {
	handler := api.NewServer(fake{}, api.ServerOptions{Logger: zerolog.Nop(), TempDir: ts.MkAbs(".")})
	s := httptest.NewServer(handler)
	ts.Defer(func() {
		_ = handler.Close(context.Background())
		s.Close()
	})
	ts.Setenv(envAdmin, s.URL)
	ts.Setenv(envToken, "good")
}

type echo struct{ gws.BuiltinEventHandler }

func (echo) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

// startUpstream serves an echo and sets $UPSTREAM: upstream
func startUpstream(ts *testscript.TestScript, _ bool, _ []string) {
	up := gws.NewUpgrader(echo{}, nil)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := up.Upgrade(w, r); err == nil {
			go c.ReadLoop()
		}
	}))
	ts.Defer(s.CloseClientConnections)
	ts.Defer(s.Close)
	ts.Setenv("UPSTREAM", "ws"+s.URL[len("http"):])
}

// freePort sets a variable to a loopback address that nobody has: port VARIABLE
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

// waitReady waits until serve has left its admin file: ready DIR
func waitReady(ts *testscript.TestScript, neg bool, args []string) {
	path := filepath.Join(ts.MkAbs(args[0]), adminFile)
	for range 600 {
		if _, err := os.Stat(path); (err == nil) != neg {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%s: still waiting", path)
}

// replies counts what comes back.
type replies struct {
	gws.BuiltinEventHandler
	got chan struct{}
}

func (r replies) OnMessage(_ *gws.Conn, m *gws.Message) {
	_ = m.Close()
	r.got <- struct{}{}
}

// talk sends messages as a person and waits for the echoes: talk ADDRESS USER N
func talk(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	r := replies{got: make(chan struct{}, n)}
	c, answer, err := gws.NewClient(r, &gws.ClientOption{Addr: "ws://" + args[0] + "/chat?user=" + args[1]})
	ts.Check(err)
	_ = answer.Body.Close()
	go c.ReadLoop()
	for range n {
		ts.Check(c.WriteString("hello"))
	}
	for range n {
		select {
		case <-r.got:
		case <-time.After(20 * time.Second):
			ts.Fatalf("an echo is missing")
		}
	}
	ts.Check(c.WriteClose(1000, nil))
}

// until runs a command until its output has a text: until TEXT ARG...
func until(ts *testscript.TestScript, _ bool, args []string) {
	for range 100 {
		if err := ts.Exec("lethe", args[1:]...); err == nil && strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("lethe %v never says %s: %s", args[1:], args[0], ts.ReadFile("stdout"))
}

// await waits until a file has a text: await FILE TEXT
func await(ts *testscript.TestScript, _ bool, args []string) {
	for range 200 {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(b), args[1]) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%s never says %s", args[0], args[1])
}

// expand puts variables into a file: expand FILE
func expand(ts *testscript.TestScript, _ bool, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// signalAll sends a signal to what runs in the background: signal TERM|HUP
func signalAll(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(signals[args[0]]))
	}
}

// field sets a variable to a field of the last command's JSON: field VARIABLE NAME...
func field(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for _, name := range args[1:] {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	if v == nil {
		ts.Fatalf("no field %v in %s", args[1:], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}
