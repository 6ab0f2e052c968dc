package lethe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	storeengine "github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/eventstore/esdb"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
	"github.com/lethe-ledger/lethe/projections/tlog"
)

// A shift is a clock that a test moves; it goes on by itself, too.
type shift struct{ ahead atomic.Int64 }

func (s *shift) now() time.Time       { return time.Now().Add(time.Duration(s.ahead.Load())) }
func (s *shift) pass(d time.Duration) { s.ahead.Add(int64(d)) }

func (s *shift) options(t *testing.T) Options {
	return Options{Logger: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel), Clock: s.now, Version: "test"}
}

// visit talks as a person and hangs up.
func (r *running) visit(t *testing.T, user string, n int) {
	t.Helper()
	c := dial(t, r.Gateway, user)
	c.talk(t, n)
	if err := c.conn.WriteClose(1000, nil); err != nil {
		t.Fatal(err)
	}
	<-c.closed
}

const day = 24 * time.Hour

// live makes a log by use over a month: people erased whole and by class, keys
// expired, ciphertext disposed of, so that streams are deleted and truncated.
func live(t *testing.T, c *Config) *shift {
	t.Helper()
	clock := &shift{}
	now := time.Now().UTC()
	clock.pass(now.Truncate(day).Add(36 * time.Hour).Sub(now)) // noon
	r := serveWith(t, c, clock.options(t))
	for _, user := range []string{"ada", "bob", "cyd", ""} {
		r.visit(t, user, 20)
	}
	for _, user := range []string{"ada", "bob", "cyd"} {
		await(t, user, func() bool { return records(r.show(t, user), "messages", "present") == 40 })
	}
	for _, q := range []api.EraseRequest{{ID: "ada"}, {ID: "cyd", Classes: []string{"lifecycle"}}, {ID: "nobody"}} {
		if _, err := r.Erase(t.Context(), legal, q); err != nil {
			t.Fatal(err)
		}
	}
	clock.pass(29 * day)
	r.visit(t, "bob", 10)
	clock.pass(2 * day)
	if _, err := r.RetentionRun(t.Context(), legal, false); err != nil {
		t.Fatal(err)
	}
	gone, err := r.Dispose(t.Context(), legal, false, nil)
	if err != nil || gone.Deleted == 0 || gone.Truncated == 0 {
		t.Fatalf("disposed of %+v, %v", gone, err)
	}
	r.visit(t, "bob", 5)
	await(t, "bob", func() bool { return records(r.show(t, "bob"), "messages", "present") == 30 })
	r.stop()
	return clock
}

// target is the same configuration with another log.
func target(c *Config, s *esdbtest.Server) *Config {
	to := *c
	to.Store = StoreConfig{Engine: storeEventStoreDB, URL: s.URL()}
	return &to
}

func migrate(t *testing.T, c *Config, s *esdbtest.Server, clock *shift) (Migration, error) {
	t.Helper()
	return Migrate(t.Context(), c, target(c, s), MigrateOptions{Options: clock.options(t)})
}

