package gateway

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxToken bounds a token before anything is decoded.
const maxToken = 8 << 10

// JWT says which tokens are believed (RFC 7519). Tokens are looked for, in this
// order, in "Authorization: Bearer", in the subprotocols "bearer, <token>", in
// the query parameter and in the cookie; the first one found decides.
type JWT struct {
	// Key verifies: []byte (HMAC, at least as long as the hash), *rsa.PublicKey (at
	// least 2048 bits), *ecdsa.PublicKey or ed25519.PublicKey.
	Key any
	// Algorithm pins the alg of every token. It must fit the key; empty takes HS256,
	// RS256, ES256/384/512 by the curve, or EdDSA.
	Algorithm string
	// Claim holds the external id, as a string or an integer; empty is "sub".
	Claim string
	// Audience and Issuer must be those of the token where set.
	Audience, Issuer string
	// Leeway is how far clocks may differ.
	Leeway time.Duration
	// Query and Cookie name further places of the token; a token in a query string
	// is seen by every proxy's access log before it gets here.
	Query, Cookie string
	// CloseAtExpiry ends the connection with 4001 when its token expires.
	CloseAtExpiry bool
	// StripProtocol takes "bearer" and the token out of the subprotocols offered to
	// the upstream.
	StripProtocol bool
}

// A verifier is a compiled JWT.
type verifier struct {
	rule   JWT
	parser *jwt.Parser
}

func (j JWT) validate() error {
	_, err := j.algorithm()
	return err
}

// algorithm returns the pinned algorithm, or why the key does not go with it.
func (j JWT) algorithm() (string, error) {
	switch key := j.Key.(type) {
	case []byte:
		return j.hmac(key)
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return "", fmt.Errorf("jwt key: RSA below 2048 bits")
		}
		return j.among("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
	case *ecdsa.PublicKey:
		alg, ok := map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[key.Curve.Params().BitSize]
		if !ok {
			return "", fmt.Errorf("jwt key: curve without an algorithm")
		}
		return j.among(alg)
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return "", fmt.Errorf("jwt key: not an Ed25519 key")
		}
		return j.among("EdDSA")
	default:
		return "", fmt.Errorf("jwt key: want []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey, have %T", j.Key)
	}
}

// hmac also wants a key as long as the hash (RFC 7518 §3.2).
func (j JWT) hmac(key []byte) (string, error) {
	alg, err := j.among("HS256", "HS384", "HS512")
	if err != nil {
		return "", err
	}
	if need := map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}[alg]; len(key) < need {
		return "", fmt.Errorf("jwt key: %d bytes, %s wants %d", len(key), alg, need)
	}
	return alg, nil
}

func (j JWT) among(fit ...string) (string, error) {
	if j.Algorithm == "" {
		return fit[0], nil
	}
	if !slices.Contains(fit, j.Algorithm) {
		return "", fmt.Errorf("jwt algorithm %q does not go with the key: want one of %v", j.Algorithm, fit)
	}
	return j.Algorithm, nil
}

func newVerifier(j JWT, clock func() time.Time) (*verifier, error) {
	alg, err := j.algorithm()
	if err != nil {
		return nil, err
	}
	options := []jwt.ParserOption{jwt.WithValidMethods([]string{alg}), jwt.WithTimeFunc(clock), jwt.WithLeeway(j.Leeway), jwt.WithJSONNumber()}
	if j.Audience != "" {
		options = append(options, jwt.WithAudience(j.Audience))
	}
	if j.Issuer != "" {
		options = append(options, jwt.WithIssuer(j.Issuer))
	}
	if j.CloseAtExpiry {
		options = append(options, jwt.WithExpirationRequired())
	}
	j.Claim = or(j.Claim, "sub")
	return &verifier{rule: j, parser: jwt.NewParser(options...)}, nil
}

func (*verifier) owns() string { return "" }

func (v *verifier) identify(r *http.Request, _ peer) (claim, bool, error) {
	token, protocol, found := v.find(r)
	if !found {
		return claim{}, false, nil
	}
	c, err := v.verify(token)
	c.protocol, c.strip, c.token = protocol, protocol && v.rule.StripProtocol, token
	return c, true, err
}

// find returns the first token of the request. An empty bearer token is one, too:
// it is refused, not taken for nobody.
func (v *verifier) find(r *http.Request) (token string, protocol, found bool) {
	if scheme, t, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(t), false, true
	}
	if t := protocolToken(r.Header); t != "" {
		return t, true, true
	}
	if v.rule.Query != "" && r.URL.Query().Has(v.rule.Query) {
		return r.URL.Query().Get(v.rule.Query), false, true
	}
	if v.rule.Cookie != "" {
		if c, err := r.Cookie(v.rule.Cookie); err == nil {
			return c.Value, false, true
		}
	}
	return "", false, false
}

// verify returns one error for everything that can be wrong: what the library
// says could quote the token.
func (v *verifier) verify(token string) (claim, error) {
	if len(token) > maxToken {
		return claim{}, errToken
	}
	claims := jwt.MapClaims{}
	if _, err := v.parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return v.rule.Key, nil }); err != nil {
		return claim{}, errToken
	}
	c, found, err := named(text(claims[v.rule.Claim]))
	if err != nil || !found {
		return claim{}, errToken
	}
	if v.rule.CloseAtExpiry {
		exp, err := claims.GetExpirationTime()
		if err != nil || exp == nil {
			return claim{}, errToken
		}
		c.expires = exp.Add(v.rule.Leeway)
	}
	return c, nil
}

// text reads a claim that is a string or an integer.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		if _, err := v.Int64(); err == nil {
			return v.String()
		}
	}
	return ""
}

const bearer = "bearer"

// protocols lists the offered subprotocols, in order.
func protocols(h http.Header) []string {
	var list []string
	for p := range strings.SplitSeq(strings.Join(h.Values("Sec-Websocket-Protocol"), ","), ",") {
		if p = strings.TrimSpace(p); p != "" {
			list = append(list, p)
		}
	}
	return list
}

// protocolToken returns what follows "bearer" in the offered subprotocols. It is
// the way of browsers, which cannot set Authorization.
func protocolToken(h http.Header) string {
	list := protocols(h)
	if i := slices.Index(list, bearer); i >= 0 && i+1 < len(list) {
		return list[i+1]
	}
	return ""
}
