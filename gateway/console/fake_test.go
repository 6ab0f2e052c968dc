package console

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/gateway/api"
)

const (
	fakeToken = "lethe_+test/token="
	adaRef    = "6f1d2c3b-4a59-4e68-9f70-8192a3b4c5d6"
	graceRef  = "b04c1e7a-90d1-4f0e-8a44-5d7f3e2a1c90"
)

// A fake is a ledger that holds just what the page shows. The API before it is the
// real one.
type fake struct {
	api.Service // what the page does not call is absent, and panics
	started     time.Time

	mu      sync.Mutex
	events  []api.FeedEvent
	changed chan struct{} // closed and replaced at every change of events
	erased  map[string]string
	pending bool // erasures do not finish
	differ  bool // rebuilt views differ
	calls   []string
	minute  time.Duration // from the start to the watched bucket's death

	server *httptest.Server
	chat   *Chat
	down   atomic.Bool // the API answers nothing but 503
}

func newFake() *fake {
	return &fake{started: time.Now(), changed: make(chan struct{}), erased: map[string]string{}, minute: time.Hour}
}

func (f *fake) Authenticate(_ context.Context, token string) (api.Caller, error) {
	if token != fakeToken {
		return api.Caller{}, &api.Error{Code: api.CodeDenied, Message: "no", Status: http.StatusUnauthorized}
	}
	return api.Caller{Principal: "local", Role: api.RoleOperator}, nil
}

func (f *fake) called(what string, c api.Caller) {
	f.calls = append(f.calls, what+" for "+c.Purpose)
}

// seal appends events, or changes what those of a position read.
func (f *fake) seal(events ...api.FeedEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.append(events...)
}

func (f *fake) append(events ...api.FeedEvent) {
	f.events = append(f.events, events...)
	close(f.changed)
	f.changed = make(chan struct{})
}

// turn delivers the events of a ref or bucket again, reading otherwise.
func (f *fake) turn(reads string, matches func(api.FeedEvent) bool) {
	for _, e := range slices.Clone(f.events) {
		if matches(e) && e.Readable == "present" {
			e.Readable = reads
			f.append(e)
		}
	}
}

