package lethe_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/gateway/api"
	_ "modernc.org/sqlite" // reads what a replay wrote
)

// relations are what readers see of the views.
var relations = []string{"connections", "holdings", "totals", "retention", "erasures", "requests", "access", "pools"}

// TestRebuildWhileTrafficGoesOn compares each view with its rebuild at the same
// position, while people talk and somebody is erased.
//
// Proves: INV-7
func TestRebuildWhileTrafficGoesOn(t *testing.T) {
	h := newHome(t)
	h.onLoopback(t, newEchoing(t).url, "{records: 128, interval: 2s}", "{records: 16, interval: 100ms}")
	s := h.start(t)
	stop := make(chan struct{})
	var talking sync.WaitGroup
	people := make([]*talker, 10)
	for i := range people {
		people[i] = join(t, s.Gateway, person(i))
		talking.Go(func() { chat(people[i], stop) })
	}
	head := uint64(0)
	for i := range 3 {
		h.sameViews(t)
		if r := h.run(t, "erase", person(i), "--yes"); r.code != 0 {
			t.Errorf("erasing: %+v", r)
		}
		at := ask[api.ViewDigest](t, h, "views", "query", "holdings", "--digest").Position
		if at <= head {
			t.Errorf("the log stood still at %d", at)
		}
		head = at
	}
	h.sameViews(t)
	close(stop)
	talking.Wait()
	client := h.client(t)
	for i, c := range people[3:] {
		if !c.alive() || c.echoes() != c.sent || c.sent == 0 {
			t.Errorf("%s: alive %v, %d sent, %d came back", person(i+3), c.alive(), c.sent, c.echoes())
		}
		h.tally(t, client, person(i+3), int64(2*c.sent))
	}
	h.sameViews(t)
}

// twin is a copy of a ledger that nobody runs, with a folder of its own.
func (h *home) twin(t *testing.T) *home {
	t.Helper()
	c := newHome(t)
	if err := os.Remove(c.tmp); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(c.dir, os.DirFS(h.dir)); err != nil {
		t.Fatal(err)
	}
	c.configure(t, strings.ReplaceAll(string(mustRead(t, h.config)), h.dir, "DIR"))
	return c
}

// A relationRows is a relation's rows as text, in the order of texts.
type relationRows struct {
	columns []string
	rows    []string
}

// asked reads a relation through the command.
func (h *home) asked(t *testing.T, relation string) relationRows {
	t.Helper()
	got := ask[api.ViewRows](t, h, "views", "query", relation, "--limit", "10000")
	if got.Next != "" {
		t.Fatalf("%s has more than one page", relation)
	}
	r := relationRows{columns: got.Columns}
	for _, row := range got.Rows {
		r.add(t, row)
	}
	slices.Sort(r.rows)
	return r
}

func (r *relationRows) add(t *testing.T, row []any) {
	t.Helper()
	b, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	r.rows = append(r.rows, string(b))
}

// replayed reads the same columns of a relation out of a replay's file.
func replayed(t *testing.T, file, relation string, columns []string) relationRows {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), `SELECT "`+strings.Join(columns, `", "`)+`" FROM `+relation)
	if err != nil {
		t.Fatalf("%s of the replay: %v", relation, err)
	}
	defer func() { _ = rows.Close() }()
	r := relationRows{columns: columns}
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		r.add(t, values)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(r.rows)
	return r
}

// TestReplayEqualsACopyStoppedThen replays as of the instant at which a copy was
// taken of a stopped ledger: the copy's views say the same, row for row.
//
// Proves: INV-7
func TestReplayEqualsACopyStoppedThen(t *testing.T) {
	h := newHome(t)
	h.onLoopback(t, newEchoing(t).url, "interval: 2s", "interval: 200ms")
	s := h.start(t)
	for i := range 4 {
		join(t, s.Gateway, person(i)).talk(t, 10+i)
	}
	h.counts(t, person(3), 26)
	if r := h.run(t, "erase", person(3), "--yes"); r.code != 0 {
		t.Fatalf("erasing: %+v", r)
	}
	if code := s.end(syscall.SIGTERM); code != 0 {
		t.Fatalf("serve exits with %d", code)
	}
	stopped := h.twin(t)
	time.Sleep(1100 * time.Millisecond) // times are noted to the second
	s = h.start(t)
	then := time.Now().UTC().Format(time.RFC3339)
	for i := range 3 {
		join(t, s.Gateway, person(i)).talk(t, 5)
	}
	h.counts(t, person(2), 34)

	first := filepath.Join(t.TempDir(), "first.db")
	answer := ask[api.Replay](t, h, "audit", "replay", "--as-of", then, "--out", first)
	for what, n := range answer.Disposed {
		if n != 0 {
			t.Errorf("%d %s were disposed of since: %+v", n, what, answer)
		}
	}
	was := map[string]relationRows{}
	for _, relation := range relations {
		was[relation] = stopped.asked(t, relation)
		if got := replayed(t, first, relation, was[relation].columns); !slices.Equal(got.rows, was[relation].rows) {
			t.Errorf("%s of the replay\n%s\nand of the copy\n%s", relation, strings.Join(got.rows, "\n"), strings.Join(was[relation].rows, "\n"))
		}
	}
	if n := len(was["holdings"].rows); n < 9 {
		t.Errorf("the copy has %d holdings: that compares nothing", n)
	}
	if now := h.asked(t, "holdings"); slices.Equal(now.rows, was["holdings"].rows) {
		t.Error("nothing has happened since: that compares nothing")
	}
	h.replayAgain(t, then, person(0), was["holdings"])
}

