package gateway

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"
)

var secret = bytes.Repeat([]byte("k"), 64)

func signed(t testing.TB, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// identified runs one rule over a request.
func identified(t testing.TB, rule Rule, p peer, header http.Header, url string) (string, error) {
	t.Helper()
	table, err := newTable(Settings{Identify: []Rule{rule}}, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	c, err := table.who(r, p)
	return c.ExternalID, err
}

func TestJWTAlgorithms(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	edPublic, edKey, _ := ed25519.GenerateKey(rand.Reader)
	tests := []struct {
		method       jwt.SigningMethod
		sign, verify any
	}{
		{jwt.SigningMethodHS256, secret, secret},
		{jwt.SigningMethodHS384, secret, secret},
		{jwt.SigningMethodHS512, secret, secret},
		{jwt.SigningMethodRS256, rsaKey, &rsaKey.PublicKey},
		{jwt.SigningMethodRS512, rsaKey, &rsaKey.PublicKey},
		{jwt.SigningMethodPS256, rsaKey, &rsaKey.PublicKey},
		{jwt.SigningMethodES256, p256, &p256.PublicKey},
		{jwt.SigningMethodES384, p384, &p384.PublicKey},
		{jwt.SigningMethodES512, p521, &p521.PublicKey},
		{jwt.SigningMethodEdDSA, edKey, edPublic},
	}
	for _, tt := range tests {
		alg := tt.method.Alg()
		rule := Rule{JWT: &JWT{Key: tt.verify, Algorithm: alg}}
		token := signed(t, tt.method, tt.sign, jwt.MapClaims{"sub": "ann"})
		id, err := identified(t, rule, peer{}, http.Header{"Authorization": {"Bearer " + token}}, "/")
		if id != "ann" || err != nil {
			t.Errorf("%s: %q, %v", alg, id, err)
		}
		for _, other := range tests {
			if other.method.Alg() == alg {
				continue
			}
			token := signed(t, other.method, other.sign, jwt.MapClaims{"sub": "ann"})
			if _, err := identified(t, rule, peer{}, http.Header{"Authorization": {"Bearer " + token}}, "/"); err == nil {
				t.Errorf("%s pinned, %s was taken", alg, other.method.Alg())
			}
		}
	}
	none := signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"sub": "ann"})
	if _, err := identified(t, Rule{JWT: &JWT{Key: secret}}, peer{}, http.Header{"Authorization": {"Bearer " + none}}, "/"); err == nil {
		t.Error("alg none was taken")
	}
}

func TestJWTClaims(t *testing.T) {
	now := time.Now()
	rule := JWT{Key: secret, Audience: "chat", Issuer: "login", Leeway: time.Minute}
	good := func(more jwt.MapClaims) jwt.MapClaims {
		c := jwt.MapClaims{"sub": "ann", "aud": "chat", "iss": "login"}
		maps.Copy(c, more)
		return c
	}
	tests := []struct {
		name   string
		claims jwt.MapClaims
		change func(*JWT)
		want   string // empty: refused
	}{
		{"good", good(nil), nil, "ann"},
		{"audience in a list", good(jwt.MapClaims{"aud": []string{"x", "chat"}}), nil, "ann"},
		{"other audience", good(jwt.MapClaims{"aud": "mail"}), nil, ""},
		{"other issuer", good(jwt.MapClaims{"iss": "x"}), nil, ""},
		{"expired within leeway", good(jwt.MapClaims{"exp": now.Add(-30 * time.Second).Unix()}), nil, "ann"},
		{"expired", good(jwt.MapClaims{"exp": now.Add(-2 * time.Minute).Unix()}), nil, ""},
		{"not yet", good(jwt.MapClaims{"nbf": now.Add(2 * time.Minute).Unix()}), nil, ""},
		{"no subject", jwt.MapClaims{"aud": "chat", "iss": "login"}, nil, ""},
		{"empty subject", good(jwt.MapClaims{"sub": ""}), nil, ""},
		{"control character", good(jwt.MapClaims{"sub": "a\nb"}), nil, ""},
		{"too long", good(jwt.MapClaims{"sub": strings.Repeat("x", 513)}), nil, ""},
		{"number", good(jwt.MapClaims{"uid": 12345678901234567}), func(j *JWT) { j.Claim = "uid" }, "12345678901234567"},
		{"object", good(jwt.MapClaims{"uid": map[string]any{}}), func(j *JWT) { j.Claim = "uid" }, ""},
		{"close at expiry wants exp", good(nil), func(j *JWT) { j.CloseAtExpiry = true }, ""},
	}
	for _, tt := range tests {
		j := rule
		if tt.change != nil {
			tt.change(&j)
		}
		token := signed(t, jwt.SigningMethodHS256, secret, tt.claims)
		id, err := identified(t, Rule{JWT: &j}, peer{}, http.Header{"Authorization": {"bearer " + token}}, "/")
		if id != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v", tt.name, id, err)
		}
	}
}

