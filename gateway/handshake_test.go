package gateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestHandshakePassesThrough(t *testing.T) {
	early := frame(false, 0x81, []byte("glued"))
	b := newBackend(t, nil, func(*http.Request) string {
		return accepted("Sec-WebSocket-Protocol: chat.v2\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n") + string(early)
	})
	r := newRig(t, b)
	client, res := r.ask(t, "/a%20b?token=s3cret&x=%2F", "Host: public.example\r\nCookie: sid=42\r\nAuthorization: Basic eDp5\r\nSec-WebSocket-Protocol: chat.v1, chat.v2\r\n"+
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other\r\nX-Forwarded-For: 9.9.9.9\r\nX-Lethe-Connection: mine\r\nKeep-Alive: 5\r\nX-Own: kept\r\n")
	got := <-b.heads
	for name, want := range map[string]string{
		"Cookie": "sid=42", "Authorization": "Basic eDp5", "Sec-Websocket-Protocol": "chat.v1, chat.v2", "Sec-Websocket-Extensions": "permessage-deflate; client_max_window_bits",
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "public.example", "Keep-Alive": "", "X-Own": "kept", "Sec-Websocket-Key": testKey,
	} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("upstream got %s: %q, want %q", name, v, want)
		}
	}
	if id := got.Header.Get("X-Lethe-Connection"); len(id) != 32 {
		t.Errorf("X-Lethe-Connection %q", id)
	}
	if got.RequestURI != "/a%20b?token=s3cret&x=%2F" || got.Host != "public.example" {
		t.Errorf("upstream got %s of %s", got.RequestURI, got.Host)
	}
	if c := res.Header.Values("Set-Cookie"); len(c) != 2 || res.Header.Get("Sec-WebSocket-Protocol") != "chat.v2" || !strings.Contains(res.Header.Get("Sec-WebSocket-Extensions"), "server_no") {
		t.Errorf("client got %v", res.Header)
	}
	client.want(early)
	server := <-b.conns
	compressed := frame(true, 0xc1, []byte("deflated")) // RSV1 is agreed
	client.send(compressed)
	server.want(compressed)
}

func TestBytesGluedToTheRequest(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil))
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	early := frame(true, 0x81, []byte("early"))
	_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n%s", testKey, early)
	server := <-r.backend.conns
	defer func() { _ = server.Close() }()
	server.want(early)
}

func TestUpstreamAnswers(t *testing.T) {
	tests := []struct {
		name, answer string
		status       int
		why          Refusal
	}{
		{"refusal passes with its body", "HTTP/1.1 401 Nope\r\nWWW-Authenticate: Basic\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody", 401, RefusedUpstream},
		{"redirect", "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", 302, RefusedUpstream},
		{"wrong accept", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n", 502, RefusedInvalid},
		{"no upgrade", strings.Replace(accepted(""), "Upgrade: websocket\r\n", "", 1), 502, RefusedInvalid},
		{"subprotocol nobody offered", accepted("Sec-WebSocket-Protocol: x\r\n"), 502, RefusedInvalid},
		{"extension nobody offered", accepted("Sec-WebSocket-Extensions: permessage-deflate\r\n"), 502, RefusedInvalid},
		{"garbage", "SSH-2.0-OpenSSH\r\n\r\n", 502, RefusedInvalid},
		{"endless header", "HTTP/1.1 101 Switching Protocols\r\n" + strings.Repeat("X-Y: "+strings.Repeat("z", 1000)+"\r\n", 100), 502, RefusedInvalid},
		{"hang-up", "", 502, RefusedInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, newBackend(t, nil, func(*http.Request) string { return tt.answer }))
			_, res := r.ask(t, "/", "")
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != tt.status || r.ledger.refusals(tt.why) != 1 {
				t.Fatalf("answer %s, refusals %v", res.Status, r.ledger.refused)
			}
			if tt.status == 401 && (string(body) != "body" || res.Header.Get("WWW-Authenticate") != "Basic") {
				t.Fatalf("got %q and %v", body, res.Header)
			}
			r.ledger.last(t).endedAs(t, CodeAbnormal, HandshakeFailed)
		})
	}
}

func TestUpstreamAway(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	b := newBackend(t, nil, nil)
	r := newRig(t, nil, pooled(func(p *Pool) { p.Upstreams = []string{"ws://" + dead.Addr().String()} }))
	if _, res := r.ask(t, "/", ""); res.StatusCode != 502 || r.ledger.refusals(RefusedUnreachable) != 1 {
		t.Fatalf("answer %s", res.Status)
	}
	if err := r.g.Reload(Settings{Pools: []Pool{{ID: "chat", Path: "/", Upstreams: []string{"ws://" + dead.Addr().String(), b.url}}}}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // whoever's turn it is, the one that lives answers
		if _, res := r.ask(t, "/", ""); res.StatusCode != 101 {
			t.Fatalf("answer %s", res.Status)
		}
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	if err := r.g.Reload(Settings{Pools: []Pool{{ID: "chat", Path: "/", Upstreams: []string{"ws://" + silent.Addr().String()}, HandshakeTimeout: 50 * time.Millisecond}}}); err != nil {
		t.Fatal(err)
	}
	if _, res := r.ask(t, "/", ""); res.StatusCode != 504 || r.ledger.refusals(RefusedTimeout) != 1 {
		t.Fatalf("answer %s", res.Status)
	}
}

func TestBadHandshakes(t *testing.T) {
	good := "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + testKey + "\r\nSec-WebSocket-Version: 13\r\n\r\n"
	tests := map[string]struct {
		request string
		status  int
	}{
		"plain request":    {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"version 8":        {strings.Replace(good, "13", "8", 1), 400},
		"short key":        {strings.Replace(good, testKey, "AAAA", 1), 400},
		"two keys":         {strings.Replace(good, "Upgrade: w", "Sec-WebSocket-Key: "+testKey+"\r\nUpgrade: w", 1), 400},
		"POST":             {strings.Replace(good, "GET", "POST", 1), 400},
		"body":             {strings.Replace(good, "Upgrade: w", "Content-Length: 3\r\nUpgrade: w", 1) + "abc", 400},
		"HTTP/1.0":         {strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1), 400},
		"path with dots":   {strings.Replace(good, "GET /", "GET /a/../b", 1), 404},
		"encoded dots":     {strings.Replace(good, "GET /", "GET /a/%2e%2e/b", 1), 404},
		"header too large": {strings.Replace(good, "Upgrade: w", "X: "+strings.Repeat("y", 40<<10)+"\r\nUpgrade: w", 1), 431},
	}
	r := newRig(t, newBackend(t, nil, nil))
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, tt.request)
			p := make([]byte, 12)
			if _, err := io.ReadFull(c, p); err != nil || string(p[9:]) != fmt.Sprint(tt.status) {
				t.Fatalf("answer %q, %v, want %d", p, err, tt.status)
			}
		})
	}
}

