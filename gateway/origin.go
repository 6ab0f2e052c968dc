package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// An origin is one entry of an allow-list.
type origin struct {
	any, same bool
	scheme    string
	host      string // with port where the entry has one
	below     bool   // host is a suffix that begins with a dot
}

// sameOrigin is the list to add to an empty one.
func sameOrigin(list []string) []string {
	if len(list) > 0 {
		return nil
	}
	return []string{"same"}
}

// parseOrigin reads an entry of Pool.Origins.
func parseOrigin(s string) (origin, error) {
	switch s {
	case "*":
		return origin{any: true}, nil
	case "same":
		return origin{same: true}, nil
	}
	scheme, host, ok := strings.Cut(strings.ToLower(s), "://")
	below := strings.HasPrefix(host, "*.")
	host = strings.TrimPrefix(host, "*")
	if !ok || scheme == "" || host == "" || strings.ContainsAny(host, "*/?#@ ") {
		return origin{}, fmt.Errorf("origin %q: want scheme://host, scheme://*.host, same or *", s)
	}
	return origin{scheme: scheme, host: defaultPort(scheme, host), below: below}, nil
}

// defaultPort takes away the port that the scheme implies, as browsers do.
func defaultPort(scheme, host string) string {
	switch scheme {
	case "http", "ws":
		return strings.TrimSuffix(host, ":80")
	case "https", "wss":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

// allows reports whether the request's Origin may connect.
func (r *route) allows(req *http.Request) bool {
	values := req.Header.Values("Origin")
	if len(values) == 0 {
		return !r.RequireOrigin
	}
	if len(values) > 1 {
		return false
	}
	u, err := url.Parse(strings.ToLower(values[0]))
	if err != nil {
		return false
	}
	for _, o := range r.origins {
		if o.matches(u, strings.ToLower(req.Host)) {
			return true
		}
	}
	return false
}

// matches compares a lower-case Origin; "null" and other opaque ones have no host
// and match only "*".
func (o origin) matches(u *url.URL, requested string) bool {
	if o.any {
		return true
	}
	if u.Host == "" {
		return false
	}
	host := defaultPort(u.Scheme, u.Host)
	switch {
	case o.same:
		return host == defaultPort(u.Scheme, requested)
	case u.Scheme != o.scheme:
		return false
	case o.below:
		return len(host) > len(o.host) && strings.HasSuffix(host, o.host)
	}
	return host == o.host
}
