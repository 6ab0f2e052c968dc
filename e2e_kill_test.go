package lethe_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/gateway/api"
)

const (
	killFlush   = 400 * time.Millisecond
	killPersons = 8
	// killAcquainted is for how many rounds the same people talk; others follow, so
	// that a hundred rounds do not export everything a hundred times.
	killAcquainted = 10
	// killSlack is what a commit may take on a busy machine; a chunk is on its way
	// to the log when its interval ends. People talk for longer than both.
	killSlack = 800 * time.Millisecond
	// opening is added to the round in the size of a connection's first message, so
	// that its records tell which connection they are of.
	opening = 100_000
)

// onLoopback is goodConfig with one pool on every path and people who say who
// they are.
func (h *home) onLoopback(t *testing.T, upstream string, edits ...string) {
	t.Helper()
	h.configure(t, goodConfig, append([]string{
		"path: /chat", "path: /", "ws://127.0.0.1:9000", upstream, `, origins: ["https://app.example.com"]`, "",
		", trusted_proxies: [10.0.0.0/8], proxy_protocol: true", "", "[{header: X-User-Id}, {cookie: user}, {query: user}]", "[{query: user}]",
	}, edits...)...)
}

// rounds is how often something is killed: 10 in a test, LETHE_SOAK_ROUNDS or 100
// in a soak.
func rounds(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("LETHE_SOAK_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("LETHE_SOAK_ROUNDS is %q", text)
		}
		return n
	}
	if soaking() {
		return 100
	}
	return 10
}

// A killing is a ledger that is killed again and again under load. What it has
// acknowledged so far is kept.
type killing struct {
	*home
	t      *testing.T
	events map[domain.EventID]eventPlace
	sent   map[string]map[int]*talker // by person and round
	killed []time.Time                // by round
	seen   map[string]int64           // records that subject show has counted, by person
	worst  time.Duration              // that a message was old and is lost
	erased map[int]bool               // rounds whose erasure was answered
}

// An eventPlace is where an event stands and what it is.
type eventPlace struct {
	stream   domain.Stream
	revision domain.Revision
	position domain.Position
	sum      [sha256.Size]byte
}

// TestKill kills the process under load. A message is acknowledged when its chunk
// is: what was in the log stays there, once and in order, and a crash takes at
// most one flush interval from the end of each connection.
//
// Proves: INV-3, INV-4, INV-5, INV-7
func TestKill(t *testing.T) {
	k := &killing{home: newHome(t), t: t, events: map[domain.EventID]eventPlace{}, sent: map[string]map[int]*talker{}, seen: map[string]int64{}, erased: map[int]bool{}}
	k.onLoopback(t, newEchoing(t).url, "flush: {records: 128, interval: 2s}", fmt.Sprintf("flush: {records: 1024, interval: %s}", killFlush))
	for round := range rounds(t) {
		s := k.start(t)
		if round > 0 {
			k.check(s, round-1)
		}
		k.load(s, round)
		k.readLog()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	s := k.start(t)
	for round := range k.killed {
		if round%killAcquainted == killAcquainted-1 || round == len(k.killed)-1 {
			k.check(s, round) // those of earlier rounds once more
		}
	}
	if code := s.end(syscall.SIGTERM); code != 0 {
		t.Errorf("serve exits with %d", code)
	}
	k.readLog()
	if len(k.erased) == 0 || len(k.events) < 100 {
		t.Errorf("%d erasures and %d events: that is no load", len(k.erased), len(k.events))
	}
	t.Logf("%d kills: %d events, %d erasures answered; the oldest message lost had come back %v before its kill (flush interval %v)",
		len(k.killed), len(k.events), len(k.erased), k.worst.Round(time.Millisecond), killFlush)
}

func person(i int) string { return fmt.Sprintf("person-%d", i) }

// talkersOf are the people who talk in a round.
func talkersOf(round int) (ids []string) {
	for i := range killPersons {
		ids = append(ids, person(round/killAcquainted*killPersons+i))
	}
	return ids
}

// load lets people talk, erases somebody meanwhile and kills the process.
func (k *killing) load(s *server, round int) {
	var talking sync.WaitGroup
	for _, id := range talkersOf(round) {
		c := join(k.t, s.Gateway, id)
		if k.sent[id] == nil {
			k.sent[id] = map[int]*talker{}
		}
		k.sent[id][round] = c
		talking.Go(func() {
			c.say(strings.Repeat("x", opening+round))
			for n := 1; c.say(strings.Repeat("x", n)); n++ {
				time.Sleep(4 * time.Millisecond)
			}
		})
	}
	victim := fmt.Sprintf("victim-%d", round)
	join(k.t, s.Gateway, victim).talk(k.t, 5)
	client := s.client(k.t)
	done := make(chan api.EraseResult, 1)
	time.AfterFunc(time.Duration(1000+rand.IntN(1000))*time.Millisecond, func() {
		r, err := client.Erase(context.Background(), api.Caller{Purpose: "test"}, api.EraseRequest{ID: victim})
		if err != nil {
			r = api.EraseResult{} // cut off by the kill: what it did is found out afterwards
		}
		done <- r
	})
	for end := time.Now().Add(time.Duration(1500+rand.IntN(600)) * time.Millisecond); time.Now().Before(end); {
		for _, id := range talkersOf(round) {
			if show, err := client.SubjectShow(k.t.Context(), api.Caller{Purpose: "test"}, id); err == nil {
				k.seen[id] = max(k.seen[id], held(show, "messages", "present"))
			}
		}
	}
	s.end(syscall.SIGKILL)
	k.killed = append(k.killed, time.Now())
	talking.Wait()
	for _, id := range talkersOf(round) {
		k.sent[id][round].code(k.t, 10*time.Second) // what is read of it stands still
	}
	if r := <-done; r.State == "keys-destroyed" {
		k.erased[round] = true
	}
}

// readLog reads a copy of the log: the process that comes next has to recover it
// itself.
func (k *killing) readLog() {
	t := k.t
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(k.data, "log"))); err != nil {
		t.Fatal(err)
	}
	store, err := embedded.Open(dir, embedded.Options{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	found, next := map[domain.EventID]eventPlace{}, map[domain.Stream]domain.Revision{}
	for r, err := range store.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		sum.Write(r.Envelope())
		sum.Write(r.Data())
		at := eventPlace{r.Stream(), r.Revision, r.Position, [sha256.Size]byte(sum.Sum(nil))}
		if was, twice := found[r.ID()]; twice {
			t.Errorf("event %s stands twice: %+v and %+v", r.ID(), was, at)
		}
		if r.Revision != next[r.Stream()] {
			t.Errorf("%s goes on with revision %d, want %d", r.Stream(), r.Revision, next[r.Stream()])
		}
		found[r.ID()], next[r.Stream()] = at, r.Revision+1
	}
	for id, was := range k.events {
		if found[id] != was {
			t.Errorf("event %s was %+v and is %+v", id, was, found[id])
		}
	}
	k.events = found
}