// replayAgain erases somebody and replays once more: the erasure came later, and
// no event was disposed of, so that the past says what it said. The present does
// not.
func (h *home) replayAgain(t *testing.T, then, id string, was relationRows) {
	t.Helper()
	ref := h.subject(t, id).Subject.Ref
	if r := h.run(t, "erase", id, "--yes"); r.code != 0 {
		t.Fatalf("erasing: %+v", r)
	}
	file := filepath.Join(t.TempDir(), "second.db")
	_ = ask[api.Replay](t, h, "audit", "replay", "--as-of", then, "--out", file)
	if got := replayed(t, file, "holdings", was.columns); !slices.Equal(got.rows, was.rows) {
		t.Errorf("holdings of the second replay\n%s\nwant\n%s", strings.Join(got.rows, "\n"), strings.Join(was.rows, "\n"))
	}
	mentions := func(row string) bool { return strings.Contains(row, ref) }
	if now := h.asked(t, "holdings"); slices.ContainsFunc(now.rows, mentions) || !slices.ContainsFunc(was.rows, mentions) {
		t.Errorf("holdings of %s: in the past %v, now %v", ref, slices.ContainsFunc(was.rows, mentions), slices.ContainsFunc(now.rows, mentions))
	}
}

// TestRebuildAfterManyErasures erases every tenth of 1,000 people, 10,000 in a
// soak; the rebuild reads over all of them.
//
// Proves: INV-3, INV-7
func TestRebuildAfterManyErasures(t *testing.T) {
	people := 1000
	if soaking() {
		people = 10_000
	}
	h := newHome(t)
	h.onLoopback(t, newEchoing(t).url, "interval: 2s", "interval: 200ms")
	in := openInside(t, h, &calendar{})
	in.each(people, 1, func(i int) error {
		c, _, err := connect(in.Gateway+"/?user="+person(i), nil)
		if err != nil {
			return err
		}
		defer func() { _ = c.conn.NetConn().Close() }()
		c.say("hello")
		for end := time.Now().Add(20 * time.Second); c.echoes() == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				return fmt.Errorf("%s has no echo", person(i))
			}
		}
		return nil
	})
	within(t, 30*time.Second, "everybody's records", func() bool { return in.readable() == people })
	in.each(people, 10, func(i int) error {
		done, err := in.Erase(t.Context(), counsel, api.EraseRequest{ID: person(i)})
		if err == nil && done.State != "keys-destroyed" {
			err = fmt.Errorf("erasing %s ends as %s", person(i), done.State)
		}
		return err
	})
	in.rebuilt()
	if n := in.readable(); n != people-people/10 {
		t.Errorf("%d people are readable, want %d", n, people-people/10)
	}
	doctor, err := in.Doctor(t.Context(), counsel)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range doctor.Findings {
		if f.Level == "error" || f.Subject == "erasures" {
			t.Errorf("doctor finds %+v", f)
		}
	}
}

// each calls do for every step-th of n people, 16 at a time.
func (in *inside) each(n, step int, do func(i int) error) {
	in.t.Helper()
	var working sync.WaitGroup
	next := make(chan int)
	for range 16 {
		working.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					in.t.Error(err)
				}
			}
		})
	}
	for i := 0; i < n; i += step {
		next <- i
	}
	close(next)
	working.Wait()
	if in.t.Failed() {
		in.t.FailNow()
	}
}

// readable counts the people whose messages read as present.
func (in *inside) readable() (n int) {
	in.t.Helper()
	for cursor := ""; ; {
		page, err := in.Query(in.t.Context(), counsel, "holdings", cursor, 10_000)
		if err != nil {
			in.t.Fatal(err)
		}
		class, state := slices.Index(page.Columns, "class"), slices.Index(page.Columns, "state")
		for _, row := range page.Rows {
			if row[class] == "messages" && row[state] == "present" {
				n++
			}
		}
		if cursor = page.Next; cursor == "" {
			return n
		}
	}
}
