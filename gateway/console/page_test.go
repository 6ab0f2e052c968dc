package console

import (
	"encoding/json"
	"html"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func pageOf(t *testing.T, info PageInfo) http.Handler {
	t.Helper()
	h, err := Page(info)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ask(h http.Handler, method, path string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Result()
}

func TestPageHeaders(t *testing.T) {
	h := pageOf(t, PageInfo{Gateway: "ws://127.0.0.1:8080/chat"})
	for _, path := range []string{"/", "/assets/app.js", "/assets/style.css", "/nothing"} {
		r := ask(h, http.MethodGet, path)
		csp := r.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self';", "connect-src 'self' ws://127.0.0.1:8080;", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q has no %q", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy %q allows too much", path, csp)
		}
		for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestPageAnswers(t *testing.T) {
	h := pageOf(t, PageInfo{Gateway: "ws://127.0.0.1:8080"})
	for _, c := range []struct {
		method, path string
		status       int
		media        string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/assets/app.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/assets/parts.css", 200, "text/css; charset=utf-8"},
		{"GET", "/assets/icon.svg", 200, "image/svg+xml"},
		{"GET", "/assets/index.html", 404, ""}, // the template is not the page
		{"GET", "/assets/", 404, ""},
		{"GET", "/v2", 404, ""},
		{"POST", "/", 405, ""},
	} {
		r := ask(h, c.method, c.path)
		if r.StatusCode != c.status || (c.media != "" && r.Header.Get("Content-Type") != c.media) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, r.StatusCode, r.Header.Get("Content-Type"), c.status, c.media)
		}
	}
}

// Everything that the page and its parts refer to is there, and nothing of it lies
// elsewhere.
func TestPageIsSelfContained(t *testing.T) {
	h := pageOf(t, PageInfo{Gateway: "ws://127.0.0.1:8080"})
	refers := regexp.MustCompile(`(?:src|href)="([^"#]+)"|from "([^"]+)"|url\(([^)]+)\)|@import "([^"]+)"`)
	seen := 0
	err := fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range refers.FindAllStringSubmatch(string(b), -1) {
			seen++
			to := strings.Join(m[1:], "")
			if strings.HasPrefix(to, "./") {
				to = "/assets" + to[1:]
			}
			if got := ask(h, "GET", to).StatusCode; got != http.StatusOK {
				t.Errorf("%s refers to %q: %d", name, to, got)
			}
		}
		return nil
	})
	if err != nil || seen < 10 {
		t.Errorf("%d references found: %v", seen, err)
	}
}

func TestPageInfoIsEscaped(t *testing.T) {
	info := PageInfo{Gateway: "ws://127.0.0.1:8080", Persons: []string{`"><script>alert(1)</script>`}, Class: "live", Command: "lethe --data 'a b'"}
	w := httptest.NewRecorder()
	pageOf(t, info).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	m := regexp.MustCompile(`data-info="([^"]*)"`).FindStringSubmatch(w.Body.String())
	if m == nil || strings.Contains(w.Body.String(), "<script>alert") {
		t.Fatalf("page:\n%s", w.Body)
	}
	var got PageInfo
	if err := json.Unmarshal([]byte(html.UnescapeString(m[1])), &got); err != nil || got.Persons[0] != info.Persons[0] || got.Command != info.Command {
		t.Errorf("info %+v, %v", got, err)
	}
}

func TestPageRefusesGateways(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:8080", "http://127.0.0.1:8080", "ws://", "ws://a;script-src *", "ws://a b"} {
		if _, err := Page(PageInfo{Gateway: url}); err == nil {
			t.Errorf("gateway %q taken", url)
		}
	}
}

func TestPageURL(t *testing.T) {
	if got, want := PageURL("http://127.0.0.1:8081/", "lethe_a+b"), "http://127.0.0.1:8081/#token=lethe_a%2Bb"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