// check holds what the restarted process tells against what was sent and seen up
// to a round.
func (k *killing) check(s *server, round int) {
	t, client := k.t, s.client(k.t)
	t.Helper()
	for _, id := range talkersOf(round) {
		rows, err := exportedRows(t, client, id)
		if err != nil {
			t.Fatalf("exporting %s: %v", id, err)
		}
		k.checkPerson(id, rows)
	}
	victim, state := fmt.Sprintf("victim-%d", round), ""
	within(t, 10*time.Second, "the end of an erasure that was cut off", func() bool {
		state = s.subject(t, victim).Subject.State
		return state != "fenced"
	})
	if state != "unknown" && k.erased[round] {
		t.Errorf("%s is %s after an erasure that was answered", victim, state)
	}
	s.sameViews(t)
}

// A messageRow is a line of data/messages.ndjson.
type messageRow struct {
	Connection, Direction, At string
	Size                      int
}

func messageRows(t *testing.T, path string) (rows []messageRow) {
	t.Helper()
	for line := range strings.Lines(string(unzipped(t, path))) {
		var r struct {
			messageRow
			Class string
		}
		if json.Unmarshal([]byte(line), &r) == nil && r.Class == "messages" {
			rows = append(rows, r.messageRow)
		}
	}
	return rows
}

// checkPerson takes the records of a person apart by connection and direction:
// each must be a beginning of what was sent.
func (k *killing) checkPerson(id string, rows []messageRow) {
	t := k.t
	t.Helper()
	if int64(len(rows)) < k.seen[id] {
		t.Errorf("%s: %d records are left of %d that were shown", id, len(rows), k.seen[id])
	}
	sizes, last := map[string]map[string][]int{}, map[string]string{}
	for _, r := range rows {
		if sizes[r.Connection] == nil {
			sizes[r.Connection] = map[string][]int{}
		}
		sizes[r.Connection][r.Direction] = append(sizes[r.Connection][r.Direction], r.Size)
		way := r.Connection + " " + r.Direction
		if parsed(t, r.At).Before(parsed(t, last[way])) {
			t.Errorf("%s: %s stands behind %s", id, r.At, last[way])
		}
		last[way] = r.At
	}
	got := map[int]int{} // by round: how many echoes are recorded
	for connection, by := range sizes {
		if len(by["in"]) == 0 {
			t.Fatalf("%s: connection %s has answers and no messages", id, connection)
		}
		round := slices.Max(by["in"]) - opening
		c := k.sent[id][round]
		if c == nil || by["in"][0] != opening+round {
			t.Fatalf("%s: connection %s begins with %d bytes and is of round %d", id, connection, by["in"][0], round)
		}
		if got[round] = len(by["out"]); got[round] > len(by["in"]) || len(by["in"]) > c.sent+1 || got[round] == 0 {
			t.Errorf("%s in round %d: %d in, %d out, %d sent", id, round, len(by["in"]), len(by["out"]), c.sent)
		}
		for direction, list := range by {
			for i, size := range list {
				if i > 0 && size != i {
					t.Fatalf("%s in round %d: message %d %s has %d bytes: one is missing, twice or out of order", id, round, i, direction, size)
				}
			}
		}
	}
	for round := range k.sent[id] {
		k.lost(id, round, got[round])
	}
}

func parsed(t *testing.T, at string) time.Time {
	t.Helper()
	if at == "" {
		return time.Time{}
	}
	p, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lost judges the messages that came back and are not recorded.
func (k *killing) lost(id string, round, recorded int) {
	k.t.Helper()
	back := k.sent[id][round].back
	if recorded >= len(back) {
		return
	}
	age := k.killed[round].Sub(back[recorded])
	k.worst = max(k.worst, age)
	if age > killFlush+killSlack {
		k.t.Errorf("%s in round %d: a message that came back %v before the kill is lost", id, round, age)
	}
}
