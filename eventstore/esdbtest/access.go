package esdbtest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// The two groups that the server knows by name.
const (
	groupAdmins    = "$admins"
	groupOperators = "$ops"
)

// everybody in an access control list is whoever has logged in.
const everybody = "$all"

// An Account can log in. What it may do follows from its groups and the access
// control lists in the log.
type Account struct {
	Name, Password string
	Groups         []string
}

// users are the accounts of a cluster.
type users struct {
	secured bool
	mu      sync.Mutex
	known   map[string]Account
}

// defaultPassword is that of a new installation.
const defaultPassword = "changeit"

func newUsers(accounts []Account) *users {
	u := &users{secured: accounts != nil, known: map[string]Account{
		"admin": {Name: "admin", Password: defaultPassword, Groups: []string{groupAdmins}},
		"ops":   {Name: "ops", Password: defaultPassword, Groups: []string{groupOperators}},
	}}
	for _, a := range accounts {
		u.known[a.Name] = a
	}
	return u
}

func (u *users) login(name, password string) (Account, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	a, known := u.known[name]
	return a, known && a.Password == password
}

func (u *users) add(a Account) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, taken := u.known[a.Name]; taken || a.Name == "" {
		return false
	}
	u.known[a.Name] = a
	return true
}

func (u *users) change(name string, change func(*Account)) (Account, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	a, known := u.known[name]
	if known {
		change(&a)
		u.known[name] = a
	}
	return a, known
}

// caller finds out who calls; a zero Account is anonymous, and so is who sends
// credentials twice.
func (u *users) caller(ctx context.Context) (Account, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	sent := md.Get("authorization")
	if len(sent) != 1 {
		return Account{}, nil
	}
	scheme, encoded, _ := strings.Cut(sent[0], " ")
	plain, err := base64.StdEncoding.DecodeString(encoded)
	name, password, found := strings.Cut(string(plain), ":")
	if err != nil || !strings.EqualFold(scheme, "basic") || !found {
		return Account{}, fail(codes.Unknown, "unexpected HTTP status code received from server: 500 (Internal Server Error)")
	}
	a, known := u.login(name, password)
	if !known {
		return Account{}, fail(codes.Unauthenticated, "Unauthenticated")
	}
	return a, nil
}

// authorize holds the access control lists against a call.
func (s *Server) authorize(ctx context.Context, c Call) error {
	if !s.cluster.users.secured {
		return nil
	}
	who, err := s.cluster.users.caller(ctx)
	if err != nil {
		return err
	}
	if who.Name == "" || !s.mayDo(who, c) {
		return accessDenied()
	}
	return nil
}

// rights are the keys of an access control list, for a stream and its metadata.
func right(method string, ofMeta bool) string {
	switch {
	case method == MethodDelete || method == MethodTombstone:
		return "$d"
	case method == MethodAppend && ofMeta:
		return "$mw"
	case method == MethodAppend:
		return "$w"
	case ofMeta:
		return "$mr"
	}
	return "$r"
}

func (s *Server) mayDo(who Account, c Call) bool {
	if slices.Contains(who.Groups, groupAdmins) {
		return true
	}
	stream, ofMeta := strings.CutPrefix(c.Stream, "$$")
	key := right(c.Method, ofMeta)
	if ofMeta && key == "$d" {
		return false
	}
	return slices.ContainsFunc(s.permitted(stream, key), func(p string) bool {
		return p == everybody || p == who.Name || slices.Contains(who.Groups, p)
	})
}

// settings is the body of the event that sets the default lists.
type settings struct {
	User   map[string]principals `json:"$userStreamAcl"`
	System map[string]principals `json:"$systemStreamAcl"`
}

// permitted is who has a right: by the stream's own list, else by the default in
// the stream $settings, else everybody on users' streams and admins on others.
func (s *Server) permitted(stream, key string) []string {
	l, _ := s.view()
	l.mu.Lock()
	defer l.mu.Unlock()
	if meta := l.metaOf(stream, l.nextSeq); meta != nil {
		if own, set := meta.acl[key]; set {
			return own
		}
	}
	var set settings
	if events := l.streams["$settings"]; len(events) > 0 {
		if json.Unmarshal(events[len(events)-1].data, &set) != nil {
			set = settings{}
		}
	}
	lists, otherwise := set.User, []string{everybody}
	if strings.HasPrefix(stream, "$") {
		lists, otherwise = set.System, []string{groupAdmins}
	}
	if by, given := lists[key]; given {
		return by
	}
	return otherwise
}