func TestWhereIdentityComesFrom(t *testing.T) {
	token := signed(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"sub": "ann"})
	rule := Rule{JWT: &JWT{Key: secret, Query: "access_token", Cookie: "session"}}
	loopback, trusted := peer{loopback: true}, peer{trusted: true}
	tests := []struct {
		name   string
		rule   Rule
		peer   peer
		header http.Header
		url    string
		want   string
		bad    bool
	}{
		{"subprotocol", rule, peer{}, http.Header{"Sec-Websocket-Protocol": {"chat, bearer, " + token}}, "/", "ann", false},
		{"subprotocols in lines", rule, peer{}, http.Header{"Sec-Websocket-Protocol": {"bearer", token}}, "/", "ann", false},
		{"bearer alone", rule, peer{}, http.Header{"Sec-Websocket-Protocol": {"bearer"}}, "/", "", false},
		{"query", rule, peer{}, http.Header{}, "/?access_token=" + token, "ann", false},
		{"cookie", rule, peer{}, http.Header{"Cookie": {"session=" + token}}, "/", "ann", false},
		{"nothing", rule, peer{}, http.Header{}, "/", "", false},
		{"other scheme", rule, peer{}, http.Header{"Authorization": {"Basic eDp5"}}, "/", "", false},
		{"invalid token", rule, peer{}, http.Header{"Authorization": {"Bearer x.y.z"}}, "/", "", true},
		{"empty token", rule, peer{}, http.Header{"Authorization": {"Bearer"}}, "/", "", true},
		{"huge token", rule, peer{}, http.Header{"Authorization": {"Bearer " + strings.Repeat("x", 9000)}}, "/", "", true},
		{"header of a trusted proxy", Rule{Header: "x-user"}, trusted, http.Header{"X-User": {"ann"}}, "/", "ann", false},
		{"header on loopback", Rule{Header: "x-user"}, loopback, http.Header{"X-User": {"ann"}}, "/", "ann", false},
		{"header of anybody", Rule{Header: "x-user"}, peer{}, http.Header{"X-User": {"ann"}}, "/", "", false},
		{"header twice", Rule{Header: "x-user"}, trusted, http.Header{"X-User": {"ann", "bob"}}, "/", "", true},
		{"query on loopback", Rule{Query: "user"}, loopback, http.Header{}, "/?user=ann", "ann", false},
		{"query elsewhere", Rule{Query: "user"}, trusted, http.Header{}, "/?user=ann", "", false},
		{"plain cookie", Rule{Cookie: "uid"}, peer{}, http.Header{"Cookie": {"uid=ann"}}, "/", "ann", false},
		{"bad UTF-8", Rule{Header: "x-user"}, trusted, http.Header{"X-User": {"\xff"}}, "/", "", true},
	}
	for _, tt := range tests {
		id, err := identified(t, tt.rule, tt.peer, tt.header, tt.url)
		if id != tt.want || (err != nil) != tt.bad {
			t.Errorf("%s: %q, %v", tt.name, id, err)
		}
	}
}

