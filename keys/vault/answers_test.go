package vault

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// TestAnswers: every answer that a real server was seen to give, and what it
// counts as. Only a missing document with an empty list of errors is absence.
func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"missing document":   {404, `{"errors":[]}`, errAbsent},
		"destroyed version":  {404, `{"data":{"data":null,"metadata":{"version":2}}}`, errAbsent},
		"missing mount":      {404, `{"errors":["no handler for route \"lethe-kv/data/x\". route entry not found."]}`, ErrSetup},
		"unsupported path":   {404, `{"errors":["1 error occurred:\n\t* unsupported path\n\n"]}`, ErrSetup},
		"compare-and-set":    {400, `{"errors":["check-and-set parameter did not match the current version"]}`, errConflict},
		"no key":             {400, `{"errors":["encryption key not found"]}`, errNoKey},
		"no key to delete":   {400, `{"errors":["error deleting policy x: could not delete key; not found"]}`, errNoKey},
		"no key to change":   {400, `{"errors":["no existing key named x could be found"]}`, errNoKey},
		"another key's":      {400, `{"errors":["cipher: message authentication failed"]}`, errForged},
		"no ciphertext":      {400, `{"errors":["invalid ciphertext: no prefix"]}`, errForged},
		"engine not ready":   {400, `{"errors":["Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period"]}`, domain.ErrUnavailable},
		"deletion forbidden": {400, `{"errors":["deletion is not allowed for this key"]}`, domain.ErrUnavailable},
		"no right":           {403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, ErrRefused},
		"revoked token":      {403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`, errToken},
		"quota":              {429, `{"errors":["request path \"x\": rate limit quota exceeded"]}`, ErrThrottled},
		"behind the state":   {412, `{"errors":["required index state not present"]}`, ErrUnreachable},
		"sealed":             {503, `{"errors":["Vault is sealed"]}`, ErrSealed},
		"standby":            {503, `{"errors":["error performing token check: no active node"]}`, ErrUnreachable},
		"failure":            {500, `{"errors":["internal error"]}`, ErrUnreachable},
		"proxy":              {502, `<html>bad gateway</html>`, ErrUnreachable},
		"no JSON":            {200, `hello`, ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			cl := clientTo(t, func(w http.ResponseWriter) {
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			})
			var out map[string]any
			err := cl.call(context.Background(), http.MethodGet, "lethe-kv/data/main/persons/7b1c1f0e", nil, nil, &out)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if errors.Is(err, domain.ErrNotFound) || errors.Is(err, domain.ErrErased) {
				t.Fatalf("error %v says that a key is gone", err)
			}
			if left := inner(err); !errors.Is(left, domain.ErrUnavailable) {
				t.Fatalf("what leaves the package is %v", left)
			}
			if strings.Contains(err.Error(), "7b1c1f0e") {
				t.Fatalf("error %q names whom it is about", err)
			}
		})
	}
}

func clientTo(t *testing.T, answer func(http.ResponseWriter)) *client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
	t.Cleanup(server.Close)
	o := Options{Address: server.URL, Ledger: "main", Auth: Token{}, Clock: time.Now}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	a, err := newAPI(o)
	if err != nil {
		t.Fatal(err)
	}
	cl := &client{api: a, timeout: time.Second, breaker: &breaker{clock: time.Now}}
	t.Cleanup(cl.close)
	return cl
}

// TestCallerGone: the end of the caller's context is not Vault's fault, and is
// told apart.
func TestCallerGone(t *testing.T) {
	cl := clientTo(t, func(http.ResponseWriter) { time.Sleep(50 * time.Millisecond) })
	for range strikes - 1 {
		cl.breaker.note(ErrSealed)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	for range strikes + 1 {
		err := cl.call(ctx, http.MethodGet, "x", nil, nil, nil)
		if !errors.Is(err, domain.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v, want the caller's", err)
		}
	}
	if err := cl.breaker.allow(); err != nil {
		t.Fatalf("callers who went away broke the circuit: %v", err)
	}
	cl.breaker.note(ErrSealed)
	if err := cl.breaker.allow(); err == nil {
		t.Fatal("callers who went away count as answers")
	}
}

// TestBreaker: some failures in a row stop the calls, one is let through to try,
// and an answer of any kind lets all through.
func TestBreaker(t *testing.T) {
	now := time.Unix(0, 0)
	b := &breaker{clock: func() time.Time { return now }}
	fail := func() { b.note(ErrSealed) }
	for range strikes - 1 {
		fail()
	}
	b.note(errAbsent) // an answer
	for range strikes - 1 {
		fail()
		mustAllow(t, b, true)
	}
	fail()
	mustAllow(t, b, false)
	pause := minPause
	for range 8 {
		now = now.Add(pause)
		mustAllow(t, b, true)  // the one that tries
		mustAllow(t, b, false) // the others
		fail()
		pause = min(2*pause, maxPause)
		now = now.Add(pause - time.Millisecond)
		mustAllow(t, b, false)
		now = now.Add(time.Millisecond - pause)
	}
	now = now.Add(pause)
	mustAllow(t, b, true)
	b.note(nil)
	for range 10 {
		mustAllow(t, b, true)
	}
}

func mustAllow(t *testing.T, b *breaker, want bool) {
	t.Helper()
	if err := b.allow(); (err == nil) != want || (err != nil && !errors.Is(err, ErrUnreachable)) {
		t.Fatalf("allowed: %v, want %v", err, want)
	}
}

// TestKeyNames: names say what the sweep needs, are used once, and Vault takes
// them.
func TestKeyNames(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	seen := map[keyName]bool{}
	for _, owner := range []string{"0123456789abcdef", "messages/anon/2026-11-23T10:41", "signing/receipt"} {
		for range 100 {
			k := newKeyName("main", ofRetention, []byte(owner), now)
			made, err := k.made()
			kind, whose, err2 := k.owner()
			if err != nil || err2 != nil || !made.Equal(now) || kind != ofRetention || string(whose) != owner || seen[k] {
				t.Fatalf("name %s: %v %v %c %q", k, made, errors.Join(err, err2), kind, whose)
			}
			seen[k] = true
			if strings.Trim(string(k), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
				t.Fatalf("name %s", k)
			}
		}
	}
	for _, bad := range []keyName{"", "main", "main-p-x-y-z", "a-b-c-d-e-f"} {
		if _, err := bad.made(); err == nil {
			t.Errorf("%q has a time", bad)
		}
	}
}

// TestTableDocument: a table comes back as it was, and what is damaged is not
// taken for an empty one.
func TestTableDocument(t *testing.T) {
	for _, in := range []table{{}, {"a": []byte("1")}, {"b": nil, "": []byte("x"), "a\x00": []byte("y")}} {
		out, err := in.document().table()
		if err != nil || len(out) != len(in) {
			t.Fatalf("table %v: %v", out, err)
		}
		for k, v := range in {
			if string(out[k]) != string(v) {
				t.Fatalf("table %v, want %v", out, in)
			}
		}
	}
	d := table{"a": []byte("1")}.document()
	for _, bad := range []tableDocument{
		{}, {Version: 2, Entries: d.Entries}, {Version: 1, Entries: d.Entries[:len(d.Entries)-1]}, {Version: 1, Entries: []byte{1}},
	} {
		if got, err := bad.table(); !errors.Is(err, ErrDamaged) {
			t.Errorf("%v reads as %v, %v", bad, got, err)
		}
	}
}
