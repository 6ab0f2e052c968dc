package lethe

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/keys"
)

// tokenDocument is the prefix of tokens among the custodian's documents; the
// hash of the token follows, never the token.
const tokenDocument = "token/"

// localPrincipal acts through a token that is valid while the process runs.
const localPrincipal = "local"

// tokens are the named tokens of principals.
type tokens struct {
	docs keys.Documents
	now  func() time.Time

	mu    sync.RWMutex
	local [sha256.Size]byte // of the process's own token; zero: none
}

type tokenRecord struct {
	Name    string        `json:"name"`
	Role    string        `json:"role"`
	Created domain.Bucket `json:"created"` // day
}

func newTokens(docs keys.Documents, now func() time.Time) *tokens {
	return &tokens{docs: docs, now: now}
}

func newSecretToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return "lethe_" + base64.RawURLEncoding.EncodeToString(b[:])
}

// issueLocal makes the token of this process, for admin.json.
func (t *tokens) issueLocal() string {
	secret := newSecretToken()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.local = sha256.Sum256([]byte(secret))
	return secret
}

var errToken = &api.Error{Code: api.CodeDenied, Message: "The token is not valid; lethe token create makes one", Status: 401}

// authenticate returns the caller of a token.
func (t *tokens) authenticate(ctx context.Context, secret string) (api.Caller, error) {
	hash := sha256.Sum256([]byte(secret))
	t.mu.RLock()
	local := t.local
	t.mu.RUnlock()
	if local != [sha256.Size]byte{} && subtle.ConstantTimeCompare(hash[:], local[:]) == 1 {
		return api.Caller{Principal: localPrincipal, Role: api.RoleOperator}, nil
	}
	value, _, err := t.docs.Document(ctx, tokenDocument+hex.EncodeToString(hash[:]))
	if errors.Is(err, domain.ErrNotFound) {
		return api.Caller{}, errToken
	}
	if err != nil {
		return api.Caller{}, fmt.Errorf("looking the token up: %w", err)
	}
	var r tokenRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return api.Caller{}, fmt.Errorf("reading a token: %w", err)
	}
	return api.Caller{Principal: r.Name, Role: r.Role}, nil
}

var tokenName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func (t *tokens) create(ctx context.Context, name, role string) (api.Token, error) {
	if !tokenName.MatchString(name) || name == localPrincipal {
		return api.Token{}, api.Usage("a token's name has 1 to 64 characters of a-z 0-9 . _ - and is not " + localPrincipal)
	}
	if !slices.Contains([]string{api.RoleOperator, api.RoleAuditor, api.RoleLegal, api.RoleSubject}, role) {
		return api.Token{}, api.Usage("a token's role is operator, auditor, legal or subject")
	}
	if _, err := t.find(ctx, name); !errors.Is(err, domain.ErrNotFound) {
		if err == nil {
			return api.Token{}, api.Refused("a token of that name exists; revoke it first")
		}
		return api.Token{}, err
	}
	secret := newSecretToken()
	r := tokenRecord{Name: name, Role: role, Created: domain.BucketAt(t.now(), domain.Day)}
	value, err := json.Marshal(r)
	if err != nil {
		return api.Token{}, fmt.Errorf("encoding a token: %w", err)
	}
	hash := sha256.Sum256([]byte(secret))
	if _, err := t.docs.PutDocument(ctx, tokenDocument+hex.EncodeToString(hash[:]), 0, value); err != nil {
		return api.Token{}, fmt.Errorf("keeping a token: %w", err)
	}
	return api.Token{Name: name, Role: role, Token: secret, Created: string(r.Created)}, nil
}

// find returns the document of a named token.
func (t *tokens) find(ctx context.Context, name string) (document string, err error) {
	err = t.docs.EachDocument(ctx, tokenDocument, func(doc string, value []byte) bool {
		var r tokenRecord
		if json.Unmarshal(value, &r) == nil && r.Name == name {
			document = doc
		}
		return document == ""
	})
	if err == nil && document == "" {
		err = domain.ErrNotFound
	}
	return document, err
}

func (t *tokens) revoke(ctx context.Context, name string) error {
	document, err := t.find(ctx, name)
	if errors.Is(err, domain.ErrNotFound) {
		return api.NotFound("there is no token of that name; lethe token list shows them")
	}
	if err != nil {
		return err
	}
	_, version, err := t.docs.Document(ctx, document)
	if err != nil {
		return fmt.Errorf("revoking a token: %w", err)
	}
	return t.docs.RemoveDocument(ctx, document, version)
}

func (t *tokens) list(ctx context.Context) (api.TokenList, error) {
	list := api.TokenList{Tokens: []api.Token{}}
	err := t.docs.EachDocument(ctx, tokenDocument, func(_ string, value []byte) bool {
		var r tokenRecord
		if json.Unmarshal(value, &r) == nil {
			list.Tokens = append(list.Tokens, api.Token{Name: r.Name, Role: r.Role, Created: string(r.Created)})
		}
		return true
	})
	slices.SortFunc(list.Tokens, func(a, b api.Token) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}
