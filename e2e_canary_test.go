package lethe_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// canaries are personal data that occur nowhere else. The random core of each is
// what is looked for: it survives compression and every framing.
type canaries struct {
	*scanner
	t *testing.T
	n int
}

// core is a random word; it is looked for from now on.
func (c *canaries) core(name string) string {
	c.t.Helper()
	c.n++
	core := strings.ToLower(rand.Text()[:18])
	c.word(name, core)
	return core
}

// id is an e-mail address, whose bare hashes are looked for, too.
func (c *canaries) id(name string) string {
	c.t.Helper()
	id := name + "." + c.core("the id of "+name) + "@example.org"
	c.whole("the id of "+name, id)
	return id
}

// ip returns addresses of documentation ranges (RFC 5737, RFC 3849), and looks for
// what a truncated one keeps, too.
func (c *canaries) ip4() string {
	a := netip.AddrFrom4([4]byte{203, 0, 113, 77})
	c.address("the IPv4 address", a)
	c.word("the IPv4 network", "203.0.113.")
	return a.String()
}

func (c *canaries) ip6() string {
	b := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	_, _ = rand.Read(b[4:]) // never fails (crypto/rand)
	a := netip.AddrFrom16(b)
	c.address("the IPv6 address", a)
	c.add("the IPv6 network as bytes", append([]byte{}, b[:8]...))
	return a.String()
}

// canaryConfig identifies in every way that there is, behind a trusted proxy, and
// has a pool whose upstream is away.
func canaryConfig(t *testing.T, h *home, upstream string) {
	t.Helper()
	h.configure(t, goodConfig, "ws://127.0.0.1:9000", upstream,
		`["https://app.example.com"]`, `["https://*.example.com"]`,
		"trusted_proxies: [10.0.0.0/8], proxy_protocol: true", "trusted_proxies: [127.0.0.1/32]",
		"[{header: X-User-Id}, {cookie: user}, {query: user}]", "[{jwt: {key: DIR/jwt.key}}, {header: X-User-Id}, {cookie: user}, {query: user}]",
		"  disposal", "    - {id: dead, path: /dead, capture: [network, lifecycle, messages]}\n  disposal",
		"pools:\n  chat:", "pools:\n  dead: {upstream: \"ws://127.0.0.1:1\"}\n  chat:")
	if err := os.WriteFile(filepath.Join(h.dir, "jwt.key"), []byte(canarySecret), 0o600); err != nil {
		t.Fatal(err)
	}
}

const canarySecret = "a secret of thirty-two bytes ....."

func (c *canaries) token(id, secret string) string {
	c.t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": id, "email": c.core("the JWT's e-mail") + "@example.org", "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(secret))
	if err != nil {
		c.t.Fatal(err)
	}
	for i, part := range strings.Split(token, ".")[1:] {
		c.add(fmt.Sprintf("part %d of the JWT", i+1), []byte(part[:20]))
	}
	return token
}

// A visit is one connection with everything that a browser and a proxy send.
type visit struct {
	id, path string
	header   http.Header
}

