package lethe

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lxzan/gws"
	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/gateway/api"
)

type echo struct{ gws.BuiltinEventHandler }

func (echo) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

// upstream is an echo server.
func upstream(t *testing.T) string {
	t.Helper()
	up := gws.NewUpgrader(echo{}, &gws.ServerOption{CheckUtf8Enabled: true})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := up.Upgrade(w, r); err == nil {
			go c.ReadLoop()
		}
	}))
	t.Cleanup(s.Close)
	return "ws" + s.URL[len("http"):]
}

// A running ledger for a test.
type running struct {
	*Lethe
	Addresses
	stop func()
}

func testConfig(t *testing.T, dir, up string) *Config {
	t.Helper()
	c := UpstreamConfig(up)
	c.SetData(dir + "/data")
	c.SetListen("127.0.0.1:0")
	c.Admin.Address = "127.0.0.1:0"
	c.Policy.Pools[0].Flush.Interval = 200 * time.Millisecond
	return c
}

func serve(t *testing.T, c *Config) *running {
	t.Helper()
	return serveWith(t, c, Options{Logger: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel), Version: "test"})
}

func serveWith(t *testing.T, c *Config, opt Options, edits ...func(*Lethe)) *running {
	t.Helper()
	l, err := Open(t.Context(), c, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, edit := range edits {
		edit(l)
	}
	ctx, cancel := context.WithCancel(context.Background())
	at, done := make(chan Addresses, 1), make(chan error, 1)
	go func() { done <- l.Serve(ctx, func(a Addresses) { at <- a }) }()
	r := &running{Lethe: l}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving ended with %v", err)
		}
		if err := l.Close(context.Background()); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	t.Cleanup(r.stop)
	select {
	case r.Addresses = <-at:
	case err := <-done:
		t.Fatalf("serving: %v", err)
	}
	return r
}

// A client is a WebSocket client that counts what comes back.
type client struct {
	gws.BuiltinEventHandler
	conn   *gws.Conn
	got    chan string
	closed chan error
}

func (c *client) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer m.Close()
	c.got <- m.Data.String()
}
func (c *client) OnClose(_ *gws.Conn, err error) { c.closed <- err }

func dial(t *testing.T, gateway, user string) *client {
	t.Helper()
	c := &client{got: make(chan string, 1024), closed: make(chan error, 1)}
	conn, _, err := gws.NewClient(c, &gws.ClientOption{Addr: gateway + "/?user=" + user})
	if err != nil {
		t.Fatal(err)
	}
	c.conn = conn
	go conn.ReadLoop()
	t.Cleanup(func() { _ = conn.NetConn().Close() })
	return c
}

func (c *client) talk(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		if err := c.conn.WriteString(fmt.Sprint("message ", i)); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		select {
		case <-c.got:
		case <-time.After(10 * time.Second):
			t.Fatal("no echo within 10 s")
		}
	}
}

var legal = api.Caller{Principal: "counsel", Role: api.RoleLegal, Purpose: "data-subject-request"}

// records sums the records of a class that subject show lists.
func records(s api.SubjectShow, class, readable string) (n int64) {
	for _, h := range s.Holdings {
		if h.Class == class && h.Readable == readable {
			n += h.Records
		}
	}
	return n
}

// await asks again until ok, for 15 seconds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 150 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%s: not within 15 s", what)
}

