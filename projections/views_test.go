package projections_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// id makes a readable id.
func id(n byte) [16]byte { return [16]byte{0: n, 6: 0x40, 8: 0x80} }

func chat() domain.Fact { return domain.Name("pool", "chat") }

func conn(n byte) domain.Fact { return domain.UUID("connection", domain.ConnectionID(id(n))) }

// want compares a relation with lines of its rows, values apart by spaces.
func want(t *testing.T, p *projections.Projector, relation string, lines ...string) {
	t.Helper()
	var got []string
	for _, row := range rows(t, p, relation) {
		s := strings.TrimSuffix(fmt.Sprintln(row...), "\n")
		for n := range byte(16) {
			s = strings.ReplaceAll(s, domain.SubjectRef(id(n)).String(), fmt.Sprintf("#%d", n))
		}
		got = append(got, s)
	}
	if !slices.Equal(got, lines) {
		t.Errorf("%s:\n%s\nwant:\n%s", relation, strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

// kind and others are the facts of a destruction with command n.
func destruction(kind domain.DestructionKind, n byte, more ...domain.Fact) []domain.Fact {
	return append([]domain.Fact{domain.Name("kind", kind), domain.UUID("command", domain.CommandID(id(n)))}, more...)
}

func destroy(w *viewtest.Writer, facts []domain.Fact) domain.Recorded {
	w.Destroyed(domain.DestructionBegun, facts...)
	return w.Destroyed(domain.DestructionDone, append(facts, domain.Int("keys", 3), domain.Int("journal", 7))...)
}

func TestConnections(t *testing.T) {
	w := viewtest.NewWriter()
	life, messages := erasable(id(1), "lifecycle"), erasable(id(1), "messages")
	w.Person(life, domain.ConnectionOpened, 1, chat(), conn(2), domain.Int("tls", 13))
	w.Person(messages, domain.TrafficRecorded, 5, chat(), conn(2))
	w.Person(life, domain.ConnectionIdled, 1, chat(), conn(2))
	w.Person(life, domain.ConnectionOpened, 1, chat(), conn(3))
	p := caughtUp(t, w, t.TempDir())
	want(t, p, "connections",
		"#1 #2 chat idle 2026-11-23T10Z <nil> <nil> <nil> 5 13",
		"#1 #3 chat open 2026-11-23T10Z <nil> <nil> <nil> 0 <nil>")
	w.Now = w.Now.Add(15 * time.Hour) // the next day, and so another bucket
	w.Person(life, domain.ConnectionResumed, 1, chat(), conn(2))
	w.Person(messages, domain.TrafficRecorded, 3, chat(), conn(2))
	w.Person(life, domain.ConnectionClosed, 1, chat(), conn(2), domain.Int("close", 1001), domain.Name("reason", "going-away"))
	check(t, p.CatchUp(t.Context()))
	list, err := p.ConnectionsOf(t.Context(), id(1))
	check(t, err)
	closed := projections.Connection{
		Ref: domain.SubjectRef(id(1)).String(), ID: domain.SubjectRef(id(2)).String(), Pool: "chat", State: "closed",
		Opened: "2026-11-23T10Z", Closed: "2026-11-24T01Z", Close: 1001, Reason: "going-away", Messages: 8, TLS: 13,
	}
	if len(list) != 2 || list[0] != closed || projections.CountOpen(list) != 1 {
		t.Fatalf("connections %+v", list)
	}
}

func TestHoldingsAndWhatDestructionsTake(t *testing.T) {
	w := viewtest.NewWriter()
	for n := byte(1); n <= 3; n++ {
		w.Person(erasable(id(n), "messages"), domain.TrafficRecorded, 5, chat(), conn(9))
		w.Person(erasable(id(n), "lifecycle"), domain.ConnectionOpened, 1, chat(), conn(9))
	}
	w.Now = w.Now.AddDate(0, 0, 1)
	w.Person(erasable(id(3), "messages"), domain.TrafficRecorded, 2, chat(), conn(9))
	anon := viewtest.Place{Scope: domain.Erasable, Ref: id(4), Class: "messages", Tier: domain.AnonTier, Gen: 1, Block: id(8)}
	w.Person(anon, domain.TrafficRecorded, 1, chat(), conn(9))
	p := caughtUp(t, w, t.TempDir())
	life1 := " lifecycle 0 2026-11-23 1 e 1 1 2026-11-23T10Z 2026-11-23T10Z 2027-05-23T00:00:00Z present"
	mess1 := " messages 0 2026-11-23 1 e 1 5 2026-11-23T10Z 2026-11-23T10Z 2026-12-23T00:00:00Z present"
	mess2 := " messages 0 2026-11-24 1 e 1 2 2026-11-24T10Z 2026-11-24T10Z 2026-12-24T00:00:00Z present"
	anon2 := "#4 messages anon 2026-11-24 1 e 1 1 2026-11-24T10Z 2026-11-24T10Z 2026-12-24T00:00:00Z "
	want(t, p, "holdings", "#1"+life1, "#1"+mess1, "#2"+life1, "#2"+mess1, "#3"+life1, "#3"+mess1, "#3"+mess2, anon2+"present")

	destroy(w, destruction(projections.KindSubject, 11, domain.UUID("ref", domain.SubjectRef(id(1)))))
	destroy(w, destruction(projections.KindClass, 12, domain.UUID("ref", domain.SubjectRef(id(2))), domain.List("classes", []string{"messages:1"})))
	destroy(w, destruction(projections.KindRange, 13, domain.UUID("ref", domain.SubjectRef(id(3))),
		domain.List("classes", []string{"messages:1"}), domain.List("buckets", []string{"messages/0/2026-11-23"})))
	done := destroy(w, destruction(projections.KindRetention, 14, domain.List("buckets", []string{"messages/anon/2026-11-24"})))
	late := erasable(id(2), "messages") // of a node that was cut off
	w.Person(late, domain.TrafficRecorded, 4, chat(), conn(9))
	check(t, p.CatchUp(t.Context()))
	want(t, p, "holdings", "#2"+life1,
		"#2 messages 0 2026-11-24 1 e 1 4 2026-11-24T10Z 2026-11-24T10Z 2026-12-24T00:00:00Z erased",
		"#3"+life1, "#3"+mess2, anon2+"expired")
	want(t, p, "totals", "chat lifecycle 0 2026-11-23 1 1 0 0", "chat messages 0 2026-11-23 3 15 0 0")
	of, err := p.HoldingsOf(t.Context(), id(4))
	check(t, err)
	if len(of) != 1 || of[0].State != "expired" || of[0].Records != 1 {
		t.Fatalf("holdings of an anonymous ref: %+v", of)
	}
	want(t, p, "retention",
		"lifecycle 0 2026-11-23 2027-05-23T00:00:00Z live <nil>",
		"messages 0 2026-11-23 2026-12-23T00:00:00Z live <nil>",
		"messages 0 2026-11-24 2026-12-24T00:00:00Z live <nil>",
		fmt.Sprintf("messages anon 2026-11-24 2026-12-24T00:00:00Z expired %s", done.Position))
	disposals(t, w, p)
}

// disposals goes on where the destructions ended.
func disposals(t *testing.T, w *viewtest.Writer, p *projections.Projector) {
	t.Helper()
	key := domain.RetentionKey{Class: "messages", Tier: "0", Bucket: "2026-11-23"}
	total := projections.Total{Pool: "chat", Key: key, Events: 2, Records: 10}
	w.Disposed(domain.SubjectDisposed, domain.List("commands", []string{domain.CommandID(id(11)).String(), domain.CommandID(id(12)).String()}),
		domain.List("totals", []string{total.String()}))
	w.Disposed(domain.BucketDisposed, domain.Name("kind", projections.KindRetention), domain.Name("class", "messages"),
		domain.Name("tier", domain.AnonTier), domain.Name("bucket", "2026-11-24"))
	check(t, p.CatchUp(t.Context()))
	if of, err := p.HoldingsOf(t.Context(), id(2)); err != nil || len(of) != 1 || of[0].Class != "lifecycle" {
		t.Fatalf("late data of a disposed gen: %+v, %v", of, err)
	}
	want(t, p, "totals", "chat messages 0 2026-11-23 1 5 2 10")
	if of, err := p.HoldingsOf(t.Context(), id(4)); err != nil || len(of) != 0 {
		t.Fatalf("a disposed bucket: %+v, %v", of, err)
	}
	n, all := strings.Count(fmt.Sprint(rows(t, p, "erasures")), "disposed"), len(rows(t, p, "erasures"))
	if n != 2 || all != 4 {
		t.Fatalf("%d of %d destructions are disposed of, want 2 of 4", n, all)
	}
}

func TestDueFollowsThePolicy(t *testing.T) {
	w := viewtest.NewWriter()
	put := func() { w.Person(erasable(id(1), "messages"), domain.TrafficRecorded, 1, chat(), conn(9)) }
	put()
	p := caughtUp(t, w, t.TempDir())
	want(t, p, "retention", "messages 0 2026-11-23 2026-12-23T00:00:00Z live <nil>")
	w.Now = w.Now.Add(time.Hour)
	w.Revise(viewtest.Policy("P6M", "P7D"))
	check(t, p.CatchUp(t.Context()))
	want(t, p, "retention", "messages 0 2026-11-23 2026-11-30T00:00:00Z live <nil>")
	w.Now = w.Now.AddDate(0, 0, 1)
	put()
	w.Revise(viewtest.Policy("P6M", "P90D"))
	w.Now = w.Now.AddDate(0, 0, 1)
	put()
	check(t, p.CatchUp(t.Context()))
	want(t, p, "retention",
		"messages 0 2026-11-23 2026-11-30T00:00:00Z live <nil>",
		"messages 0 2026-11-24 2026-12-01T00:00:00Z live <nil>",
		"messages 0 2026-11-25 2027-02-23T00:00:00Z live <nil>")
}

func TestErasuresRequestsAndReceipts(t *testing.T) {
	w := viewtest.NewWriter()
	rights := viewtest.Place{Scope: domain.Obligated, Ref: id(1), Class: domain.ClassRights, Tier: "0", Gen: 1}
	request := domain.UUID("request", domain.RequestID(id(2)))
	w.Person(rights, domain.RequestReceived, 1, request, domain.Name("kind", "erasure"))
	w.Person(rights, domain.RequestDecided, 1, request, domain.Name("outcome", "erase"))
	p := caughtUp(t, w, t.TempDir())
	want(t, p, "requests", "#1 #2 erasure decided erase 2026-11-23T10Z <nil> <nil> <nil> <nil> <nil>")
	w.Destroyed(domain.DestructionBegun, destruction(projections.KindSubject, 5, domain.UUID("ref", domain.SubjectRef(id(3))))...)
	check(t, p.CatchUp(t.Context()))
	want(t, p, "erasures", "#5 subject #3 <nil> <nil> 0 <nil> <nil> begun 2026-11-23T10Z 4")
	w.Destroyed(domain.DestructionDone, destruction(projections.KindSubject, 5, domain.UUID("ref", domain.SubjectRef(id(3))), domain.Int("keys", 3), domain.Int("journal", 7))...)
	receipt := w.Person(rights, domain.RequestReceipted, 1, request, domain.UUID("receipt", domain.ReceiptID(id(6))))
	w.Person(rights, domain.RequestCompleted, 1, request)
	check(t, p.CatchUp(t.Context()))
	want(t, p, "erasures", "#5 subject #3 <nil> <nil> 0 3 7 done 2026-11-23T10Z 4")
	r, err := p.Receipt(t.Context(), id(6))
	check(t, err)
	if r.State != "completed" || r.ReceiptStream != receipt.Stream() || r.ReceiptRevision != receipt.Revision || r.ReceiptPosition != 6 {
		t.Fatalf("receipt %+v", r)
	}
	if _, err := p.Receipt(t.Context(), id(7)); !errors.Is(err, domain.ErrNotFound) {
		t.Fatalf("a receipt that is none: %v", err)
	}
}

func TestAccessAndPools(t *testing.T) {
	w := viewtest.NewWriter()
	w.Person(erasable(id(1), domain.ClassAccess), domain.AccessOpened, 1)
	w.Person(erasable(id(1), domain.ClassAccess), domain.AccessOpened, 1)
	acts := viewtest.Place{Scope: domain.Obligated, Ref: id(2), Class: domain.ClassActs, Tier: "0", Gen: 1}
	w.Person(acts, domain.ActPerformed, 1, domain.Name("action", "export"))
	w.Person(erasable(id(1), "lifecycle"), domain.ConnectionOpened, 1, chat(), conn(9))
	w.Person(erasable(id(3), "messages"), domain.TrafficRecorded, 5, chat(), conn(9))
	w.Node(domain.ConnectionRefused, chat(), domain.Name("reason", "limit"), domain.Int("count", 4))
	gap := w.Node(domain.GapRecorded, chat(), domain.Int("from", 1), domain.Int("to", 2), domain.Int("connections", 3), domain.Int("bytes", 64))
	p := caughtUp(t, w, t.TempDir())
	want(t, p, "access", "#1 2026-11-23T10Z opened  access 0 1 2", "#2 2026-11-23T10Z act export acts 0 1 1")
	want(t, p, "pools", "chat 2026-11-23T10Z 1 0 5 0 4 1")
	want(t, p, "refusals", "chat 2026-11-23T10Z limit 4")
	node := w.Streams.Node("2026-11-23", id(7))
	want(t, p, "gaps", "1 2 lethe.test.node-2026-11-23-#7 "+fmt.Sprint(gap.Revision)+" chat 3 64")
	node = domain.Stream(strings.Replace(string(node), domain.WriterID(id(7)).String(), domain.WriterID{0: 7, 6: 0x40, 8: 0x80}.String(), 1))
	w.Disposed(domain.StreamDisposed, domain.Name("stream", node), domain.Int("revision", 1))
	check(t, p.CatchUp(t.Context()))
	want(t, p, "pools", "chat 2026-11-23T10Z 1 0 5 0 0 1")
	w.Disposed(domain.StreamDisposed, domain.Name("stream", node), domain.Int("revision", 2))
	check(t, p.CatchUp(t.Context()))
	want(t, p, "gaps")
}

func TestPagesJoinWithoutGapOrDouble(t *testing.T) {
	w := viewtest.NewWriter()
	for n := byte(1); n <= 25; n++ {
		w.Person(erasable(id(n), "messages"), domain.TrafficRecorded, uint32(n), chat(), conn(9))
	}
	p := caughtUp(t, w, t.TempDir())
	seen, q := map[any]bool{}, projections.Query{Relation: "holdings", Limit: 10, Where: map[string]any{"class": "messages"}}
	for pages := 1; ; pages++ {
		page, err := p.Query(t.Context(), q)
		check(t, err)
		for _, row := range page.Rows {
			seen[row[0]] = true
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			if pages != 3 || len(seen) != 25 {
				t.Fatalf("%d pages with %d rows", pages, len(seen))
			}
			break
		}
	}
	for _, bad := range []projections.Query{
		{Relation: "holdings", Cursor: "!"}, {Relation: "holdings", Cursor: "e30"}, {Relation: "holdings", Where: map[string]any{"1=1; --": 1}},
	} {
		if _, err := p.Query(t.Context(), bad); !errors.Is(err, projections.ErrQuery) {
			t.Errorf("query %+v: %v", bad, err)
		}
	}
	if _, err := p.Query(t.Context(), projections.Query{Relation: "sqlite_master"}); !errors.Is(err, projections.ErrNoView) {
		t.Errorf("a table that is no view was queried: %v", err)
	}
}

func TestTotalsReadBack(t *testing.T) {
	for _, s := range []string{"chat/messages/0/2026-11-23:5:320", "-/access/0/2026-11:1:1", "chat/messages/P7D/2026-11-23T10:41:5:320"} {
		total, err := projections.ParseTotal(s)
		if err != nil || total.String() != s {
			t.Errorf("%s reads as %+v, %v", s, total, err)
		}
	}
	for _, s := range []string{"", "chat/messages/0/2026-11-23:5", "chat/messages/2026-11-23:5:1", "chat/messages/0/2026-13-23:5:1", "/messages/0/2026-11-23:5:1", "chat/messages/0/2026-11-23:-5:1"} {
		if _, err := projections.ParseTotal(s); !errors.Is(err, projections.ErrFacts) {
			t.Errorf("%q reads with %v", s, err)
		}
	}
}