// visits are a person identified in each way.
func (c *canaries) visits() []visit {
	header := func(pairs ...string) http.Header {
		h := http.Header{
			"User-Agent": {"Agent/1.0 (" + c.core("a user agent") + ")"}, "Origin": {"https://" + c.core("an origin") + ".example.com"},
			"Referer": {"https://app.example.com/" + c.core("a referer")}, "X-Forwarded-For": {c.ip6()}, "Accept-Language": {c.core("a language")},
		}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	query, head, cookie, claims := c.id("query"), c.id("header"), c.id("cookie"), c.id("claims")
	return []visit{
		{query, "/chat?user=" + strings.ReplaceAll(query, "@", "%40") + "&token=" + c.core("a query token"), header("X-Forwarded-For", c.ip4())},
		{head, "/chat?ticket=" + c.core("a ticket"), header("X-User-Id", head, "X-Api-Key", c.core("an API key"))},
		{cookie, "/chat", header("Cookie", "user="+cookie+"; session="+c.core("a session cookie"))},
		{claims, "/chat", header("Authorization", "Bearer "+c.token(claims, canarySecret))},
		{"", "/chat?anonymous=" + c.core("an anonymous query"), header()},
	}
}

// call makes the visit: messages both ways, and a close with a reason.
func (c *canaries) call(gateway string, v visit) {
	c.t.Helper()
	conn, _, err := connect(gateway+v.path, v.header)
	if err != nil {
		c.t.Fatalf("connecting as %s: %v", v.id, err)
	}
	for range 20 {
		conn.say("content " + c.core("a message"))
	}
	within(c.t, 20*time.Second, "the echoes", func() bool { return conn.echoes() == 20 })
	if err := conn.conn.WriteClose(4000, []byte("because "+c.core("a close reason"))); err != nil {
		c.t.Fatal(err)
	}
	conn.code(c.t, 10*time.Second)
}

// refusals are handshakes that fail, each for its own reason.
func (c *canaries) refusals(gateway string) {
	c.t.Helper()
	for what, v := range map[string]visit{
		"a wrong origin":   {"", "/chat?user=" + c.id("foreign"), http.Header{"Origin": {"https://" + c.core("a wrong origin") + ".example.net"}}},
		"a forged token":   {"", "/chat", http.Header{"Authorization": {"Bearer " + c.token(c.id("forged"), "another secret of 32 bytes .......")}}},
		"a dead upstream":  {"", "/dead?user=" + c.id("dead"), http.Header{"User-Agent": {c.core("a user agent in vain")}}},
		"an unknown path":  {"", "/nowhere/" + c.core("a path"), nil},
		"a broken cookie":  {"", "/dead", http.Header{"Cookie": {"user=\"" + c.core("a broken cookie")}}},
		"a foreign header": {"", "/dead", http.Header{"X-User-Id": {c.id("twice"), c.id("two")}}},
	} {
		conn, answer, err := connect(gateway+v.path, v.header)
		if err == nil {
			_ = conn.conn.NetConn().Close()
			c.t.Errorf("%s is accepted", what)
			continue
		}
		if answer != nil && answer.Body != nil {
			b, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<16)) // what came before an error is looked at
			c.clean(c.t, "the answer to "+what, string(b))
		}
	}
}

// provoke makes the admin API answer with errors, and looks at them.
func (c *canaries) provoke(s *server) {
	c.t.Helper()
	good := s.client(c.t).Token
	id := c.id("asked")
	for _, r := range []struct{ method, path, token, body string }{
		{"POST", "/v1/subjects:show", "wrong", `{"id":"` + id + `"}`},
		{"POST", "/v1/subjects:show", good, `{"id":"` + id + `","colour":1}`},
		{"POST", "/v1/subjects:show", good, `{"id":"` + id + strings.Repeat(" ", 1<<21) + `"}`},
		{"POST", "/v1/subjects:show", good, `not JSON: ` + id},
		{"POST", "/v1/subjects:export", good, `{"id":"` + id + `"}`},
		{"POST", "/v1/erasures", good, `{"id":"` + id + `","classes":["nothing"]}`},
		{"POST", "/v1/" + c.core("a route"), good, `{}`},
		{"GET", "/v1/receipts/" + c.core("a receipt"), good, ``},
		{"GET", "/v1/nothing?q=" + c.core("a query"), c.core("a wrong token"), ``},
	} {
		q, err := http.NewRequestWithContext(c.t.Context(), r.method, s.Admin+r.path, strings.NewReader(r.body))
		if err != nil {
			c.t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+r.token)
		q.Header.Set("X-Lethe-Purpose", "test")
		q.Header.Set("Content-Type", "application/json")
		status, body := fetch(c.t, q)
		if status < 400 {
			c.t.Errorf("%s %s answers %d", r.method, r.path, status)
		}
		c.clean(c.t, "the error of "+r.method+" "+strings.SplitN(r.path, "/", 4)[2], body)
	}
}