func (r *running) show(t *testing.T, id string) api.SubjectShow {
	t.Helper()
	s, err := r.SubjectShow(t.Context(), legal, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheMainJob(t *testing.T) {
	r := serve(t, testConfig(t, t.TempDir(), upstream(t)))
	ada, bob := dial(t, r.Gateway, "ada"), dial(t, r.Gateway, "bob")
	ada.talk(t, 300)
	bob.talk(t, 10)
	await(t, "600 records of ada", func() bool { return records(r.show(t, "ada"), "messages", "present") == 600 })
	await(t, "20 records of bob", func() bool { return records(r.show(t, "bob"), "messages", "present") == 20 })
	if s := r.show(t, "ada"); s.Connections != (api.Connections{Open: 1, Total: 1}) {
		t.Errorf("connections: %+v", s.Connections)
	}

	done, err := r.Erase(t.Context(), legal, api.EraseRequest{ID: "ada", Ground: "A17-1-b", Reason: "asked"})
	if err != nil {
		t.Fatal(err)
	}
	if done.State != "keys-destroyed" || done.Receipt.KeysDestroyed == 0 {
		t.Errorf("erasure: %+v", done)
	}
	select {
	case err := <-ada.closed:
		var closed *gws.CloseError
		if !asClose(err, &closed) || closed.Code != 4410 {
			t.Errorf("ada's socket closed with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("ada's socket lives on")
	}
	if s := r.show(t, "ada"); s.Subject.State != "unknown" || len(s.Holdings) != 0 {
		t.Errorf("after the erasure: %+v", s)
	}
	bob.talk(t, 5)
	await(t, "bob unharmed", func() bool { return records(r.show(t, "bob"), "messages", "present") == 30 })

	again, err := r.Erase(t.Context(), legal, api.EraseRequest{Request: done.Request})
	if err != nil || again.Receipt.ID != done.Receipt.ID {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	file, err := r.Receipt(t.Context(), legal, done.Receipt.ID)
	if err != nil || !file.Valid {
		t.Errorf("receipt: %+v, %v", file, err)
	}
	if err := r.SubjectExport(t.Context(), legal, "bob", io.Discard); err != nil {
		t.Errorf("export: %v", err)
	}
	rebuilt, err := r.Rebuild(t.Context(), legal, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range rebuilt.Rebuilt {
		if v.Digest != v.LiveDigest || v.Digest == "" {
			t.Errorf("view %s differs from its rebuild", v.Name)
		}
	}
	ada2 := dial(t, r.Gateway, "ada")
	ada2.talk(t, 1)
	await(t, "ada anew", func() bool { return records(r.show(t, "ada"), "messages", "present") == 2 })
}

func asClose(err error, to **gws.CloseError) bool { return errors.As(err, to) }

func TestADirectoryOfAnotherLedgerIsRefusedAndOneIsFoundAsItIs(t *testing.T) {
	c := testConfig(t, t.TempDir(), upstream(t))
	r := serve(t, c)
	dial(t, r.Gateway, "ada").talk(t, 1)
	await(t, "recorded", func() bool { return records(r.show(t, "ada"), "messages", "present") == 2 })
	r.stop()
	other := *c
	other.Ledger = "other"
	if _, err := Open(t.Context(), &other, Options{}); !errors.Is(err, ErrOtherLedger) {
		t.Errorf("another ledger opened with %v", err)
	}
	l, err := Open(t.Context(), ExistingConfig(c.Data), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close(t.Context()) }()
	s, err := l.SubjectShow(t.Context(), legal, "ada")
	if err != nil || records(s, "messages", "present") != 2 {
		t.Errorf("found %+v, %v", s, err)
	}
}

// Every kind of destruction passes the views, live and rebuilt alike.
func TestTheViewsFollowEveryKindOfErasure(t *testing.T) {
	r := serve(t, testConfig(t, t.TempDir(), upstream(t)))
	for _, id := range []string{"ada", "bob", "cyd", "dan"} {
		dial(t, r.Gateway, id).talk(t, 10)
	}
	for _, id := range []string{"ada", "bob", "cyd", "dan"} {
		await(t, id, func() bool { return records(r.show(t, id), "messages", "present") == 20 })
	}
	now := time.Now().UTC()
	today := now.Truncate(24 * time.Hour)
	for what, q := range map[string]api.EraseRequest{
		"person":        {ID: "ada"},
		"class":         {ID: "bob", Classes: []string{"messages"}},
		"class again":   {ID: "bob", Classes: []string{"messages"}},
		"range":         {ID: "cyd", Classes: []string{"messages"}, From: today},
		"range again":   {ID: "cyd", Classes: []string{"messages"}, From: today},
		"past range":    {ID: "dan", Before: today},
		"purpose":       {ID: "dan", Purpose: "security"},
		"kept by law":   {ID: "dan", Classes: []string{"acts"}},
		"nobody":        {ID: "eve"},
		"ancient range": {ID: "dan", Before: today.AddDate(-9, 0, 0)},
	} {
		if _, err := r.Erase(t.Context(), legal, q); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := records(r.show(t, "bob"), "messages", "present") + records(r.show(t, "cyd"), "messages", "present"); n != 0 {
		t.Errorf("%d erased records are listed", n)
	}
	if n := records(r.show(t, "dan"), "messages", "present"); n != 20 {
		t.Errorf("%d of dan's 20 messages are listed", n)
	}
	if err := r.views.Err(); err != nil {
		t.Fatalf("the views stand still: %v", err)
	}
	rebuilt, err := r.Rebuild(t.Context(), legal, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range rebuilt.Rebuilt {
		if v.Digest != v.LiveDigest {
			t.Errorf("view %s differs from its rebuild", v.Name)
		}
	}
}

// TestThePolicyListsTheSigningKeys: a receipt verifies with what stands in the
// log, without the custodian; opening the ledger again adds no revision.
func TestThePolicyListsTheSigningKeys(t *testing.T) {
	dir, up := t.TempDir(), upstream(t)
	r := serve(t, testConfig(t, dir, up))
	done, err := r.Erase(t.Context(), legal, api.EraseRequest{ID: "nobody"})
	if err != nil {
		t.Fatal(err)
	}
	uses := map[string]bool{}
	var public []ed25519.PublicKey
	for _, k := range r.policy.Policy().SigningKeys {
		uses[k.Use] = true
		public = append(public, k.Key)
	}
	file, err := r.Receipt(t.Context(), legal, done.Receipt.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.VerifyReceipt(r.cfg.Ledger, []byte(file.Receipt), public); err != nil || len(uses) != 3 {
		t.Errorf("the receipt does not verify with the keys of %v: %v", uses, err)
	}
	before, _ := r.policy.Current()
	r.stop()
	again := serve(t, testConfig(t, dir, up))
	if after, _ := again.policy.Current(); after != before {
		t.Errorf("revision %d became %d", before, after)
	}
}