// copied is a migration that succeeds.
func copied(t *testing.T, c *Config, s *esdbtest.Server, clock *shift, only bool) Migration {
	t.Helper()
	m, err := Migrate(t.Context(), c, target(c, s), MigrateOptions{Options: clock.options(t), CopyOnly: only})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// stores opens both logs.
func stores(t *testing.T, c *Config, s *esdbtest.Server, read func(old, copied eventstore.Store)) {
	t.Helper()
	old, err := storeengine.Open(filepath.Join(c.Data, "log"), storeengine.Options{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	copied, err := esdb.Open(t.Context(), esdb.Config{URL: s.URL(), Prefix: domain.StreamsOf(c.Ledger).Prefix(), Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = copied.Close() }()
	read(old, copied)
}

// models are the rows of all views of a log, without the columns that say where in
// the log something stands.
func models(t *testing.T, id domain.LedgerID, log eventstore.Store) map[string][]string {
	t.Helper()
	engine, err := sqlite.New(t.TempDir(), sqlite.OS{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := projections.Open(t.Context(), log, engine, projections.Options{
		Ledger: id, Verify: func(domain.Recorded) error { return nil }, Pause: pause,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if err := p.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, v := range projections.Views() {
		for _, rel := range v.Relations() {
			page, err := p.Query(t.Context(), projections.Query{Relation: rel.Name})
			if err != nil || page.Next != "" {
				t.Fatalf("%s: %v, more %q", rel.Name, err, page.Next)
			}
			rows := []string{}
			for _, row := range page.Rows {
				for i, column := range page.Columns {
					if strings.Contains(column, "position") {
						row[i] = nil
					}
				}
				rows = append(rows, fmt.Sprint(row...))
			}
			slices.Sort(rows)
			all[rel.Name] = rows
		}
	}
	return all
}

// TestALedgerMovesToEventStoreDB copies a log that has lived, and serves the copy:
// views are equal, what was there opens, what was erased stays erased.
func TestALedgerMovesToEventStoreDB(t *testing.T) {
	up, log := upstream(t), logServer(t)
	c := testConfig(t, t.TempDir(), up)
	clock := live(t, c)
	var told [2]int64
	m, err := Migrate(t.Context(), c, target(c, log), MigrateOptions{Options: clock.options(t), Progress: func(done, total int64) { told = [2]int64{done, total} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", m)
	if !m.Verified || !m.Switched || m.Events == 0 || m.Copied != m.Events || m.Streams == 0 || m.Deleted == 0 || m.Filled == 0 {
		t.Errorf("migrated: %+v", m)
	}
	if told[0] == 0 || told[0] != told[1] {
		t.Errorf("progress ended at %v", told)
	}
	sameLogs(t, c, log)
	stores(t, c, log, func(_, copied eventstore.Store) { // what fills leaves the disk
		if err := copied.(*esdb.Store).Scavenge(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	sameLogs(t, c, log)
	if again := copied(t, c, log, clock, false); again.Copied != 0 || again.Leaves != m.Leaves || again.Filled != m.Filled {
		t.Errorf("again: %+v", again)
	}

	r := serveWith(t, target(c, log), clock.options(t))
	bob := r.show(t, "bob")
	if n := records(bob, "messages", "present"); n != 30 {
		t.Errorf("bob has %d messages", n)
	}
	if s := r.show(t, "ada"); s.Subject.State != "unknown" {
		t.Errorf("ada is %+v", s)
	}
	if n := records(r.show(t, "cyd"), "lifecycle", "present"); n != 0 {
		t.Errorf("cyd has %d erased records", n)
	}
	var opened discardCounter
	if err := r.SubjectExport(t.Context(), legal, "bob", &opened); err != nil || opened == 0 {
		t.Errorf("export of %d bytes: %v", opened, err)
	}
	r.visit(t, "bob", 5)
	await(t, "bob goes on", func() bool { return records(r.show(t, "bob"), "messages", "present") == 40 })
	sameAsRebuilt(t, r)
	leaves := r.views.leaves.Size()
	await(t, "leaves of new events", func() bool { return r.views.leaves.Size() > leaves || leaves > m.Events+5 })
	compared, err := r.views.leaves.Compare(t.Context(), r.store)
	if err != nil || compared.Present <= m.Events || compared.Gone == 0 {
		t.Errorf("leaf entries: %+v, %v", compared, err)
	}
	if err := r.views.Err(); err != nil {
		t.Error(err)
	}
	done, err := r.Erase(t.Context(), legal, api.EraseRequest{ID: "bob"})
	if err != nil || done.State != "keys-destroyed" {
		t.Errorf("an erasure behind: %+v, %v", done, err)
	}
}

type discardCounter int

func (d *discardCounter) Write(p []byte) (int, error) {
	*d += discardCounter(len(p))
	return len(p), nil
}

// sameLogs compares both logs in the ways in which readers see them.
func sameLogs(t *testing.T, c *Config, s *esdbtest.Server) {
	t.Helper()
	stores(t, c, s, func(old, copied eventstore.Store) {
		if was, is := models(t, c.Ledger, old), models(t, c.Ledger, copied); !reflect.DeepEqual(was, is) {
			t.Errorf("views differ:\n%v\n%v", was, is)
		}
		seen := map[domain.Stream]bool{}
		for e, err := range old.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if !seen[e.Stream()] {
				seen[e.Stream()] = true
				sameStream(t, e.Stream(), old, copied)
			}
		}
	})
}

func sameStream(t *testing.T, s domain.Stream, old, copied eventstore.Store) {
	t.Helper()
	read := func(log eventstore.Store) (events []string, last domain.Revision, err error) {
		for e, err := range log.ReadStream(t.Context(), s, 0, eventstore.Forward, 0) {
			if err != nil {
				return nil, 0, err
			}
			leaf := tlog.LeafOf(e.Sealed)
			events = append(events, fmt.Sprintf("%d %x", e.Revision, leaf))
		}
		last, err = log.Last(t.Context(), s)
		return events, last, err
	}
	a, aLast, aErr := read(old)
	b, bLast, bErr := read(copied)
	if !slices.Equal(a, b) || aLast != bLast || errors.Is(aErr, eventstore.ErrDeleted) != errors.Is(bErr, eventstore.ErrDeleted) {
		t.Errorf("stream %s: %d events to %d, %v; copied %d events to %d, %v", s, len(a), aLast, aErr, len(b), bLast, bErr)
	}
}

// TestAMigrationThatIsInterruptedGoesOn cuts the way to the new log at one write
// after the other, before and behind its effect.
func TestAMigrationThatIsInterruptedGoesOn(t *testing.T) {
	c := testConfig(t, t.TempDir(), upstream(t))
	clock := live(t, c)
	whole := copied(t, c, logServer(t), clock, true)
	for _, behind := range []bool{false, true} {
		log := logServer(t)
		interrupted := 0
		for n := int64(1); ; n = n*2 + 1 {
			old, err := storeengine.Open(filepath.Join(c.Data, "log"), storeengine.Options{Clock: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			copied, err := esdb.Open(t.Context(), esdb.Config{URL: log.URL(), Prefix: domain.StreamsOf(c.Ledger).Prefix(), Clock: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			leaves, err := tlog.Open(filepath.Join(c.Data, "tlog"), c.Ledger, tlog.OS{})
			if err != nil {
				t.Fatal(err)
			}
			cut := &cutting{Store: copied, left: n, behind: behind}
			x, err := newTransfer(old, cut, c.Ledger, leaves, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = x.run(t.Context())
			if e := errors.Join(old.Close(), copied.Close()); e != nil {
				t.Fatal(e)
			}
			if err == nil {
				if x.done.Leaves != whole.Leaves || x.done.Events != whole.Events {
					t.Errorf("in pieces %+v, at once %+v", x.done, whole)
				}
				break
			}
			if !errors.Is(err, errCutOff) || x.done.Verified {
				t.Fatalf("interrupted: %+v, %v", x.done, err)
			}
			interrupted++
		}
		if interrupted < 3 {
			t.Errorf("interrupted %d times only", interrupted)
		}
		sameLogs(t, c, log)
	}
}

var errCutOff = fmt.Errorf("cut off: %w", domain.ErrUnavailable)

// cutting loses what is written behind so many writes, or the answer to it.
type cutting struct {
	eventstore.Store
	left   int64
	behind bool
}

func (c *cutting) write(do func() error) error {
	c.left--
	if c.left >= 0 {
		return do()
	}
	if c.behind {
		return errors.Join(do(), errCutOff)
	}
	return errCutOff
}

func (c *cutting) Append(ctx context.Context, s domain.Stream, r domain.Revision, e []domain.Sealed) (at eventstore.Appended, err error) {
	err = c.write(func() (err error) { at, err = c.Store.Append(ctx, s, r, e); return err })
	return at, err
}

func (c *cutting) Truncate(ctx context.Context, s domain.Stream, r domain.Revision) error {
	return c.write(func() error { return c.Store.Truncate(ctx, s, r) })
}

func (c *cutting) Delete(ctx context.Context, s domain.Stream) error {
	return c.write(func() error { return c.Store.Delete(ctx, s) })
}

// TestWhatIsNoMigrationIsRefused: other events, a log that has gone on, a directory
// that is served, other keys.
func TestWhatIsNoMigrationIsRefused(t *testing.T) {
	c := testConfig(t, t.TempDir(), upstream(t))
	clock := &shift{}
	r := serveWith(t, c, clock.options(t))
	r.visit(t, "bob", 5)
	await(t, "bob", func() bool { return records(r.show(t, "bob"), "messages", "present") == 10 })
	empty := logServer(t)
	if _, err := migrate(t, c, empty, clock); err == nil || !strings.Contains(err.Error(), "stop it") {
		t.Errorf("while it is served: %v", err)
	}
	r.stop()

	streams := domain.StreamsOf(c.Ledger)
	foreign := []domain.Sealed{domain.NewSealed(domain.New[domain.EventID](), streams.Policy(), domain.PolicyRevised, []byte("{}"), nil)}
	for what, prepare := range map[string]func(log eventstore.Store) error{
		"another event": func(log eventstore.Store) error {
			_, err := log.Append(t.Context(), streams.Policy(), domain.NoStream, foreign)
			return err
		},
		"a deleted stream": func(log eventstore.Store) error { return log.Delete(t.Context(), streams.Policy()) },
	} {
		log := logServer(t)
		stores(t, c, log, func(_, copied eventstore.Store) {
			if err := prepare(copied); err != nil {
				t.Fatal(err)
			}
		})
		wantRefused(t, what, c, log, clock, string(streams.Policy()))
	}
	copied(t, c, empty, clock, true)
	if !exists(filepath.Join(c.Data, "views")) {
		t.Error("a copy took the views of the old log")
	}
	stores(t, c, empty, func(_, copied eventstore.Store) {
		last, err := copied.Last(t.Context(), streams.Policy())
		if err == nil {
			_, err = copied.Append(t.Context(), streams.Policy(), last, foreign)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	wantRefused(t, "a log that has gone on", c, empty, clock, string(streams.Policy()))

	for what, change := range map[string]func(to *Config){
		"another ledger":    func(to *Config) { to.Ledger = "other" },
		"another directory": func(to *Config) { to.Data += "2" },
		"embedded":          func(to *Config) { to.Store = StoreConfig{Engine: storeEmbedded} },
		"keys in Vault":     func(to *Config) { to.Keys.Custodian = keysVault },
	} {
		to := target(c, logServer(t))
		change(to)
		if m, err := Migrate(t.Context(), c, to, MigrateOptions{Options: clock.options(t)}); err == nil {
			t.Errorf("%s: %+v", what, m)
		}
	}
}

func wantRefused(t *testing.T, what string, c *Config, s *esdbtest.Server, clock *shift, stream string) {
	t.Helper()
	_, err := migrate(t, c, s, clock)
	var said *api.Error
	if !errors.As(err, &said) || said.Code != api.CodeRefused || !strings.Contains(said.Message, stream) {
		t.Errorf("%s: %v", what, err)
	}
}

// TestADisposalInProgressIsFinishedFirst, because it counts by positions.
func TestADisposalInProgressIsFinishedFirst(t *testing.T) {
	c := testConfig(t, t.TempDir(), upstream(t))
	clock := &shift{}
	r := serveWith(t, c, clock.options(t))
	if _, err := r.custodian.PutDocument(t.Context(), "disposal", 0, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	r.stop()
	_, err := migrate(t, c, logServer(t), clock)
	var said *api.Error
	if !errors.As(err, &said) || said.Code != api.CodeRefused {
		t.Errorf("migrated with %v", err)
	}
}

// TestTheCopyIsVerified: a store that loses or changes what it acknowledged is
// found out.
func TestTheCopyIsVerified(t *testing.T) {
	c := testConfig(t, t.TempDir(), upstream(t))
	clock := &shift{}
	r := serveWith(t, c, clock.options(t))
	r.visit(t, "bob", 5)
	r.stop()
	for what, lie := range map[string]func(e []domain.Sealed) []domain.Sealed{
		"bytes": func(e []domain.Sealed) []domain.Sealed {
			return []domain.Sealed{domain.NewSealed(e[0].ID(), e[0].Stream(), e[0].Type(), e[0].Envelope(), []byte("other"))}
		},
		"id": func(e []domain.Sealed) []domain.Sealed {
			return []domain.Sealed{domain.NewSealed(domain.New[domain.EventID](), e[0].Stream(), e[0].Type(), e[0].Envelope(), e[0].Data())}
		},
	} {
		stores(t, c, logServer(t), func(old, copied eventstore.Store) {
			leaves, err := tlog.Open(filepath.Join(c.Data, "tlog"), c.Ledger, tlog.OS{})
			if err != nil {
				t.Fatal(err)
			}
			x, err := newTransfer(old, &lying{Store: copied, lie: lie}, c.Ledger, leaves, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := x.run(t.Context()); !errors.Is(err, errUnlike) || x.done.Verified {
				t.Errorf("%s: %+v, %v", what, x.done, err)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(c.Data, "views")); err != nil {
		t.Error(err)
	}
}

// lying stores something else once, where one event is appended to a stream.
type lying struct {
	eventstore.Store
	lie  func([]domain.Sealed) []domain.Sealed
	lied bool
}

func (l *lying) Append(ctx context.Context, s domain.Stream, r domain.Revision, e []domain.Sealed) (eventstore.Appended, error) {
	if !l.lied && len(e) == 1 && r == domain.NoStream {
		l.lied, e = true, l.lie(e)
	}
	return l.Store.Append(ctx, s, r, e)
}

// TestALongTruncationIsFilledInPieces, also where an earlier run ended in between.
func TestALongTruncationIsFilledInPieces(t *testing.T) {
	const events, gone = 2*fillerEvents + 300, 2*fillerEvents + 200
	c := testConfig(t, t.TempDir(), upstream(t))
	s := domain.StreamsOf(c.Ledger).Destruction()
	log := logServer(t)
	stores(t, c, log, func(old, copied eventstore.Store) {
		for at := domain.NoStream; at < events-1; {
			batch := make([]domain.Sealed, 100)
			for i := range batch {
				batch[i] = domain.NewSealed(domain.New[domain.EventID](), s, domain.DestructionBegun, []byte("{}"), []byte{byte(i)})
			}
			if _, err := old.Append(t.Context(), s, at, batch); err != nil {
				t.Fatal(err)
			}
			at += 100
		}
		if err := old.Truncate(t.Context(), s, gone); err != nil {
			t.Fatal(err)
		}
		leaves, err := tlog.Open(t.TempDir(), c.Ledger, tlog.OS{})
		if err != nil {
			t.Fatal(err)
		}
		for _, left := range []int64{2, 100} {
			x, err := newTransfer(old, &cutting{Store: copied, left: left}, c.Ledger, leaves, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = x.run(t.Context())
			if cut := left == 2; cut != errors.Is(err, errCutOff) || !cut && (err != nil || x.done.Filled != gone || x.done.Events != events-gone) {
				t.Fatalf("%+v, %v", x.done, err)
			}
		}
		sameStream(t, s, old, copied)
	})
}
