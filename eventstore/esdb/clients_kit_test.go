package esdb

// How the tests run other people's clients: npm packages, driven by the program of
// testdata/esdbclients.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// libraries are the npm packages of testdata/esdbclients.
var libraries = []string{"@eventstore/db-client", "@kurrent/kurrentdb-client"}

// missing skips a test for want of something; where CI is set that is a failure.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", what)
	}
	t.Skipf("%s is missing", what)
}

// clientsFolder is where the clients can be run: testdata/esdbclients if its
// packages are installed there, else a copy with them.
func clientsFolder(t *testing.T) string {
	t.Helper()
	const source = "../../testdata/esdbclients"
	if _, err := os.Stat(filepath.Join(source, "client.mjs")); err != nil {
		t.Skip("testdata/esdbclients is not here: the test runs without its source tree")
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, program)
		}
	}
	if out, err := exec.Command("node", "--version").Output(); err != nil || major(string(out)) < 20 {
		missing(t, fmt.Sprintf("node 20 or later (this is %q, %v)", out, err))
	}
	if _, err := os.Stat(filepath.Join(source, "node_modules", ".package-lock.json")); err == nil {
		return source
	}
	dir := t.TempDir()
	for _, name := range []string{".npmrc", "client.mjs", "package.json", "package-lock.json"} {
		b, err := os.ReadFile(filepath.Join(source, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

func major(version string) int {
	first, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	n, _ := strconv.Atoi(first) // what is not a number is too old
	return n
}

// A program is a running client.mjs. It belongs to the goroutine of its test.
type program struct {
	in      io.Writer
	answers *bufio.Reader
}

func start(t *testing.T, dir, library, url string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	c := exec.CommandContext(ctx, "node", "client.mjs", library, url)
	c.Dir = dir
	var errs bytes.Buffer
	c.Stderr = &errs
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // it ends with its input
		if err := c.Wait(); err != nil || t.Failed() {
			t.Errorf("%s ended with %v\n%s", library, err, errs.String())
		}
		cancel()
	})
	return &program{in: in, answers: bufio.NewReader(out)}
}

// A foreign is another client beside a store of ours, on one server and under one
// prefix.
type foreign struct {
	*testing.T
	*program
	ctx   context.Context
	store *Store
	other *Store // of another ledger on the same server
}

func newForeign(t *testing.T, p *program, url string) *foreign {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	prefix := "lethe." + strings.ReplaceAll(uuid.NewString()[:13], "-", "")
	return &foreign{T: t, program: p, ctx: ctx, store: storeUnder(t, url, prefix+"."), other: storeUnder(t, url, prefix+"x.")}
}

func storeUnder(t *testing.T, url, prefix string) *Store {
	t.Helper()
	c := quiet(configOf(t, url))
	c.Prefix = prefix
	s := mustOpen(t, c)
	t.Cleanup(func() { mustClose(t, s) })
	return s
}

// A command is one line to client.mjs.
type command struct {
	Do        string        `json:"do"`
	Stream    domain.Stream `json:"stream,omitempty"`
	From      any           `json:"from,omitempty"`
	Direction string        `json:"direction,omitempty"`
	Count     int           `json:"count,omitempty"`
	Expected  string        `json:"expected,omitempty"`
	Before    int           `json:"before,omitempty"`
	Name      string        `json:"name,omitempty"`
	Prefix    string        `json:"prefix,omitempty"`
	Events    []foreignData `json:"events,omitempty"`
}

// foreignData is an event on its way to client.mjs.
type foreignData struct {
	ID       string           `json:"id"`
	Type     domain.EventType `json:"type"`
	Metadata blob             `json:"metadata"`
	Data     blob             `json:"data"`
}

// A blob is bytes that are long to look at.
type blob []byte

func (b blob) String() string { return fmt.Sprintf("%d bytes, SHA-256 %.8x", len(b), sha256.Sum256(b)) }

// A foreignEvent is an event as the other client shows it.
type foreignEvent struct {
	Stream                           domain.Stream
	ID                               string
	Type                             domain.EventType
	JSON                             bool
	Created                          time.Time
	Revision, Commit, Prepare, Outer string
	Metadata, Data                   blob
}

// An answer is one line of client.mjs.
type answer struct {
	Events                    []foreignEvent
	Success                   bool
	Revision, Commit, Prepare string
	Metadata                  blob
	Failure, Message, Actual  string
	Stream                    domain.Stream
}

// try carries out a command, which may fail.
func (f *foreign) try(c command) (a answer) {
	f.Helper()
	if c.Count == 0 {
		c.Count = 10_000
	}
	line, err := json.Marshal(c)
	if err == nil {
		_, err = f.in.Write(append(line, '\n'))
	}
	if err == nil {
		line, err = f.answers.ReadBytes('\n')
	}
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	if err != nil {
		f.Fatalf("%s: %v in %s", c.Do, err, line)
	}
	return a
}

// run carries out a command that must not fail.
func (f *foreign) run(c command) answer {
	f.Helper()
	a := f.try(c)
	if a.Failure != "" {
		f.Fatalf("%s %s: %s, %s", c.Do, c.Stream, a.Failure, a.Message)
	}
	return a
}

// fails asks that a command fails in the library's own words.
func (f *foreign) fails(c command, want string) answer {
	f.Helper()
	a := f.try(c)
	if a.Failure != want {
		f.Fatalf("%s %s: failure %q (%s), want %q", c.Do, c.Stream, a.Failure, a.Message, want)
	}
	return a
}

func (f *foreign) name(s string) domain.Stream { return domain.Stream(f.store.Prefix + s) }

// events are sealed events with what is easily mangled on the way: facts in an
// order, every byte in the body, an empty body, metadata that is not JSON.
func (f *foreign) events(s domain.Stream, n int) []domain.Sealed {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	out := make([]domain.Sealed, n)
	for i := range out {
		envelope := fmt.Appendf(nil, `{"v":1,"hour":"2026-11-23T10Z","policy":7,"class":"network","tier":"0","n":%d,"facts":{"pool":"é<&>","tls":13,"close":1000}}`, i)
		data := append([]byte{'L', 'T', 'H', 1}, all...)
		switch i % 3 {
		case 1:
			envelope = all
		case 2:
			data = nil
		}
		out[i] = domain.NewSealed(domain.EventID(uuid.New()), s, domain.EventType(fmt.Sprintf("traffic.recorded.v%d", i+1)), envelope, data)
	}
	return out
}

func (f *foreign) write(s *Store, at domain.Revision, es ...domain.Sealed) eventstore.Appended {
	f.Helper()
	a, err := s.Append(f.ctx, es[0].Stream(), at, es)
	if err != nil {
		f.Fatal(err)
	}
	return a
}

// sent are events of ours for the other client to write.
func sent(es []domain.Sealed) []foreignData {
	out := make([]foreignData, len(es))
	for i, e := range es {
		out[i] = foreignData{uuid.UUID(e.ID()).String(), e.Type(), e.Envelope(), e.Data()}
	}
	return out
}

// same asks that both clients show the same events, in the same order.
func (f *foreign) same(what string, theirs []foreignEvent, ours []domain.Recorded) {
	f.Helper()
	if len(theirs) != len(ours) || len(ours) == 0 {
		f.Fatalf("%s: %d events, the store reads %d", what, len(theirs), len(ours))
	}
	for i, got := range theirs {
		want := shownAs(ours[i])
		if want.Type == eventstore.DeletedType {
			want.JSON, want.Metadata, want.Data = got.JSON, got.Metadata, got.Data // the server's own
		}
		got.Created = got.Created.Truncate(time.Second)
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
			f.Errorf("%s, event %d:\n  theirs %s\n  ours   %s", what, i, g, w)
		}
	}
}

// shownAs is an event of ours as the other client should show it. One of them cuts
// the store's time to the second.
func shownAs(e domain.Recorded) foreignEvent {
	commit, prepare := strconv.FormatUint(e.Position.Commit, 10), strconv.FormatUint(e.Position.Prepare, 10)
	return foreignEvent{
		Stream: e.Stream(), ID: uuid.UUID(e.ID()).String(), Type: e.Type(), Created: e.StoreTime.UTC().Truncate(time.Second),
		Revision: strconv.FormatInt(int64(e.Revision), 10), Commit: commit, Prepare: prepare, Outer: commit,
		Metadata: e.Envelope(), Data: e.Data(),
	}
}
