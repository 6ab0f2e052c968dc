package console

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
)

//go:embed assets
var assets embed.FS

// PageInfo is what the page has to know. It is readable by whoever can connect to
// the admin address, without a token.
type PageInfo struct {
	// Gateway is where WebSocket clients connect, as ws://HOST:PORT with a path at
	// most. The pool there must allow the admin address as an origin, and identify
	// by the query parameter user. An IPv6 literal cannot stand in a Content Security
	// Policy: name such a host.
	Gateway string `json:"gateway"`
	// Persons are the names that can be made to chat; none is three invented ones.
	Persons []string `json:"persons"`
	// Class is the data class with minute buckets that is watched expiring; empty is
	// live, as in domain.TrialPolicy.
	Class string `json:"class"`
	// Command is how a shell calls the command for this ledger, such as
	// `lethe --data /tmp/x`; empty is lethe.
	Command string `json:"command"`
}

func (i PageInfo) withDefaults() PageInfo {
	if len(i.Persons) == 0 {
		i.Persons = []string{"ada", "grace", "alan"}
	}
	if i.Class == "" {
		i.Class = "live"
	}
	if i.Command == "" {
		i.Command = "lethe"
	}
	return i
}

// PageURL is the address to print: the token stands in the fragment, which stays
// in the browser.
func PageURL(admin, token string) string {
	return strings.TrimSuffix(admin, "/") + "/#token=" + url.QueryEscape(token)
}

// Page returns the handler of the page, for GET / and below it. Everything it
// answers is the same for everybody and carries no token.
func Page(info PageInfo) (http.Handler, error) {
	gateway, err := url.Parse(info.Gateway)
	if err != nil || (gateway.Scheme != "ws" && gateway.Scheme != "wss") || gateway.Hostname() == "" || strings.ContainsAny(gateway.Host, ";,' ") {
		return nil, fmt.Errorf("page: the gateway %q is not a ws:// or wss:// URL", info.Gateway)
	}
	index, err := render(info.withDefaults())
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", file("text/html; charset=utf-8", index))
	if err := mountAssets(mux); err != nil {
		return nil, err
	}
	return guarded(mux, gateway), nil
}

// render writes the info into an attribute of the page: a script would have to be
// allowed by the policy, and another request could fail.
func render(info PageInfo) ([]byte, error) {
	page, err := template.ParseFS(assets, "assets/index.html")
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	facts, err := json.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("page: encoding its info: %w", err)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, string(facts)); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	return b.Bytes(), nil
}

func mountAssets(mux *http.ServeMux) error {
	return fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) == ".html" {
			return err
		}
		b, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		mux.Handle("GET /"+name, file(mediaType(name), b))
		return nil
	})
}

// mediaType does not depend on the tables of the machine.
func mediaType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}

func file(media string, b []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		_, _ = w.Write(b) // a caller who went away sees nothing
	})
}

// guarded sets what a browser must hold the page to, on errors too. A page that
// another one can frame or script would hand its token over.
func guarded(next http.Handler, gateway *url.URL) http.Handler {
	policy := strings.Join([]string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'",
		"connect-src 'self' " + gateway.Scheme + "://" + gateway.Host,
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
	}, "; ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}