func TestSlowHeaderIsCut(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil), func(_ *Config, _ *Settings, l *Listen) { l.HeaderTimeout = 50 * time.Millisecond })
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost:")
	_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.ReadAll(c); err != nil {
		t.Fatalf("not cut: %v", err)
	}
}

func TestRouting(t *testing.T) {
	pools := []Pool{{ID: "all", Path: "/"}, {ID: "chat", Path: "/chat"}, {ID: "below", Path: "/chat/"}, {ID: "deep", Path: "/chat/deep/"}}
	table, err := newTable(Settings{Pools: pools}, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/": "all", "/x": "all", "/chat": "chat", "/chat/": "below", "/chat/x": "below", "/chat/deep/x": "deep", "/chats": "all", "/chat/../x": "", "//chat": "", "": ""} {
		got := ""
		if r := table.match(path); r != nil {
			got = r.ID
		}
		if got != want {
			t.Errorf("%q goes to %q, want %q", path, got, want)
		}
	}
}

func TestOrigins(t *testing.T) {
	tests := []struct {
		list    []string
		require bool
		origin  string
		host    string
		want    bool
	}{
		{nil, false, "", "gw.example", true},
		{nil, true, "", "gw.example", false},
		{nil, false, "https://gw.example", "gw.example", true},
		{nil, false, "https://gw.example", "gw.example:443", true},
		{nil, false, "https://GW.example", "gw.example", true},
		{nil, false, "https://evil.example", "gw.example", false},
		{nil, false, "null", "gw.example", false},
		{[]string{"*"}, false, "null", "gw.example", true},
		{[]string{"https://app.example.com"}, false, "https://app.example.com", "x", true},
		{[]string{"https://app.example.com"}, false, "http://app.example.com", "x", false},
		{[]string{"https://app.example.com"}, false, "https://app.example.com.evil.net", "x", false},
		{[]string{"https://app.example.com:8443"}, false, "https://app.example.com", "x", false},
		{[]string{"https://app.example.com"}, false, "https://x", "x", false},
		{[]string{"https://*.example.com"}, false, "https://a.b.example.com", "x", true},
		{[]string{"https://*.example.com"}, false, "https://example.com", "x", false},
		{[]string{"https://*.example.com"}, false, "https://badexample.com", "x", false},
		{[]string{"same", "https://a.example"}, false, "https://x", "x", true},
	}
	for _, tt := range tests {
		route, err := newRoute(Pool{ID: "p", Path: "/", Origins: tt.list, RequireOrigin: tt.require}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Header: http.Header{}, Host: tt.host}
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if got := route.allows(r); got != tt.want {
			t.Errorf("origins %v, Origin %q to %s: %v, want %v", tt.list, tt.origin, tt.host, got, tt.want)
		}
	}
	r := newRig(t, newBackend(t, nil, nil), pooled(func(p *Pool) { p.Origins = []string{"same"} }))
	if _, res := r.ask(t, "/", "Origin: https://evil.example\r\n"); res.StatusCode != 403 {
		t.Fatalf("answer %s", res.Status)
	}
}

func TestSettingsAreRefused(t *testing.T) {
	ok := Pool{ID: "p", Path: "/"}
	for name, s := range map[string]Settings{
		"no id":            {Pools: []Pool{{Path: "/"}}},
		"id twice":         {Pools: []Pool{ok, {ID: "p", Path: "/x"}}},
		"path twice":       {Pools: []Pool{ok, {ID: "q", Path: "/"}}},
		"relative path":    {Pools: []Pool{{ID: "p", Path: "x"}}},
		"http upstream":    {Pools: []Pool{{ID: "p", Path: "/", Upstreams: []string{"http://x"}}}},
		"upstream user":    {Pools: []Pool{{ID: "p", Path: "/", Upstreams: []string{"ws://u:p@x"}}}},
		"origin as host":   {Pools: []Pool{{ID: "p", Path: "/", Origins: []string{"example.com"}}}},
		"negative limit":   {Pools: []Pool{{ID: "p", Path: "/", MaxConnections: -1}}},
		"empty rule":       {Identify: []Rule{{}}},
		"two ways a rule":  {Identify: []Rule{{Header: "X", Query: "q"}}},
		"short secret":     {Identify: []Rule{{JWT: &JWT{Key: []byte("short")}}}},
		"alg of other key": {Identify: []Rule{{JWT: &JWT{Key: make([]byte, 64), Algorithm: "RS256"}}}},
		"alg none":         {Identify: []Rule{{JWT: &JWT{Key: make([]byte, 64), Algorithm: "none"}}}},
	} {
		if s.Validate() == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
