package api

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
)

// A fake is a Service with canned answers. It notes every call with its caller, so
// that a test sees what came through.
type fake struct {
	mu    sync.Mutex
	calls []string
	fail  error         // of every call
	erase EraseRequest  // the last one
	hold  chan struct{} // long work waits for it
	ready error
}

// note records a call; its error is the call's.
func (f *fake) note(what string, c Caller) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, what+" "+c.Principal+"/"+c.Role+"/"+c.Purpose)
	return f.fail
}

func (f *fake) noted() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, "\n")
}

// Authenticate knows a token for each role: token-operator and so on.
func (f *fake) Authenticate(_ context.Context, token string) (Caller, error) {
	role, found := strings.CutPrefix(token, "token-")
	if !found {
		return Caller{}, &Error{Code: CodeDenied, Message: "the token is not valid", Status: 401}
	}
	return Caller{Principal: "p-" + role, Role: role}, nil
}

func (f *fake) SubjectShow(_ context.Context, c Caller, id string) (SubjectShow, error) {
	err := f.note("show "+id, c)
	return SubjectShow{Subject: Subject{Ref: "7b1c1f0e-6a52-4d0e-9a57-0c5f6a0d9d11", State: "active"}, Holdings: []Holding{{Class: "messages", Records: 3, Readable: "present"}}}, err
}

func (f *fake) SubjectList(_ context.Context, c Caller, cursor string, limit int) (SubjectList, error) {
	err := f.note("list", c)
	return SubjectList{Subjects: []Subject{{Ref: "after " + cursor, State: "active"}}, Next: strings.Repeat("n", limit)}, err
}

func (f *fake) SubjectExport(_ context.Context, c Caller, id string, w io.Writer) error {
	if err := f.note("export "+id, c); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "PK zip"); err != nil {
		return err
	}
	if id == "broken" {
		return errors.New("the log went away")
	}
	return nil
}

func (f *fake) Erase(_ context.Context, c Caller, r EraseRequest) (EraseResult, error) {
	err := f.note("erase "+r.ID, c)
	f.mu.Lock()
	f.erase = r
	f.mu.Unlock()
	if r.ID == "stuck" {
		return EraseResult{Request: "11111111-1111-4111-8111-111111111111", State: StatePending}, domain.ErrUnavailable
	}
	return EraseResult{Request: r.Request, State: "keys-destroyed", Receipt: Receipt{ID: "r", Ground: "A17-1"}}, err
}

func (f *fake) Receipt(_ context.Context, c Caller, id string) (ReceiptFile, error) {
	err := f.note("receipt "+id, c)
	return ReceiptFile{Receipt: []byte(`{"id":"<&>"}`), Ledger: "main", Valid: true}, err
}

func (f *fake) RetentionStatus(_ context.Context, c Caller) (RetentionStatus, error) {
	return RetentionStatus{}, f.note("retention", c)
}

func (f *fake) RetentionRun(_ context.Context, c Caller, dryRun bool) (RetentionRun, error) {
	return RetentionRun{DryRun: dryRun, Destroyed: []string{}}, f.note("retention run", c)
}

func (f *fake) Views(_ context.Context, c Caller) (ViewList, error) {
	return ViewList{Views: []View{{Name: "holdings"}}}, f.note("views", c)
}

func (f *fake) Query(_ context.Context, c Caller, view, cursor string, _ int) (ViewRows, error) {
	return ViewRows{View: view, Columns: []string{"n"}, Rows: [][]any{{int64(9007199254740993)}}, Next: cursor}, f.note("query "+view, c)
}

func (f *fake) Digest(_ context.Context, c Caller, view string) (ViewDigest, error) {
	return ViewDigest{View: view, Digest: "00"}, f.note("digest "+view, c)
}

func (f *fake) Rebuild(ctx context.Context, c Caller, names []string, p Progress) (Rebuilt, error) {
	if err := f.note("rebuild "+strings.Join(names, ","), c); err != nil {
		return Rebuilt{}, err
	}
	p(1, 2)
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return Rebuilt{}, ctx.Err()
		}
	}
	p(2, 2)
	return Rebuilt{Rebuilt: []RebuiltView{{Name: "holdings", Events: 2}}}, nil
}

func (f *fake) Replay(_ context.Context, c Caller, asOf time.Time, path string, _ Progress) (Replay, error) {
	if err := f.note("replay", c); err != nil {
		return Replay{}, err
	}
	return Replay{AsOf: asOf.Format(time.RFC3339), Events: 7}, os.WriteFile(path, []byte("SQLite format 3"), 0o600)
}

func (f *fake) KeysStatus(_ context.Context, c Caller) (KeysStatus, error) {
	return KeysStatus{Custodian: "embedded", State: "ready"}, f.note("keys", c)
}

func (f *fake) TokenCreate(_ context.Context, c Caller, name, role string) (Token, error) {
	return Token{Name: name, Role: role, Token: "lethe_x"}, f.note("token create "+name, c)
}

func (f *fake) TokenList(_ context.Context, c Caller) (TokenList, error) {
	return TokenList{}, f.note("tokens", c)
}

func (f *fake) TokenRevoke(_ context.Context, c Caller, name string) error {
	return f.note("token revoke "+name, c)
}

func (f *fake) Doctor(_ context.Context, c Caller) (Doctor, error) {
	return Doctor{Findings: []Finding{{Level: "ok"}}}, f.note("doctor", c)
}

// Feed delivers two events, then waits for ctx.
func (f *fake) Feed(ctx context.Context, c Caller, each func(FeedEvent) error) error {
	if err := f.note("feed", c); err != nil {
		return err
	}
	for i := range uint64(2) {
		if err := each(FeedEvent{Position: i + 1, Type: "traffic.recorded"}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

func (f *fake) Ready() error { return f.ready }

func (f *fake) Dispose(_ context.Context, c Caller, dryRun bool, _ Progress) (Disposal, error) {
	return Disposal{DryRun: dryRun, Events: 7}, f.note("retention dispose", c)
}

func (f *fake) TrustClock(_ context.Context, c Caller, now time.Time) (KeysStatus, error) {
	return KeysStatus{State: "ready"}, f.note("trust clock "+now.UTC().Format(time.RFC3339), c)
}

func (f *fake) RestoreCheck(_ context.Context, c Caller, lost string) (RestoreCheck, error) {
	return RestoreCheck{Lines: 3}, f.note("restore check "+lost, c)
}
