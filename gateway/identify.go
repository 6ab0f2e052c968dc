package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Rule is one way to learn who connects. Exactly one of its ways is set.
type Rule struct {
	// JWT takes a signed token.
	JWT *JWT
	// Header names a request header that holds the external id. It is read from
	// trusted proxies and on loopback addresses only, and taken out of everybody
	// else's requests before they go on to an upstream.
	Header string
	// Query names a parameter that holds the external id. Anybody can type one, so
	// it is read on loopback addresses only.
	Query string
	// Cookie names a cookie that holds the external id. Whoever sets cookies can be
	// anybody: only for sites that sign or guard them on the way in.
	Cookie string
}

// errToken says that somebody presented an identification that does not hold. It
// deliberately says nothing more.
var errToken = errors.New("token not valid")

// An identifier is a compiled Rule. It reports found=false where the request has
// nothing for it.
type identifier interface {
	identify(r *http.Request, p peer) (c claim, found bool, err error)
	// owns names a request header that only trusted peers may send; empty: none.
	owns() string
}

// A claim is what an identifier found.
type claim struct {
	Identity
	// expires is when the connection ends with 4001; zero: never.
	expires time.Time
	// protocol: the token came as a subprotocol, and is to be taken out if strip.
	protocol, strip bool
	token           string
}

func (r Rule) validate() error {
	ways := 0
	for _, set := range []bool{r.JWT != nil, r.Header != "", r.Query != "", r.Cookie != ""} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		return fmt.Errorf("want exactly one of jwt, header, query and cookie")
	}
	if r.JWT != nil {
		return r.JWT.validate()
	}
	return nil
}

func (r Rule) compile(clock func() time.Time) (identifier, error) {
	switch {
	case r.JWT != nil:
		return newVerifier(*r.JWT, clock)
	case r.Header != "":
		return byHeader(textproto.CanonicalMIMEHeaderKey(r.Header)), nil
	case r.Query != "":
		return byQuery(r.Query), nil
	default:
		return byCookie(r.Cookie), nil
	}
}

// who runs the chain.
func (t *table) who(r *http.Request, p peer) (claim, error) {
	for _, id := range t.identify {
		c, found, err := id.identify(r, p)
		if err != nil {
			return claim{}, err
		}
		if found {
			return c, nil
		}
	}
	return claim{}, nil
}

// named makes a claim of an external id; one that no ledger could hold is refused.
func named(id string) (claim, bool, error) {
	if id == "" {
		return claim{}, false, nil
	}
	if len(id) > 512 || !utf8.ValidString(id) {
		return claim{}, true, errToken
	}
	for _, c := range id {
		if unicode.IsControl(c) {
			return claim{}, true, errToken
		}
	}
	return claim{Identity: Identity{ExternalID: id}}, true, nil
}

type byHeader string

func (h byHeader) identify(r *http.Request, p peer) (claim, bool, error) {
	values := r.Header.Values(string(h))
	if len(values) == 0 || (!p.trusted && !p.loopback) {
		return claim{}, false, nil
	}
	if len(values) > 1 {
		return claim{}, true, errToken
	}
	return named(values[0])
}

func (h byHeader) owns() string { return string(h) }

type byQuery string

func (q byQuery) identify(r *http.Request, p peer) (claim, bool, error) {
	if !p.loopback {
		return claim{}, false, nil
	}
	return named(r.URL.Query().Get(string(q)))
}

func (byQuery) owns() string { return "" }

type byCookie string

func (c byCookie) identify(r *http.Request, _ peer) (claim, bool, error) {
	cookie, err := r.Cookie(string(c))
	if err != nil {
		return claim{}, false, nil //nolint:nilerr // http.ErrNoCookie is the only one
	}
	return named(cookie.Value)
}

func (byCookie) owns() string { return "" }
