package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/lethe-ledger/lethe/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A bench is a server over a fake, with its log.
type bench struct {
	fake   *fake
	log    *bytes.Buffer
	api    *Server
	server *httptest.Server
}

func start(t *testing.T, opt ServerOptions) *bench {
	t.Helper()
	b := &bench{fake: &fake{}, log: &bytes.Buffer{}}
	opt.Logger = zerolog.New(zerolog.SyncWriter(b.log))
	if opt.TempDir == "" {
		opt.TempDir = t.TempDir()
	}
	b.api = NewServer(b.fake, opt)
	b.server = httptest.NewServer(b.api)
	t.Cleanup(func() {
		if err := b.api.Close(context.Background()); err != nil {
			t.Error(err)
		}
		b.server.Close()
	})
	return b
}

// do makes a request as a role; headers are "Name: value" lines.
func (b *bench) do(t *testing.T, role, line, body string, headers ...string) (status int, answer string, h http.Header) {
	t.Helper()
	method, path, _ := strings.Cut(line, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, b.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if role != "" {
		r.Header.Set("Authorization", "Bearer token-"+role)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(HeaderPurpose, "complaint 12")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	a, err := http.DefaultTransport.(*http.Transport).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	got, err := io.ReadAll(a.Body)
	if err != nil {
		return a.StatusCode, "cut off", a.Header
	}
	return a.StatusCode, strings.TrimSpace(string(got)), a.Header
}

const uuidA, uuidB = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		name, line, body string
		headers          []string
		status           int
		want             string // a part of the answer
	}{
		{"show", "POST /v1/subjects:show", `{"id":"alice"}`, nil, 200, `"state":"active"`},
		{"show without id", "POST /v1/subjects:show", `{}`, nil, 400, `{"error":{"code":"usage","message":"name the person: id"}}`},
		{"show without purpose", "POST /v1/subjects:show", `{"id":"alice"}`, []string{HeaderPurpose + ": "}, 400, "say why"},
		{"show, purpose spelled out as none", "POST /v1/subjects:show", `{"id":"alice"}`, []string{HeaderPurpose + ": unspecified"}, 400, "say why"},
		{"purpose too long", "GET /v1/views", ``, []string{HeaderPurpose + ": " + strings.Repeat("p", 201)}, 400, "at most 200 bytes"},
		{"unknown field", "POST /v1/subjects:show", `{"id":"alice","name":"x"}`, nil, 400, `unknown field \"name\"`},
		{"two values", "POST /v1/subjects:show", `{"id":"alice"}{}`, nil, 400, "more than one value"},
		{"no body", "POST /v1/subjects:show", ``, nil, 400, "not a whole JSON value"},
		{"cut body", "POST /v1/subjects:show", `{"id":`, nil, 400, "not a whole JSON value"},
		{"not JSON", "POST /v1/subjects:show", `id=alice`, []string{"Content-Type: application/x-www-form-urlencoded"}, 415, "Content-Type: application/json"},
		{"large body", "POST /v1/subjects:show", `{"id":"` + strings.Repeat("a", 70_000) + `"}`, nil, 413, "larger than 65536 bytes"},
		{"id in the address", "GET /v1/subjects?id=alice", ``, nil, 400, "unknown query parameter; this call has: cursor, limit"},
		{"page", "GET /v1/subjects?cursor=c7&limit=3", ``, nil, 200, `{"subjects":[{"ref":"after c7","state":"active"}],"next":"nnn"}`},
		{"limit 0", "GET /v1/subjects?limit=0", ``, nil, 400, "from 1 to 10000"},
		{"limit too large", "GET /v1/subjects?limit=10001", ``, nil, 400, "from 1 to 10000"},
		{"limit a word", "GET /v1/views/holdings/rows?limit=all", ``, nil, 400, "from 1 to 10000"},
		{"export", "POST /v1/subjects:export", `{"id":"alice"}`, nil, 200, "PK zip"},
		{"erase", "POST /v1/erasures", `{"id":"alice","request":"` + uuidA + `","classes":["messages"]}`, nil, 200, `"request":"` + uuidA + `"`},
		{"erase by key", "POST /v1/erasures", `{"id":"alice"}`, []string{HeaderIdempotencyKey + ": " + uuidA}, 200, `"request":"` + uuidA + `"`},
		{"erase, same key and request", "POST /v1/erasures", `{"id":"alice","request":"` + uuidA + `"}`, []string{HeaderIdempotencyKey + ": " + uuidA}, 200, uuidA},
		{"erase, key against request", "POST /v1/erasures", `{"id":"alice","request":"` + uuidB + `"}`, []string{HeaderIdempotencyKey + ": " + uuidA}, 400, "two different requests"},
		{"erase, key no UUID", "POST /v1/erasures", `{"id":"alice"}`, []string{HeaderIdempotencyKey + ": alice"}, 400, "is a UUID"},
		{"erase nobody", "POST /v1/erasures", `{}`, []string{HeaderIdempotencyKey + ": " + uuidA}, 400, "name the person"},
		{"erase, stuck", "POST /v1/erasures", `{"id":"stuck"}`, nil, 202, `"state":"pending"`},
		{"receipt, byte for byte", "GET /v1/receipts/" + uuidA, ``, nil, 200, `{"receipt":{"id":"<&>"},"ledger":"main","keys":null,"valid":true}`},
		{"retention", "GET /v1/retention", ``, nil, 200, `{"classes":null}`},
		{"retention run", "POST /v1/retention:run", `{"dry_run":true}`, nil, 200, `{"dry_run":true,"destroyed":[]}`},
		{"views", "GET /v1/views", ``, nil, 200, `"name":"holdings"`},
		{"rows", "GET /v1/views/holdings/rows?cursor=k", ``, nil, 200, `"rows":[[9007199254740993]],"next":"k"`},
		{"digest", "GET /v1/views/holdings/digest", ``, nil, 200, `{"view":"holdings","position":0,"digest":"00"}`},
		{"rebuild nothing", "POST /v1/views:rebuild", `{}`, nil, 400, "name the views"},
		{"rebuild both", "POST /v1/views:rebuild", `{"names":["a"],"all":true}`, nil, 400, "name the views"},
		{"replay, no date", "POST /v1/audit:replay", `{}`, nil, 400, "as of when"},
		{"replay, no time", "POST /v1/audit:replay", `{"as_of":"monday"}`, nil, 400, "cannot be read"},
		{"no such job", "GET /v1/jobs/" + uuidA, ``, nil, 404, `"code":"not_found"`},
		{"keys", "GET /v1/keys", ``, nil, 200, `"custodian":"embedded"`},
		{"token", "POST /v1/tokens", `{"name":"dpo","role":"legal"}`, nil, 200, `"token":"lethe_x"`},
		{"tokens", "GET /v1/tokens", ``, nil, 200, `{"tokens":null}`},
		{"revoke", "POST /v1/tokens:revoke", `{"name":"dpo"}`, nil, 200, `{}`},
		{"doctor", "GET /v1/doctor", ``, nil, 200, `"level":"ok"`},
		{"caller", "GET /v1/caller", ``, nil, 200, `{"principal":"p-operator","role":"operator","purpose":"complaint 12"}`},
		{"no such call", "GET /v1/persons", ``, nil, 404, "no such call"},
		{"wrong method", "PUT /v1/tokens", ``, nil, 404, "no such call"},
		{"bad token", "GET /v1/views", ``, []string{"Authorization: Bearer x"}, 401, "not valid"},
		{"no bearer", "GET /v1/views", ``, []string{"Authorization: Basic token-operator"}, 401, "a token is needed"},
		{"rebound name", "GET /v1/views", ``, []string{"Host: lethe.attacker.example"}, 403, "not one of the server's"},
		{"localhost", "GET /v1/views", ``, []string{"Host: localhost:7402"}, 200, "holdings"},
		{"IPv6", "GET /v1/views", ``, []string{"Host: [::1]:7402"}, 200, "holdings"},
		{"own name", "GET /v1/views", ``, []string{"Host: Lethe.Internal:7402"}, 200, "holdings"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, ServerOptions{Hosts: []string{"lethe.internal"}})
			status, got, h := b.do(t, RoleOperator, c.line, c.body, c.headers...)
			if status != c.status || !strings.Contains(got, c.want) {
				t.Errorf("%s %s: %d %s\nwant %d %s", c.line, c.body, status, got, c.status, c.want)
			}
			if h.Get(HeaderRequestID) == "" || h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("headers %v", h)
			}
			if status >= 400 && b.fake.noted() != "" {
				t.Errorf("the service was called all the same: %s", b.fake.noted())
			}
		})
	}
}

