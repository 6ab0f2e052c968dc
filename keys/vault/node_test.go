package vault_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/vault"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

func background() context.Context { return context.Background() }

// A site is one ledger on one server, where any number of nodes open it.
type site struct {
	t      testing.TB
	server *vaulttest.Server
	admin  *api.Client
	ledger domain.LedgerID
}

func newSite(t testing.TB, storage string) *site {
	t.Helper()
	s := vaulttest.Start(t, vaulttest.Options{Storage: storage})
	at := &site{t: t, server: s, admin: adminOf(t, s), ledger: "main"}
	must(t, vault.Init(background(), at.admin, small(at.ledger)))
	return at
}

// A node is one process: a custodian over a transport of its own.
type node struct {
	*vault.Custodian
	wire *wire
	now  *clock
}

func (s *site) node() *node {
	s.t.Helper()
	o := optionsFor(s.server, s.ledger)
	return s.nodeWith(o)
}

func (s *site) nodeWith(o vault.Options) *node {
	s.t.Helper()
	n := &node{wire: newWire(), now: &clock{}}
	o.Transport, o.Clock = n.wire, n.now.read
	var err error
	n.Custodian, err = vault.Open(background(), o)
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, n.Close()) })
	return n
}

// A clock runs with the machine's, moved.
type clock struct {
	mu    sync.Mutex // guards moved
	moved time.Duration
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.moved)
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved += d
}

var errWire = errors.New("injected fault of the wire")

// A wire counts requests and can hold one up, lose it, or lose its answer.
type wire struct {
	under *http.Transport

	mu    sync.Mutex // guards the rest
	calls []string
	at    int // number of the request that fails or waits, from 1; 0: none
	lost  bool
	// held is closed when the request waits; go lets it go on.
	held, release chan struct{}
	silent        bool          // nothing is answered before the caller gives up
	older         time.Duration // what Transit says of the age of keys is more
	// A request of this method with this in its path is answered and not made.
	pretendMethod, pretendPath string

	path string // before a request with this in its path, hook runs
	hook func()
}

func newWire() *wire { return &wire{under: &http.Transport{MaxIdleConnsPerHost: 64}} }

func (w *wire) CloseIdleConnections() { w.under.CloseIdleConnections() }

// fail makes the n-th request from now fail: lost, or carried out unanswered.
func (w *wire) fail(n int, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls, w.at, w.lost, w.held, w.release = nil, n, lost, nil, nil
}

// hold makes the n-th request from now wait until release is closed.
func (w *wire) hold(n int) (held <-chan struct{}, release chan<- struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls, w.at = nil, n
	w.held, w.release = make(chan struct{}), make(chan struct{})
	return w.held, w.release
}

func (w *wire) silence(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = yes
}

// count forgets what was counted, and lets everything pass.
func (w *wire) count() { w.fail(0, false) }

func (w *wire) made() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.calls...)
}

// meanwhile runs fn before each request with path in its path.
func (w *wire) meanwhile(path string, fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.path, w.hook = path, fn
}

// pretend answers requests without making them.
func (w *wire) pretend(method, path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pretendMethod, w.pretendPath = method, path
}

// old makes every Transit key older than it is.
func (w *wire) old(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.older = by
}

// aged changes the time in an answer about a Transit key.
func (w *wire) aged(r *http.Response, err error) (*http.Response, error) {
	w.mu.Lock()
	by := w.older
	w.mu.Unlock()
	if err != nil || by == 0 || r.StatusCode != http.StatusOK {
		return r, err
	}
	raw, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	raw = keyTime.ReplaceAllFunc(raw, func(m []byte) []byte {
		at, _ := strconv.ParseInt(string(m[len(`"1":`):]), 10, 64)
		return strconv.AppendInt([]byte(`"1":`), at-int64(by.Seconds()), 10)
	})
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	return r, nil
}

var keyTime = regexp.MustCompile(`"1":[0-9]+`)

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.calls = append(w.calls, r.Method+" "+r.URL.Path)
	hit := len(w.calls) == w.at
	lost, held, release, silent := w.lost, w.held, w.release, w.silent
	hook := w.hook
	if hook != nil && !strings.Contains(r.URL.Path, w.path) {
		hook = nil
	}
	pretended := w.pretendMethod == r.Method && strings.Contains(r.URL.Path, w.pretendPath)
	w.mu.Unlock()
	if hook != nil {
		hook()
	}
	switch {
	case pretended:
		return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody, Request: r, Header: http.Header{}}, nil
	case !hit && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/"+vault.TransitMount+"/keys/"):
		return w.aged(w.under.RoundTrip(r))
	case silent:
		<-r.Context().Done()
		return nil, r.Context().Err()
	case !hit:
		return w.under.RoundTrip(r)
	case held != nil:
		close(held)
		<-release
		return w.under.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
	case lost:
		return nil, errWire
	}
	response, err := w.under.RoundTrip(r)
	if err == nil {
		err = errors.Join(errWire, response.Body.Close())
	}
	return nil, err
}

// someone makes a random person with keys for two classes.
func someone(directory byte) (keys.Subject, *seal.Bundle) {
	s := keys.Subject{Ref: domain.New[domain.SubjectRef](), Scope: domain.Erasable, Issued: time.Now().UTC().Truncate(time.Second)}
	s.Directory[0], s.Directory[3] = directory, directory
	b := &seal.Bundle{}
	for i, c := range []domain.Class{"messages", "network"} {
		if err := b.Issue(c, 1, secret(directory, byte(i))); err != nil {
			panic(err)
		}
	}
	return s, b
}

func secret(a, b byte) (s seal.Secret) {
	for i := range s {
		s[i] = a ^ byte(i)*7 ^ b<<4
	}
	return s
}

func enrolled(t testing.TB, n *node, directory byte) keys.Subject {
	t.Helper()
	s, b := someone(directory)
	stands, err := n.Enrol(background(), s, b)
	must(t, err)
	return stands
}

// dropClass takes a class out of a bundle.
func dropClass(class domain.Class) func(*keys.Subject, *seal.Bundle) error {
	return func(_ *keys.Subject, b *seal.Bundle) error {
		b.Drop(class, true)
		return nil
	}
}

func fence(c domain.CommandID) func(*keys.Subject, *seal.Bundle) error {
	return func(s *keys.Subject, _ *seal.Bundle) error {
		s.Fence = keys.Fence{Command: c}
		return nil
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

// transitKeys lists what Transit keys there are.
func (s *site) transitKeys() (all []string) {
	s.t.Helper()
	answer, err := s.admin.Logical().List(vault.TransitMount + "/keys")
	must(s.t, err)
	if answer == nil {
		return nil
	}
	for _, name := range answer.Data["keys"].([]any) {
		all = append(all, name.(string))
	}
	return all
}
