package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func (b *bench) client(role string) *Client {
	return &Client{Base: b.server.URL, Token: "token-" + role, Purpose: "operation"}
}

// TestClientIsAService: every call arrives at the Service behind the server, with
// the caller's purpose or the client's.
func TestClientIsAService(t *testing.T) {
	b := start(t, ServerOptions{})
	c, ctx, why := b.client(RoleOperator), t.Context(), Caller{Purpose: "complaint"}
	var zip bytes.Buffer
	asOf := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "out.db")
	for i, err := range []error{
		second(c.SubjectShow(ctx, why, "alice/ä?")), second(c.SubjectList(ctx, why, "", 0)), c.SubjectExport(ctx, why, "alice", &zip),
		second(c.Erase(ctx, why, EraseRequest{ID: "alice", Request: uuidA, Before: asOf})), second(c.Receipt(ctx, Caller{}, uuidB)),
		second(c.RetentionStatus(ctx, why)), second(c.RetentionRun(ctx, why, true)), second(c.Dispose(ctx, why, false, nil)), second(c.Views(ctx, why)),
		second(c.Digest(ctx, why, "hold/ings")), second(c.Rebuild(ctx, why, []string{"a", "b"}, nil)), second(c.Rebuild(ctx, why, nil, nil)),
		second(c.Replay(ctx, why, asOf, file, nil)), second(c.KeysStatus(ctx, why)), second(c.TrustClock(ctx, why, asOf)), second(c.RestoreCheck(ctx, why, "3fa9")), second(c.TokenCreate(ctx, why, "n", RoleLegal)),
		second(c.TokenList(ctx, why)), c.TokenRevoke(ctx, why, "n"), second(c.Doctor(ctx, why)), c.Ready(),
	} {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	for i, want := range []string{
		"show alice/ä?", "list", "export alice", "erase alice", "receipt " + uuidB, "retention", "retention run", "retention dispose", "views", "digest hold/ings",
		"rebuild a,b", "rebuild ", "replay", "keys", "trust clock 2026-01-02T03:04:05Z", "restore check 3fa9", "token create n", "tokens", "token revoke n", "doctor",
	} {
		purpose := "complaint"
		if strings.HasPrefix(want, "receipt") {
			purpose = "operation"
		}
		if got := b.fake.calls[i]; got != want+" p-operator/operator/"+purpose {
			t.Errorf("call %d: %q, want %q", i, got, want)
		}
	}
	if zip.String() != "PK zip" || !b.fake.erase.Before.Equal(asOf) {
		t.Errorf("zip %q, erasure %+v", zip.String(), b.fake.erase)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "SQLite format 3" {
		t.Errorf("replay %q, %v", got, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestClientKeepsNumbersExact(t *testing.T) {
	b := start(t, ServerOptions{})
	rows, err := b.client(RoleAuditor).Query(t.Context(), Caller{}, "holdings", "", 0)
	if err != nil || rows.Rows[0][0] != json.Number("9007199254740993") {
		t.Errorf("%v, %v", rows, err)
	}
}

func TestClientErrors(t *testing.T) {
	b := start(t, ServerOptions{})
	ctx, c := t.Context(), b.client(RoleOperator)
	code := func(err error) string {
		var e *Error
		if !errors.As(err, &e) {
			return "none"
		}
		return e.Code
	}
	_, err := b.client(RoleSubject).Views(ctx, Caller{})
	if code(err) != CodeDenied {
		t.Errorf("wrong role: %v", err)
	}
	if _, err := c.Authenticate(ctx, "x"); code(err) != CodeDenied {
		t.Errorf("bad token: %v", err)
	}
	if who, err := c.Authenticate(ctx, "token-legal"); err != nil || who.Role != RoleLegal {
		t.Errorf("good token: %v %v", who, err)
	}
	result, err := c.Erase(ctx, Caller{}, EraseRequest{ID: "stuck"})
	if code(err) != CodeUnavailable || result.Request == "" {
		t.Errorf("pending erasure: %v, %v", result, err)
	}
	if err := c.SubjectExport(ctx, Caller{}, "broken", &bytes.Buffer{}); code(err) != CodeUnavailable {
		t.Errorf("export cut off: %v", err)
	}
	if err := c.SubjectExport(ctx, Caller{}, "alice", full{}); !errors.Is(err, errFull) {
		t.Errorf("full disk: %v", err)
	}
	b.fake.ready = errFull
	if c.Ready() == nil {
		t.Error("ready, though the service is not")
	}
	b.server.Close()
	if _, err := c.Views(ctx, Caller{}); !errors.Is(err, ErrNoServer) || code(err) != CodeUnavailable {
		t.Errorf("no server: %v", err)
	}
}

var errFull = errors.New("disk is full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestFeed(t *testing.T) {
	b := start(t, ServerOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	var got []uint64
	err := b.client(RoleAuditor).Feed(ctx, Caller{}, func(e FeedEvent) error {
		if got = append(got, e.Position); len(got) == 2 {
			cancel()
		}
		return nil
	})
	if err != nil || len(got) != 2 || got[1] != 2 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestCloseEndsFeeds: a feed would otherwise hold the server's shutdown up for
// ever.
func TestCloseEndsFeeds(t *testing.T) {
	b := start(t, ServerOptions{})
	begun, ended := make(chan struct{}, 2), make(chan error, 1)
	go func() {
		ended <- b.client(RoleAuditor).Feed(context.Background(), Caller{}, func(FeedEvent) error {
			begun <- struct{}{}
			return nil
		})
	}()
	<-begun
	if err := b.api.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the feed goes on")
	}
}