// TestRoles tries every route as every role, and as nobody.
func TestRoles(t *testing.T) {
	all := []string{RoleOperator, RoleAuditor, RoleLegal, RoleSubject}
	want := map[string]string{ // who is let in: o a l s
		"GET /v1/caller":              "oals",
		"GET /v1/subjects":            "oal",
		"POST /v1/subjects:show":      "ol",
		"POST /v1/subjects:export":    "ol",
		"POST /v1/erasures":           "ol",
		"GET /v1/receipts/{id}":       "oal",
		"GET /v1/retention":           "oal",
		"POST /v1/retention:run":      "o",
		"POST /v1/retention:dispose":  "o",
		"GET /v1/views":               "oal",
		"GET /v1/views/{name}/rows":   "oal",
		"GET /v1/views/{name}/digest": "oal",
		"POST /v1/views:rebuild":      "o",
		"POST /v1/audit:replay":       "oa",
		"GET /v1/jobs/{id}":           "oal",
		"DELETE /v1/jobs/{id}":        "oal",
		"GET /v1/jobs/{id}/file":      "oa",
		"GET /v1/keys":                "oa",
		"POST /v1/keys:trust-clock":   "o",
		"POST /v1/keys:restore-check": "o",
		"GET /v1/tokens":              "o",
		"POST /v1/tokens":             "o",
		"POST /v1/tokens:revoke":      "o",
		"GET /v1/nodes":               "oa",
		"POST /v1/nodes:retire":       "o",
		"GET /v1/doctor":              "oa",
		"GET /v1/feed":                "oal",
	}
	b := start(t, ServerOptions{})
	b.fake.fail = NotFound("let in")
	body := `{"id":"alice","dry_run":true,"names":["x"],"as_of":"2026-01-02T03:04:05Z","name":"x","role":"legal"}`
	if len(want) != len(routes()) {
		t.Errorf("%d routes, %d in the table", len(routes()), len(want))
	}
	for _, rt := range routes() {
		line := strings.NewReplacer("{id}", uuidA, "{name}", "holdings").Replace(rt.pattern)
		if status, _, h := b.do(t, "", line, body); status != 401 || h.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s as nobody: %d", line, status)
		}
		for _, role := range all {
			status, got, _ := b.do(t, role, line, body)
			if letIn := status != 403; letIn != strings.Contains(want[rt.pattern], role[:1]) {
				t.Errorf("%s as %s: %d %s", line, role, status, got)
			}
		}
	}
}