func fetch(t *testing.T, q *http.Request) (int, string) {
	t.Helper()
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// look scans everything that the process has left or says.
func (c *canaries) look(s *server, when string) {
	c.t.Helper()
	// The configuration and the key of tokens are the operator's own files.
	if read := c.cleanFiles(c.t, when, []string{"lethe.yaml", "jwt.key"}, s.dir); read < 50_000 {
		c.t.Errorf("%s: only %d bytes were there to look at", when, read)
	}
	c.clean(c.t, when+": standard output", s.out.String())
	c.clean(c.t, when+": the log", s.errors.String())
	if s.cmd.ProcessState != nil {
		return
	}
	q, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, s.Admin+"/metrics", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	status, metrics := fetch(c.t, q)
	if status != http.StatusOK || !strings.Contains(metrics, "lethe_gateway_messages_total") {
		c.t.Errorf("%s: metrics answer %d", when, status)
	}
	c.clean(c.t, when+": metrics", metrics)
	for _, view := range []string{"connections", "holdings", "retention", "erasures", "requests", "access", "pools"} {
		c.clean(c.t, when+": view "+view, s.run(c.t, "views", "query", view, "--limit", "10000", "--json").out)
	}
}

// TestCanary sends personal data that occur nowhere else, and looks for them in
// every byte that is left: before and after an erasure, and after a crash.
//
// Proves: INV-1
func TestCanary(t *testing.T) {
	h, c := newHome(t), &canaries{scanner: &scanner{}, t: t}
	canaryConfig(t, h, newEchoing(t).url)
	s := h.launch(t, withCores(h.command(context.Background(), t, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")))
	s.await(t)
	visits := c.visits()
	for _, v := range visits {
		c.call(s.Gateway, v)
	}
	c.refusals(s.Gateway)
	c.provoke(s)
	named := "dpo." + c.core("the name of a principal")
	secret := ask[api.Token](t, h, "token", "create", "--name", named, "--role", "legal").Token
	c.word("the secret of a token", strings.TrimPrefix(secret, "lethe_"))
	c.look(s, "before the erasure")

	for _, v := range visits[:4] {
		h.counts(t, v.id, 40)
		c.exported(s, v)
		done := ask[api.EraseResult](t, h, "erase", v.id, "--yes", "--reason", "told us "+c.core("a reason"))
		c.clean(t, "the answer to an erasure", fmt.Sprintf("%+v", done))
		r := h.run(t, "receipt", "show", done.Receipt.ID, "--json")
		if r.code != 0 || !strings.Contains(r.out, `"valid":true`) {
			t.Errorf("the receipt: %+v", r)
		}
		c.clean(t, "a receipt", r.out)
	}
	c.look(s, "after the erasure")
	c.abort(s)
	c.look(s, "after the crash")

	s = h.start(t)
	c.call(s.Gateway, visits[0])
	h.counts(t, visits[0].id, 40)
	if code := s.end(syscall.SIGTERM); code != 0 {
		t.Errorf("serve exits with %d", code)
	}
	c.look(s, "after the end")
	t.Logf("%d canaries in %d writings", c.n, len(c.needles))
}

// exported is the positive control: what was sealed is found where it is opened.
func (c *canaries) exported(s *server, v visit) {
	c.t.Helper()
	path := filepath.Join(c.t.TempDir(), "export.zip")
	if r := s.run(c.t, "subject", "export", v.id, "--out", path); r.code != 0 {
		c.t.Fatalf("exporting: %+v", r)
	}
	found := strings.Join(c.find(unzipped(c.t, path)), ", ")
	for _, what := range []string{"a user agent in clear", "an origin in clear"} {
		if !strings.Contains(found, what) {
			c.t.Errorf("the export has no %s: %s", what, found)
		}
	}
}

// withCores lets a process write a core file into its folder, as far as the
// machine allows.
func withCores(c *exec.Cmd) *exec.Cmd {
	c.Args = append([]string{"sh", "-c", `ulimit -c unlimited 2>/dev/null; exec "$0" "$@"`, c.Path}, c.Args[1:]...)
	c.Path = "/bin/sh"
	c.Env = append(c.Env, "GOTRACEBACK=crash") // an abort ends in SIGABRT itself, not in an exit
	return c
}

// abort crashes the process. A process that does not forbid it leaves a core file
// in the same place; where the machine writes none for anybody, that is said.
func (c *canaries) abort(s *server) {
	c.t.Helper()
	control := exec.CommandContext(c.t.Context(), "/bin/sh", "-c", "ulimit -c unlimited; kill -ABRT $$")
	control.Dir = c.t.TempDir()
	_ = control.Run() // it dies by a signal
	if !dumped(control) {
		c.t.Log("this machine writes no core file for anybody: that lethe writes none shows nothing here")
	}
	s.end(syscall.SIGABRT)
	if status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		c.t.Errorf("the process did not die by a signal: %v", s.cmd.ProcessState)
	}
	if dumped(s.cmd) {
		c.t.Error("a core was written")
	}
	for _, path := range files(c.t, s.dir) {
		if strings.HasPrefix(filepath.Base(path), "core") {
			c.t.Errorf("a core file: %s", path)
		}
	}
}

func dumped(c *exec.Cmd) bool {
	status, ok := c.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.CoreDump()
}
