package lethe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// missing skips a test for want of a program; where CI is set that is a failure.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", what)
	}
	t.Skipf("%s is missing", what)
}

func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing(t, program)
	}
	return path
}

// clientsFolder is a copy of testdata/clients with its packages installed.
func clientsFolder(t *testing.T) string {
	t.Helper()
	need(t, "node")
	dir := filepath.Join(t.TempDir(), "clients")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "clients"))); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err == nil {
		return dir
	}
	c := exec.Command(need(t, "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

// A backend is a server of testdata/clients.
type backend struct{ port int }

func startBackend(t *testing.T, dir string, args ...string) *backend {
	t.Helper()
	c := exec.Command("node", args...)
	c.Dir = dir
	out := &buffer{}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Signal(syscall.SIGTERM); _ = c.Wait() })
	var at struct{ Port int }
	within(t, 20*time.Second, "the port of "+args[0], func() bool { return strings.Contains(out.String(), "\n") })
	if err := json.Unmarshal([]byte(out.String()), &at); err != nil {
		t.Fatalf("%s: %v in %s", args[0], err, out)
	}
	return &backend{port: at.Port}
}

func (b *backend) url() string { return fmt.Sprintf("ws://127.0.0.1:%d", b.port) }

// crossed is how many whole messages the server has received and sent.
type crossed struct{ Connections, Received, Sent int64 }

func (b *backend) counts(t *testing.T) (n crossed) {
	t.Helper()
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/counts", b.port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A counted is what a client of testdata/clients prints.
type counted struct {
	Sent, Received, Altered int64
	MessagesSent            int64 `json:"messages_sent"`
	MessagesReceived        int64 `json:"messages_received"`
}

// runClient runs one client to its end.
func runClient(t *testing.T, dir, program string, args ...string) (n counted) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	c.Dir = dir
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s%s", program, args, err, out.String(), errs.String())
	}
	if err := json.Unmarshal(out.Bytes(), &n); err != nil {
		t.Fatalf("%v: %v in %s", args, err, out.String())
	}
	return n
}

const (
	clientMessages = 400
	clientBytes    = 300
)

// clientCases are the clients that talk to an echo of whole messages.
var clientCases = []struct{ name, program, script, deflate string }{
	{"npm ws", "node", "ws-client.mjs", ""},
	{"npm ws, compressed", "node", "ws-client.mjs", "--deflate"},
	{"python websockets", "/usr/bin/python3", "ws_client.py", "--deflate"},
}

// TestRealClients counts what other people's libraries say that crossed.
//
// Proves: INV-4
func TestRealClients(t *testing.T) {
	dir := clientsFolder(t)
	for i, c := range clientCases {
		t.Run(c.name, func(t *testing.T) {
			if c.program != "node" && exec.Command(c.program, "-c", "import websockets").Run() != nil {
				missing(t, "python3-websockets")
			}
			b := startBackend(t, dir, strings.Fields("ws-echo.mjs "+c.deflate)...)
			s := newHome(t).start(t, "--upstream", b.url())
			user := fmt.Sprintf("client-%d", i)
			n := runClient(t, dir, c.program, c.script, s.Gateway+"/?user="+user, fmt.Sprint(clientMessages), fmt.Sprint(clientBytes))
			if n.Sent != clientMessages || n.Received != clientMessages || n.Altered != 0 {
				t.Errorf("the client counts %+v", n)
			}
			if up := b.counts(t); up != (crossed{1, n.Sent, n.Received}) {
				t.Errorf("the server counts %+v, the client %+v", up, n)
			}
			s.counts(t, user, n.Sent+n.Received)
			s.once(t, user)
		})
	}
}

// once checks that a person had one connection and that it is recorded as ended.
func (s *server) once(t *testing.T, user string) {
	t.Helper()
	within(t, 10*time.Second, "the end of the connection", func() bool { return s.subject(t, user).Connections.Open == 0 })
	if n := s.subject(t, user).Connections.Total; n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestRealClientSocketIO(t *testing.T) {
	dir := clientsFolder(t)
	b := startBackend(t, dir, "socketio-server.mjs")
	s := newHome(t).start(t, "--upstream", b.url())
	at := "http" + strings.TrimPrefix(s.Gateway, "ws") + "/?user=socketio"
	n := runClient(t, dir, "node", "socketio-client.mjs", at, fmt.Sprint(clientMessages), fmt.Sprint(clientBytes))
	up := b.counts(t)
	// Attachments are messages of their own: more crossed than the program sent.
	if n.Received != clientMessages || n.Altered != 0 || up.Received <= clientMessages || up.Sent <= clientMessages {
		t.Errorf("the client counts %+v, the server %+v", n, up)
	}
	s.counts(t, "socketio", up.Received+up.Sent)
	s.once(t, "socketio")
}

func TestRealClientChromium(t *testing.T) {
	chromium := need(t, "chromium")
	dir := clientsFolder(t)
	page := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer page.Close()
	b := startBackend(t, dir, "ws-echo.mjs", "--deflate")
	h := newHome(t)
	h.configure(t, goodConfig, "path: /chat", "path: /", "ws://127.0.0.1:9000", b.url(), "https://app.example.com", page.URL,
		", trusted_proxies: [10.0.0.0/8], proxy_protocol: true", "", "[{header: X-User-Id}, {cookie: user}, {query: user}]", "[{query: user}]")
	s := h.start(t)
	title := browse(t, chromium, page.URL+"/page.html#"+url.Values{
		"url": {s.Gateway + "/?user=browser"}, "count": {fmt.Sprint(clientMessages)}, "size": {fmt.Sprint(clientBytes)},
	}.Encode())
	if want := fmt.Sprintf("closed=1000 sent=%d received=%d altered=0", clientMessages, clientMessages); title != want {
		t.Errorf("the page says %q, want %q", title, want)
	}
	if up := b.counts(t); up != (crossed{1, clientMessages, clientMessages}) {
		t.Errorf("the server counts %+v", up)
	}
	s.counts(t, "browser", 2*clientMessages)
	s.once(t, "browser")
}

// browse opens a page in a headless Chromium and returns its title once the page
// says that it is done.
func browse(t *testing.T, chromium, address string) string {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)],
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.CombinedOutput(io.Discard))
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(address)); err != nil {
		t.Fatalf("the browser: %v", err)
	}
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`document.title.startsWith("closed=")`, chromedp.WithPollingTimeout(60*time.Second))); err != nil {
		t.Fatalf("waiting for the page: %v", err)
	}
	title, err := chromedp.Run(ctx, chromedp.Title())
	if err != nil {
		t.Fatalf("reading the title: %v", err)
	}
	return title
}