// TestCallerReachesTheService: principal, role and purpose arrive in every call.
func TestCallerReachesTheService(t *testing.T) {
	b := start(t, ServerOptions{})
	b.do(t, RoleLegal, "POST /v1/subjects:show", `{"id":"alice"}`)
	b.do(t, RoleAuditor, "GET /v1/views", ``, HeaderPurpose+": ")
	if want := "show alice p-legal/legal/complaint 12\nviews p-auditor/auditor/unspecified"; b.fake.noted() != want {
		t.Errorf("noted\n%s\nwant\n%s", b.fake.noted(), want)
	}
}

// TestErrors: each outcome has its status and sentence, and what is in no table
// stays in the log, with the request's id and without the caller's words.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
		logged bool
	}{
		{domain.ErrUnavailable, 503, CodeUnavailable, true},
		{domain.ErrClock, 503, CodeUnavailable, true},
		{domain.ErrTampered, 500, CodeTampered, true},
		{domain.ErrErased, 410, CodeErased, false},
		{domain.ErrExpired, 410, CodeExpired, false},
		{domain.ErrHeld, 422, CodeRefused, false},
		{domain.ErrDenied, 403, CodeDenied, false},
		{domain.ErrFenced, 409, CodeConflict, false},
		{domain.ErrConflict, 409, CodeConflict, false},
		{domain.ErrNotFound, 404, CodeNotFound, false},
		{context.Canceled, 503, CodeUnavailable, true},
		{Refused("a hold stands"), 422, CodeRefused, false},
		{fmt.Errorf("secret detail"), 500, CodeInternal, true},
	} {
		b := start(t, ServerOptions{})
		b.fake.fail = fmt.Errorf("showing: %w", c.err)
		status, got, h := b.do(t, RoleLegal, "POST /v1/subjects:show", `{"id":"alice@example.com"}`)
		if status != c.status || !strings.Contains(got, `{"error":{"code":"`+c.code+`"`) || strings.Contains(got, "detail") {
			t.Errorf("%v: %d %s", c.err, status, got)
		}
		log := b.log.String()
		if strings.Contains(log, h.Get(HeaderRequestID)) != true || strings.Contains(log, `"level":"error"`) != c.logged || strings.Contains(log, "alice") {
			t.Errorf("%v: log %s", c.err, log)
		}
	}
}