func (f *fake) Feed(ctx context.Context, _ api.Caller, each func(api.FeedEvent) error) error {
	for n := 0; ; {
		f.mu.Lock()
		fresh, changed := slices.Clone(f.events[n:]), f.changed
		f.mu.Unlock()
		for _, e := range fresh {
			if err := each(e); err != nil {
				return err
			}
		}
		n += len(fresh)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *fake) Erase(_ context.Context, c api.Caller, r api.EraseRequest) (api.EraseResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.called("erase "+r.ID+r.Request, c)
	result := api.EraseResult{Request: "0b9d6b0e-0001-4000-8000-000000000001", State: api.StatePending}
	if f.pending && r.Request == "" {
		return result, api.Unavailable("not yet")
	}
	f.erased["ada"] = result.Request
	f.sever("ada")
	f.turn("erased", func(e api.FeedEvent) bool { return e.Ref == adaRef })
	result.State = "keys-destroyed"
	result.Receipt = api.Receipt{
		ID: "3f2b8a52-7a4f-4c11-9d0e-0e7f5c1d2a33", Ground: "A17-1-b", Classes: []string{"live", "network", "lifecycle", "messages", "access", "preferences"},
		Buckets: 9, KeysDestroyed: 15, EffectiveAt: "2026-11-23T21:00:00Z", Signature: strings.Repeat("Zk3v_9", 14),
	}
	return result, nil
}

// sever closes somebody's sockets as the gateway does after an erasure.
func (f *fake) sever(name string) {
	f.chat.mu.Lock()
	defer f.chat.mu.Unlock()
	for socket, m := range f.chat.members {
		if m.name == name {
			go func() { _ = socket.WriteClose(4410, nil) }()
		}
	}
}

func (f *fake) Receipt(_ context.Context, _ api.Caller, id string) (api.ReceiptFile, error) {
	return api.ReceiptFile{Receipt: []byte(`{}`), Valid: strings.HasPrefix(id, "3f2b8a52")}, nil
}

func (f *fake) SubjectShow(_ context.Context, c api.Caller, id string) (api.SubjectShow, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.called("show "+id, c)
	if id != "ada" || f.erased[id] != "" {
		return api.SubjectShow{Subject: api.Subject{State: "unknown"}, Holdings: []api.Holding{}}, nil
	}
	day := f.started.UTC().Format(time.DateOnly)
	return api.SubjectShow{
		Subject: api.Subject{Ref: adaRef, State: "active"}, Connections: api.Connections{Open: 1, Total: 1},
		Holdings: []api.Holding{
			{Class: "lifecycle", Tier: "0", Bucket: day, Scope: "e", Gen: 1, Events: 2, Records: 2, Due: "2027-05-23T00:00:00Z", Readable: "present"},
			{Class: "live", Tier: "0", Bucket: f.bucket(0), Scope: "e", Gen: 1, Events: 4, Records: 96, Due: "2026-11-23T21:12:00Z", Readable: "expired"},
			{Class: "messages", Tier: "0", Bucket: day, Scope: "e", Gen: 1, Events: 4, Records: 96, Due: "2026-12-23T00:00:00Z", Readable: "present"},
			{Class: "network", Tier: "0", Bucket: day, Scope: "e", Gen: 1, Events: 1, Records: 1, Due: "2026-12-07T00:00:00Z", Readable: "present"},
		},
	}, nil
}

// bucket names a minute before the fake began.
func (f *fake) bucket(back int) string {
	return f.started.Add(-time.Duration(back) * time.Minute).UTC().Format("2006-01-02T15:04")
}

func (f *fake) RetentionStatus(context.Context, api.Caller) (api.RetentionStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	live := api.RetentionClass{Class: "live", Retention: "PT2M", Rule: "at-most"}
	for back := 3; back >= -1; back-- {
		due := f.started.Add(time.Duration(2-back)*time.Minute + time.Second)
		state := "live"
		switch {
		case back == 1:
			if due = f.started.Add(f.minute); time.Now().After(due) {
				state = "expired"
				f.turn("expired", func(e api.FeedEvent) bool { return e.Class == "live" && e.Bucket == f.bucket(1) })
			}
		case back > 1:
			state = "expired"
		}
		live.Buckets = append(live.Buckets, api.RetentionBucket{Tier: "0", Bucket: f.bucket(back), Due: due.UTC().Format(time.RFC3339Nano), State: state})
	}
	status := api.RetentionStatus{Classes: []api.RetentionClass{live}}
	for class, days := range map[string]int{"network": 14, "messages": 30, "lifecycle": 182, "access": 365} {
		today := f.started.UTC().Truncate(24 * time.Hour)
		status.Classes = append(status.Classes, api.RetentionClass{Class: class, Retention: fmt.Sprintf("P%dD", days), Rule: "at-most", Buckets: []api.RetentionBucket{
			{Tier: "0", Bucket: today.Format(time.DateOnly), Due: today.AddDate(0, 0, days).Format(time.RFC3339), State: "live"},
		}})
	}
	slices.SortFunc(status.Classes[1:], func(a, b api.RetentionClass) int { return strings.Compare(a.Class, b.Class) })
	return status, nil
}

func (f *fake) Views(context.Context, api.Caller) (api.ViewList, error) {
	return api.ViewList{Views: []api.View{{Name: "connections", Generation: 1, Position: 40, Rows: 3}, {Name: "holdings", Generation: 1, Position: 40, Rows: 12}}}, nil
}

func (f *fake) Rebuild(ctx context.Context, _ api.Caller, _ []string, p api.Progress) (api.Rebuilt, error) {
	for i := range int64(4) {
		p(i*1000, 4000)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return api.Rebuilt{}, ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var r api.Rebuilt
	for _, name := range []string{"access", "connections", "erasures", "holdings", "pools", "retention"} {
		digest := fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
		v := api.RebuiltView{Name: name, Generation: 2, Events: 4000, Seconds: 0.04, Position: 4000, Digest: digest, LiveDigest: digest}
		if f.differ && name == "holdings" {
			v.LiveDigest = strings.Repeat("0", 64)
		}
		r.Rebuilt = append(r.Rebuilt, v)
	}
	return r, nil
}

func (f *fake) KeysStatus(context.Context, api.Caller) (api.KeysStatus, error) {
	return api.KeysStatus{Custodian: "embedded", State: "ready", Subjects: 3, Buckets: 24, Handles: 18, Blocks: 1, Destroyed: 7}, nil
}

func (f *fake) Doctor(context.Context, api.Caller) (api.Doctor, error) {
	return api.Doctor{Findings: []api.Finding{
		{Level: "warning", Subject: "policy", Message: "The policy was not reviewed by a controller: purposes, classes and periods are built in. Write one in lethe.yaml."},
		{Level: "ok", Subject: "clock", Message: "The clock is trusted."},
	}}, nil
}

func (f *fake) Ready() error { return nil }

// history is what a few seconds of chat leave in the log.
func (f *fake) history() (events []api.FeedEvent) {
	hour, day := f.started.UTC().Format("2006-01-02T15")+"Z", f.started.UTC().Format(time.DateOnly)
	add := func(typ, class, bucket, ref string, records, bytes int, reads string) {
		events = append(events, api.FeedEvent{Position: uint64(len(events) + 1), Type: typ, Class: class, Bucket: bucket, Ref: ref, Records: records, Bytes: bytes, Readable: reads, Hour: hour})
	}
	add("node.opened.v1", "node", day, "", 0, 96, "note")
	for _, ref := range []string{adaRef, graceRef} {
		add("connection.opened.v1", "lifecycle", day, ref, 1, 288, "present")
		add("connection.origin.v1", "network", day, ref, 1, 288, "present")
	}
	for back := 2; back >= 0; back-- {
		for _, ref := range []string{adaRef, graceRef} {
			reads := "present"
			if back == 2 {
				reads = "expired"
			}
			add("traffic.recorded.v1", "live", f.bucket(back), ref, 24, 352, reads)
			add("traffic.recorded.v1", "messages", day, ref, 24, 352, "present")
		}
	}
	return events
}

// serve stands the page up as `lethe serve` does: the API beside it, and the chat
// in the place of the gateway. It returns the address to open.
func (f *fake) serve(t *testing.T) string {
	t.Helper()
	chat, err := StartChat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.chat = chat
	page, err := Page(PageInfo{Gateway: chat.URL(), Command: "lethe --data ./trial"})
	if err != nil {
		t.Fatal(err)
	}
	calls := api.NewServer(f, api.ServerOptions{})
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		if f.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		calls.ServeHTTP(w, r)
	})
	mux.Handle("/", page)
	srv := httptest.NewServer(mux)
	f.server = srv
	t.Cleanup(func() {
		srv.CloseClientConnections()
		if err := calls.Close(context.Background()); err != nil {
			t.Error(err)
		}
		srv.Close()
		if err := chat.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv.URL
}
