package lethe

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lxzan/gws"
	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
)

// A fillable log takes nothing while it is full.
type fillable struct {
	ledger.Log
	full atomic.Bool
}

func (f *fillable) Append(ctx context.Context, s domain.Stream, expected domain.Revision, events []domain.Sealed) (eventstore.Appended, error) {
	if f.full.Load() {
		return eventstore.Appended{}, eventstore.ErrFull
	}
	return f.Log.Append(ctx, s, expected, events)
}

func (f *fillable) AppendMany(ctx context.Context, appends []eventstore.Append) []eventstore.Result {
	if !f.full.Load() {
		return f.Log.AppendMany(ctx, appends)
	}
	results := make([]eventstore.Result, len(appends))
	for i := range results {
		results[i].Err = eventstore.ErrFull
	}
	return results
}

// A fillableSetUp is a gateway whose ledger can be made to take no more.
type fillableSetUp struct {
	*running
	fill, drain func()
}

const messageSize = 100

// fullConfig hands every message over by itself, so that few fill what is bounded.
func fullConfig(t *testing.T, c *Config, word string) *Config {
	t.Helper()
	c.Policy.Pools[0].OnLedgerFailure = word
	c.Policy.Pools[0].Flush.Records = 1
	return c
}

// onOutbox is a gateway beyond one machine: its outbox is small, and its log goes
// away.
func onOutbox(t *testing.T, word string) *fillableSetUp {
	t.Helper()
	log := logServer(t)
	c := fullConfig(t, remoteConfig(t, t.TempDir(), upstream(t), log), word)
	c.Store.Outbox.Size = 1 << 20
	return &fillableSetUp{running: serveQuietly(t, c), fill: log.Stop, drain: func() {
		if err := log.Restart(); err != nil {
			t.Fatal(err)
		}
	}}
}

// onOneMachine is a gateway whose disk is full.
func onOneMachine(t *testing.T, word string) *fillableSetUp {
	t.Helper()
	disk := &fillable{}
	r := serveQuietly(t, fullConfig(t, testConfig(t, t.TempDir(), upstream(t)), word), func(l *Lethe) {
		disk.Log = l.ledger.Log
		l.ledger.Log = disk
	})
	return &fillableSetUp{running: r, fill: func() { disk.full.Store(true) }, drain: func() { disk.full.Store(false) }}
}

// serveQuietly leaves out what each try of each event says.
func serveQuietly(t *testing.T, c *Config, edits ...func(*Lethe)) *running {
	t.Helper()
	return serveWith(t, c, Options{Logger: zerolog.Nop(), Version: "test"}, edits...)
}

// A pouring client has sent messages, of which some have come back.
type pouring struct {
	*client
	name string
	sent atomic.Int64
	back atomic.Int64
}

func pourer(t *testing.T, r *running, name string) *pouring {
	t.Helper()
	p := &pouring{client: dial(t, r.Gateway, name), name: name}
	go func() {
		for range p.got {
			p.back.Add(1)
		}
	}()
	return p
}

// pour sends n messages and does not wait for their echoes.
func (p *pouring) pour(n int) {
	text := strings.Repeat("x", messageSize)
	for range n {
		if p.conn.WriteString(text) != nil {
			return
		}
		p.sent.Add(1)
	}
}

func (p *pouring) echoed() bool { return p.back.Load() == p.sent.Load() }

// twoWorkers are people whose records go through both queues of a recorder.
func twoWorkers(t *testing.T, r *running) (people []*pouring) {
	t.Helper()
	seen := map[byte]bool{}
	for i := 0; len(seen) < 2; i++ {
		name := fmt.Sprint("person", i)
		p := pourer(t, r, name)
		p.pour(1)
		await(t, "the first record", func() bool { return records(r.show(t, name), "messages", "present") == 2 })
		ref, err := domain.Parse[domain.SubjectRef](r.show(t, name).Subject.Ref)
		if err != nil {
			t.Fatal(err)
		}
		if seen[ref[0]%2] {
			_ = p.conn.NetConn().Close()
			continue
		}
		seen[ref[0]%2] = true
		people = append(people, p)
	}
	return people
}

// TestAFullLedger: what each policy does while the ledger takes no more, and what
// stands in the log when it does again. With block and refuse nothing is missing;
// with pass what is missing is counted.
//
// Proves: INV-10
func TestAFullLedger(t *testing.T) {
	t.Parallel()
	for setUp, open := range map[string]func(*testing.T, string) *fillableSetUp{"outbox": onOutbox, "one machine": onOneMachine} {
		for _, word := range []string{domain.FailureBlock, domain.FailureRefuse, domain.FailurePass} {
			t.Run(setUp+"/"+word, func(t *testing.T) {
				t.Parallel()
				fullLedger(t, open(t, word), word)
			})
		}
	}
}