func TestPanicIsAnInternalError(t *testing.T) {
	b := start(t, ServerOptions{})
	api := NewServer(panicking{b.fake}, ServerOptions{Logger: b.api.opt.Logger})
	b.server.Config.Handler = api
	status, got, _ := b.do(t, RoleOperator, "GET /v1/views", ``)
	if status != 500 || got != `{"error":{"code":"internal","message":"Internal error"}}` || strings.Contains(b.log.String(), "alice") {
		t.Errorf("%d %s\n%s", status, got, b.log)
	}
}

type panicking struct{ *fake }

func (panicking) Views(context.Context, Caller) (ViewList, error) { panic("alice@example.com") }

// TestSlots: beyond 64 requests at once the next is refused, not queued.
func TestSlots(t *testing.T) {
	b := start(t, ServerOptions{})
	for range maxRequests {
		b.api.slots <- struct{}{}
	}
	status, got, h := b.do(t, RoleOperator, "GET /v1/views", ``)
	if status != 503 || h.Get("Retry-After") != "1" {
		t.Errorf("%d %s", status, got)
	}
	<-b.api.slots
	if status, _, _ := b.do(t, RoleOperator, "GET /v1/views", ``); status != 200 {
		t.Errorf("with a free slot: %d", status)
	}
}

func TestHealth(t *testing.T) {
	b := start(t, ServerOptions{})
	for _, want := range []int{200, 503} {
		if status, _, _ := b.do(t, "", "GET /readyz", ``); status != want {
			t.Errorf("readyz %d, want %d", status, want)
		}
		b.fake.ready = domain.ErrUnavailable
	}
	if status, _, _ := b.do(t, "", "GET /healthz", ``); status != 200 {
		t.Errorf("healthz %d", status)
	}
}

// TestStalledReader: an export whose reader takes nothing ends, and frees its slot.
func TestStalledReader(t *testing.T) {
	b := start(t, ServerOptions{StallAfter: 50 * time.Millisecond})
	ended := make(chan error, 1)
	b.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := b.api.newCall(w, r).stream("application/zip")
		defer s.close()
		_, err := io.Copy(s, endless{})
		ended <- err
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	a, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("an endless answer ended without an error")
		}
	case <-time.After(10 * time.Second):
		t.Error("a stalled reader holds its slot")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