func jwtRule(strip bool) change {
	return func(_ *Config, s *Settings, _ *Listen) {
		s.Identify = []Rule{{JWT: &JWT{Key: secret, Query: "t", StripProtocol: strip, CloseAtExpiry: true}}}
	}
}

func TestTokenAsSubprotocol(t *testing.T) {
	token := signed(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()})
	for _, strip := range []bool{false, true} {
		r := newRig(t, newBackend(t, nil, nil), jwtRule(strip))
		_, res := r.ask(t, "/", "Sec-WebSocket-Protocol: bearer, "+token+"\r\n")
		if res.Header.Get("Sec-WebSocket-Protocol") != bearer {
			t.Errorf("strip %v: chosen %q, a browser wants an answer", strip, res.Header.Get("Sec-WebSocket-Protocol"))
		}
		offered := (<-r.backend.heads).Header.Get("Sec-WebSocket-Protocol")
		if want := map[bool]string{false: "bearer, " + token, true: ""}[strip]; offered != want {
			t.Errorf("strip %v: upstream was offered %q", strip, offered)
		}
		if id := r.ledger.last(t).id.ExternalID; id != "ann" {
			t.Errorf("strip %v: identified %q", strip, id)
		}
	}
}

func TestTokenExpiryClosesTheConnection(t *testing.T) {
	r := newRig(t, newBackend(t, nil, nil), jwtRule(false))
	token := signed(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(2 * time.Second).Unix()})
	client, server, rec := r.connect(t, "/?t="+token, "")
	client.wantClose(CodeTokenExpired)
	server.wantClose(CodeTokenExpired)
	_, _ = client.Close(), server.Close()
	rec.endedAs(t, CodeTokenExpired, TokenExpired)
}

// TestNothingOfAPersonIsLogged sends canaries everywhere, through good handshakes
// and through every kind of bad one, and looks for them in what comes out.
func TestNothingOfAPersonIsLogged(t *testing.T) {
	var logs bytes.Buffer
	b := newBackend(t, nil, func(r *http.Request) string {
		switch r.URL.Query().Get("do") {
		case "hangup":
			return ""
		case "garbage":
			return "canary-garbage\r\n\r\n"
		}
		return accepted("")
	})
	r := newRig(t, b, func(c *Config, s *Settings, _ *Listen) {
		c.Log = zerolog.New(zerolog.SyncWriter(&logs))
		s.Identify = []Rule{{JWT: &JWT{Key: secret, Query: "t", Cookie: "c"}}, {Header: "X-User"}}
		s.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	token := signed(t, jwt.SigningMethodHS256, secret, jwt.MapClaims{"sub": "canary-sub"})
	head := "User-Agent: canary-agent\r\nX-Forwarded-For: 203.0.113.99\r\nCookie: sid=canary-cookie\r\nX-User: canary-user\r\n"
	for _, path := range []string{"/?x=canary-query", "/?do=hangup&x=canary-query", "/?do=garbage&x=canary-query", "/?t=canary-token", "/canary-path/../?x"} {
		r.ask(t, path, head)
		r.ask(t, path, head+"Authorization: Bearer "+token+"\r\n")
		r.ask(t, path, head+"Sec-WebSocket-Protocol: bearer, "+token+"\r\n")
	}
	rec := r.ledger.last(t)
	out := fmt.Sprintf("%s %+v", logs.String(), r.g.Snapshot())
	for _, canary := range []string{"canary", token, "203.0.113.99", "127.0.0.1:"} {
		if strings.Contains(out, canary) {
			t.Errorf("%q came out: %s", canary, out)
		}
	}
	if !strings.Contains(logs.String(), "upstream handshake failed") {
		t.Error("nothing was logged: the test shows nothing")
	}
	if rec.id.ExternalID != "canary-sub" || rec.origin.IP.String() != "203.0.113.99" {
		t.Errorf("recorded %v from %v", rec.id, rec.origin)
	}
}