func fullLedger(t *testing.T, s *fillableSetUp, word string) {
	t.Helper()
	people := twoWorkers(t, s.running)
	s.fill()
	for _, p := range people {
		go p.pour(2500)
	}
	all := func() bool {
		return !slices.ContainsFunc(people, func(p *pouring) bool { return p.sent.Load() < 2501 || !p.echoed() })
	}
	if word == domain.FailurePass {
		eventually(t, "every message crosses", all)
		late := pourer(t, s.running, "late")
		late.pour(50)
		people = append(people, late)
		eventually(t, "and those of who comes now", late.echoed)
	} else {
		stalls(t, people)
	}
	if word == domain.FailureRefuse {
		_, answer, err := gws.NewClient(&client{}, &gws.ClientOption{Addr: s.Gateway + "/?user=late"})
		if err == nil || answer == nil || answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a new socket gets %v, %v", answer, err)
		}
	}
	s.drain()
	if word == domain.FailurePass {
		gapsAccount(t, s.running, people)
		return
	}
	for _, p := range people {
		eventually(t, "everything of "+p.name, func() bool {
			show, err := s.SubjectShow(t.Context(), legal, p.name)
			return err == nil && all() && records(show, "messages", "present") == 5002
		})
	}
	if missing := s.edge.Load().recorder.Missing(); len(missing) != 0 {
		t.Errorf("missing: %+v", missing)
	}
}

// eventually is await for what a busy machine may take long for.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 90 s", what)
		}
	}
}

// stalls waits until nothing comes back any more, though not everything has.
func stalls(t *testing.T, people []*pouring) {
	t.Helper()
	for _, p := range people {
		last, same := int64(-1), 0
		eventually(t, p.name+" stalls", func() bool {
			now := p.back.Load()
			if same++; now != last {
				last, same = now, 0
			}
			return same > 20
		})
		if last >= 2501 {
			t.Errorf("all messages of %s crossed a ledger that is full", p.name)
		}
	}
}

// gapsAccount asks that what was recorded and what gaps say is missing are what crossed,
// exactly, in the counts, and rounded as FORMAT §3 has it in the log.
func gapsAccount(t *testing.T, r *running, people []*pouring) {
	t.Helper()
	e := r.edge.Load()
	eventually(t, "gaps noted", func() bool { return e.gaps.count() == 0 && e.recorder.Waiting() == 0 })
	var crossed, recorded int64
	eventually(t, "recorded and missing are what crossed", func() bool {
		crossed, recorded = 0, 0
		for _, p := range people {
			show, err := r.SubjectShow(t.Context(), legal, p.name)
			if err != nil {
				return false
			}
			crossed += 2 * p.back.Load()
			recorded += records(show, "messages", "present")
		}
		return recorded+e.recorder.Missing()[0].Messages == crossed
	})
	missing := e.recorder.Missing()[0]
	if missing.Messages == 0 || missing.Bytes != missing.Messages*messageSize || missing.Connections < 2 || missing.Connections > missing.Gaps*int64(len(people)) {
		t.Errorf("missing: %+v", missing)
	}
	noted, err := r.views.Gaps(t.Context())
	if err != nil || int64(len(noted)) != missing.Gaps {
		t.Fatalf("%d gaps are noted of %d: %v", len(noted), missing.Gaps, err)
	}
	var connections, bytes int64
	for _, g := range noted {
		connections, bytes = connections+g.Connections, bytes+g.Bytes
		if g.Pool != e.lethe.cfg.Policy.Pools[0].ID || g.Since > g.Until || g.Bytes != int64(domain.Padme(uint64(g.Bytes))) { //nolint:gosec // a size
			t.Errorf("gap %+v", g)
		}
	}
	rounded := int64(domain.Padme(uint64(missing.Bytes))) //nolint:gosec // a size
	if connections != missing.Connections || bytes < missing.Bytes || len(noted) == 1 && bytes != rounded {
		t.Errorf("noted %+v of %+v", noted, missing)
	}
	shown(t, r, len(noted))
}

// shown asks that doctor, the views, their rebuild and a replay say how many gaps
// there are.
func shown(t *testing.T, r *running, gaps int) {
	t.Helper()
	d, err := r.Doctor(t.Context(), legal)
	if err != nil {
		t.Fatal(err)
	}
	said := false
	for _, f := range d.Findings {
		said = said || f.Subject == "gaps" && f.Level == "note" && strings.HasPrefix(f.Message, fmt.Sprintf("%d gaps are in the record", gaps))
	}
	if !said {
		t.Errorf("doctor says nothing of %d gaps: %+v", gaps, d.Findings)
	}
	sameAsRebuilt(t, r)
	time.Sleep(1100 * time.Millisecond) // time is noted by the second
	if err := r.edge.Load().noteTime(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "replay.db")
	if _, err := r.Replay(t.Context(), legal, time.Now(), path, nil); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	var listed, counted int
	err = errors.Join(db.QueryRowContext(t.Context(), "SELECT count(*) FROM gaps").Scan(&listed),
		db.QueryRowContext(t.Context(), "SELECT sum(gaps) FROM pools").Scan(&counted), db.Close())
	if err != nil || listed != gaps || counted != gaps {
		t.Errorf("the replay lists %d gaps and counts %d, want %d: %v", listed, counted, gaps, err)
	}
}
