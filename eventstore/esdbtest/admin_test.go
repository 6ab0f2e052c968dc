package esdbtest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/metadata"
)

// request calls the admin API and answers code and body.
func request(t *testing.T, s *Server, user, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.Admin()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		name, password, _ := strings.Cut(user, ":")
		req.SetBasicAuth(name, password)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	for buf := make([]byte, 4096); ; {
		n, err := resp.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return resp.StatusCode, b.String()
		}
	}
}

// scavenge runs one and waits for its result.
func scavenge(t *testing.T, s *Server) string {
	t.Helper()
	code, body := request(t, s, "", http.MethodPost, "/admin/scavenge?threshold=0", "")
	if code != http.StatusOK {
		t.Fatalf("scavenge: %d %s", code, body)
	}
	for range 200 {
		if last := lastScavenge(t, s); last.Result != "InProgress" {
			if !strings.Contains(body, last.ID) {
				t.Errorf("started %s, ended %s", body, last.ID)
			}
			return last.Result
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the scavenge does not end")
	return ""
}

func lastScavenge(t *testing.T, s *Server) scavengeAnswer {
	t.Helper()
	code, body := request(t, s, "", http.MethodGet, "/admin/scavenge/last", "")
	var out scavengeAnswer
	if err := json.Unmarshal([]byte(body), &out); err != nil || code != http.StatusOK {
		t.Fatalf("last scavenge: %d %s", code, body)
	}
	return out
}

// TestScavengeRemovesWhatNobodyReads repeats what was seen on a real server: the
// last event of every stream stays, but of a tombstoned one nothing does.
func TestScavengeRemovesWhatNobodyReads(t *testing.T) {
	k := with1(t, Options{})
	marker := func(stream, label string) string { return "marker-" + stream + "-" + label }
	for _, name := range []string{"u", "s", "t", "x", "c"} {
		for i := range 3 {
			label := fmt.Sprintf("%s%d", name, i)
			k.one(k.st(name), "Any", label, func(m *api.AppendReq_ProposedMessage) { m.Data = []byte(marker(name, label)) })
		}
	}
	p := k.mark()
	k.soft(k.st("s"), "Any")
	k.hard(k.st("t"), "Any")
	k.meta(k.st("x"), `{"$tb":100}`)
	k.meta(k.st("c"), `{"$maxCount":2}`)
	want(t, "result", scavenge(t, k.s), "Success")
	left := map[string]int{"u": 3, "s": 1, "t": 0, "x": 1, "c": 2}
	for name, n := range left {
		got := 0
		for i := range 3 {
			if k.s.Holds([]byte(marker(name, fmt.Sprintf("%s%d", name, i)))) {
				got++
			}
		}
		if got != n {
			t.Errorf("stream %s: %d events left, want %d", name, got, n)
		}
	}
	want(t, "all", k.tokens(with(all(), filter(byStream("^F-")))), "u0 u1 u2 s2 x2 c1 c2 mark t:$streamDeleted#maxint64")
	want(t, "a position whose event is gone", k.read(with(all(), limit(1), filter(byStream("^F-")))), "u0 EOF")
	want(t, "retry of what is gone", k.app(k.st("x"), "NoStream", "x0", "x1", "x2"), "WEV{cur20=2")
	want(t, "the stream goes on", k.app(k.st("x"), 2, "x3"), "ok rev=3")
	want(t, "from the mark", k.read(with(all(), at(p, p), limit(1))), "mark EOF")
	if k.s.Scavenges() != 1 {
		t.Errorf("%d scavenges, want 1", k.s.Scavenges())
	}
}

func TestPositionOfAScavengedEventIsStillAPlace(t *testing.T) {
	k := with1(t, Options{})
	p := k.laid()
	k.hard(k.st("b"), "Any")
	scavenge(t, k.s)
	want(t, "read", k.read(with(all(), at(p["f0"], p["f0"]), limit(2))), "g0 g1 EOF")
	want(t, "subscription", k.listen(with(all(), at(p["f0"], p["f0"]))).take(3), "conf g0 g1")
}

func TestScavengeIsPerServer(t *testing.T) {
	c, k := cluster(t, 2)
	k[0].one(k[0].st("a"), "Any", "e0", func(m *api.AppendReq_ProposedMessage) { m.Data = []byte("secret") })
	k[0].hard(k[0].st("a"), "Any")
	a, b := c.Servers()[0], c.Servers()[1]
	scavenge(t, a)
	if a.Holds([]byte("secret")) || !b.Holds([]byte("secret")) || b.Scavenges() != 0 {
		t.Error("one scavenge is not one server's")
	}
	want(t, "scavenged", k[0].tokens(with(all(), filter(byStream("", k[0].st("a"))))), "a:$streamDeleted#maxint64")
	want(t, "not scavenged", k[1].tokens(with(all(), filter(byStream("", k[0].st("a"))))), "e0 a:$streamDeleted#maxint64")
	scavenge(t, b)
	if b.Holds([]byte("secret")) {
		t.Error("both have scavenged, and one still has it")
	}
}

func TestScavengeStates(t *testing.T) {
	k := with1(t, Options{ScavengeDelay: time.Minute})
	want(t, "before any", lastScavenge(t, k.s).Result, "Unknown")
	code, body := request(t, k.s, "", http.MethodPost, "/admin/scavenge", "")
	id := lastScavenge(t, k.s).ID
	if code != http.StatusOK || !strings.Contains(body, id) {
		t.Errorf("start: %d %s", code, body)
	}
	want(t, "running", lastScavenge(t, k.s).Result, "InProgress")
	if code, _ := request(t, k.s, "", http.MethodPost, "/admin/scavenge", ""); code != http.StatusBadRequest {
		t.Errorf("a second one: %d", code)
	}
	if _, body := request(t, k.s, "", http.MethodGet, "/admin/scavenge/current", ""); !strings.Contains(body, id) {
		t.Errorf("current: %s", body)
	}
	if code, _ := request(t, k.s, "", http.MethodDelete, "/admin/scavenge/"+id, ""); code != http.StatusOK {
		t.Errorf("stop: %d", code)
	}
	want(t, "stopped", lastScavenge(t, k.s).Result, "Stopped")
	if code, _ := request(t, k.s, "", http.MethodDelete, "/admin/scavenge/"+id, ""); code != http.StatusNotFound {
		t.Errorf("stop again: %d", code)
	}
	if err := k.s.Restart(); err != nil {
		t.Fatal(err)
	}
	want(t, "forgotten by a restart", lastScavenge(t, k.s).Result, "Unknown")
}

func TestScavengeFails(t *testing.T) {
	k := with1(t, Options{})
	k.three()
	k.hard(k.st("a"), "Any")
	k.s.SetHooks(Hooks{Scavenge: func() error { return errors.New("disk full") }})
	want(t, "result", scavenge(t, k.s), "Errored")
	if !k.s.Holds([]byte("data of e0")) || k.s.Scavenges() != 0 {
		t.Error("a failed scavenge removed something, or counts")
	}
}

func TestNoLastScavenge(t *testing.T) {
	k := with1(t, Options{NoLastScavenge: true})
	code, _ := request(t, k.s, "", http.MethodPost, "/admin/scavenge", "")
	if code != http.StatusOK {
		t.Fatalf("scavenge: %d", code)
	}
	if code, _ := request(t, k.s, "", http.MethodGet, "/admin/scavenge/last", ""); code != http.StatusMethodNotAllowed && code != http.StatusNotFound {
		t.Errorf("last: %d", code)
	}
	for range 200 {
		if s := k.read(with(all(), filter(byType("", "$scavengeCompleted")))); s != "EOF" {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("the end of the scavenge is not in the log")
}

func TestInfo(t *testing.T) {
	k := with1(t, Options{Version: "24.10.1"})
	if code, body := request(t, k.s, "", http.MethodGet, "/info", ""); code != http.StatusOK || !strings.Contains(body, `"esVersion":"24.10.1.0"`) || !strings.Contains(body, `"state":"leader"`) {
		t.Errorf("info: %d %s", code, body)
	}
	want(t, "version", drivers()["F01"](k), "dotted-integers 24.10.1")
}

// as is a kit with credentials.
func (k *kit) as(user string) *kit {
	out := *k
	out.ctx = metadata.AppendToOutgoingContext(k.ctx, "authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user)))
	return &out
}

// TestLeastPrivilege holds the rights of four accounts to what was seen on a
// secured server; the lists are written as an operator writes them.
func TestLeastPrivilege(t *testing.T) {
	k := with1(t, Options{Accounts: []Account{}})
	for _, u := range []string{"writer", "reader", "disposer"} {
		if code, body := request(t, k.s, "admin:changeit", http.MethodPost, "/users/", fmt.Sprintf(`{"loginName":%q,"fullName":"x","groups":["lethe-%s"],"password":"p"}`, u, u)); code != http.StatusCreated {
			t.Fatalf("create %s: %d %s", u, code, body)
		}
	}
	if code, _ := request(t, k.s, "admin:changeit", http.MethodPost, "/users/", `{"loginName":"scavenger","groups":["$ops"],"password":"p"}`); code != http.StatusCreated {
		t.Fatal("create scavenger")
	}
	admin := k.as("admin:changeit")
	lists := `{"$userStreamAcl":{"$r":["$admins","lethe-reader","lethe-disposer"],"$w":["$admins","lethe-writer"],"$d":["$admins","lethe-disposer"],"$mr":["$admins","lethe-reader","lethe-disposer"],"$mw":["$admins","lethe-disposer"]}}`
	want(t, "settings", admin.one("$settings", "Any", "s0", func(m *api.AppendReq_ProposedMessage) {
		m.Metadata["type"], m.Data = "update-default-acl", []byte(lists)
	}), "ok")
	want(t, "all", admin.meta("$all", `{"$acl":{"$r":["$admins","lethe-reader"]}}`), "ok")
	want(t, "events", admin.app(k.st("a"), "NoStream", "e0"), "ok")
	const denied = `PermissionDenied "Access Denied" {exception=access-denied}`
	for i, c := range []struct {
		user                                       string
		write, read, all, metaRead, metaWrite, del string
	}{
		{"writer", "ok", denied, denied, denied, denied, denied},
		{"reader", denied, "#0", "e0", "not-found", denied, denied},
		{"disposer", denied, "#0", denied, "not-found", "ok", "ok"},
		{"scavenger", denied, denied, denied, denied, denied, denied},
		{"nobody", denied, denied, denied, denied, denied, denied},
	} {
		t.Run(c.user, func(t *testing.T) {
			u := k.as(c.user + ":p")
			if c.user == "nobody" {
				u = k
			}
			want(t, "append", u.app(k.st("w"), "Any", fmt.Sprintf("w%d", i)), c.write)
			want(t, "read", u.read(stream(k.st("a"))), c.read)
			want(t, "read all", u.read(with(all(), filter(byStream("", k.st("a"))))), c.all)
			want(t, "read metadata", u.read(stream("$$"+k.st("b"))), c.metaRead)
			want(t, "write metadata", u.meta(k.st(fmt.Sprintf("c%d", i)), `{"$tb":1}`), c.metaWrite)
			want(t, "tombstone", u.hard(k.st(fmt.Sprintf("d%d", i)), "Any"), c.del)
			code, _ := request(t, k.s, c.user+":p", http.MethodPost, "/admin/scavenge", "")
			if wanted := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[c.user == "scavenger"]; code != wanted {
				t.Errorf("scavenge: %d, want %d", code, wanted)
			}
		})
	}
	want(t, "wrong revision is told to a writer", k.as("writer:p").app(k.st("w"), 77, "w9"), "WEV")
	want(t, "wrong password", k.as("writer:q").app(k.st("w"), "Any", "w9"), "Unauthenticated")
	want(t, "credentials twice", k.as("writer:p").as("writer:p").app(k.st("w"), "Any", "w9"), denied)
}

func TestUsers(t *testing.T) {
	k := with1(t, Options{Accounts: []Account{}})
	do := func(user, method, path, body string) int {
		code, _ := request(t, k.s, user, method, path, body)
		return code
	}
	for i, c := range []struct {
		user, method, path, body string
		code                     int
	}{
		{"", http.MethodPost, "/users/", `{"loginName":"a","password":"p"}`, http.StatusUnauthorized},
		{"ops:changeit", http.MethodPost, "/users/", `{"loginName":"a","password":"p"}`, http.StatusUnauthorized},
		{"admin:changeit", http.MethodGet, "/users/a", "", http.StatusNotFound},
		{"admin:changeit", http.MethodPost, "/users/", `{`, http.StatusBadRequest},
		{"admin:changeit", http.MethodPost, "/users/", `{"loginName":"a","groups":["g"],"password":"p"}`, http.StatusCreated},
		{"admin:changeit", http.MethodPost, "/users/", `{"loginName":"a","password":"p"}`, http.StatusConflict},
		{"admin:changeit", http.MethodGet, "/users/a", "", http.StatusOK},
		{"a:p", http.MethodGet, "/users/a", "", http.StatusUnauthorized},
		{"admin:changeit", http.MethodPut, "/users/a", `{"groups":["$admins"]}`, http.StatusOK},
		{"a:p", http.MethodGet, "/users/a", "", http.StatusOK},
		{"admin:changeit", http.MethodPost, "/users/a/command/reset-password", `{"newPassword":"q"}`, http.StatusOK},
		{"a:p", http.MethodGet, "/users/a", "", http.StatusUnauthorized},
		{"a:q", http.MethodGet, "/users/a", "", http.StatusOK},
	} {
		if got := do(c.user, c.method, c.path, c.body); got != c.code {
			t.Errorf("step %d, %s %s: %d, want %d", i, c.method, c.path, got, c.code)
		}
	}
}

// TestTLSWithTheReleasedClient: credentials travel, and only then.
func TestTLSWithTheReleasedClient(t *testing.T) {
	config, ca, err := SelfSigned(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	s := Start(t, Options{Clock: time.Now, TLS: config, Accounts: []Account{{Name: "w", Password: "p", Groups: []string{"$admins"}}}})
	for _, c := range []struct {
		user string
		code esdb.ErrorCode
	}{{"w:p@", 0}, {"w:q@", esdb.ErrorCodeUnauthenticated}, {"", esdb.ErrorCodeAccessDenied}} {
		db := client(t, strings.Replace(s.URL(), "esdb://", "esdb://"+c.user, 1)+"&maxDiscoverAttempts=1&tlsCAFile="+file)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		// An append would lose the status of an early refusal in this client.
		_, err := db.TombstoneStream(ctx, "a"+c.user, esdb.TombstoneStreamOptions{ExpectedRevision: esdb.Any{}})
		cancel()
		var e *esdb.Error
		if errors.As(err, &e); (err != nil) != (c.code != 0) || (err != nil && e.Code() != c.code) {
			t.Errorf("as %q: %v, want code %d", c.user, err, c.code)
		}
	}
}

// TestClusterWithTheReleasedClient: the client finds the leader by gossip, and
// the next one after it was told.
func TestClusterWithTheReleasedClient(t *testing.T) {
	c, _ := cluster(t, 3)
	db := client(t, c.URL())
	write := func() error {
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "requires-leader", "true"), 5*time.Second)
		defer cancel()
		_, err := db.AppendToStream(ctx, "a", esdb.AppendToStreamOptions{ExpectedRevision: esdb.Any{}}, esdb.EventData{EventType: "t"})
		return err
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	old := c.Leader()
	c.Elect(c.Servers()[2])
	// The client hears of the leader unless it was still sending when it was refused.
	var e *esdb.Error
	err := write()
	if err != nil && strings.HasSuffix(err.Error(), "EOF") {
		err = write()
	}
	if !errors.As(err, &e) || e.Code() != esdb.ErrorCodeNotLeader {
		t.Errorf("first append after the election: %v", err)
	}
	if err := write(); err != nil {
		t.Errorf("second append after the election: %v", err)
	}
	old.Stop()
	if err := write(); err != nil {
		t.Errorf("append with a server less: %v", err)
	}
}
