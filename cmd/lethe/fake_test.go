package main

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// A fake is a Service with canned answers, so that what the command prints can be
// compared letter by letter. The id decides what goes wrong.
type fake struct{}

const (
	fakeRef     = "7b1c1f0e-6a52-4d0e-9a57-0c5f6a0d9d11"
	fakeReceipt = "2f8e3c54-19d7-4b6a-8a3e-5a1f4f7d2c22"
)

func (fake) Authenticate(_ context.Context, token string) (api.Caller, error) {
	if token == "good" {
		return api.Caller{Principal: "ada", Role: api.RoleOperator}, nil
	}
	return api.Caller{}, &api.Error{Code: api.CodeDenied, Message: "The token is not valid; lethe token create makes one", Status: 401}
}

// troubles are what ids stand for.
func troubles(id string) error {
	switch id {
	case "held":
		return api.Refused("A hold stands on this person; lethe hold release ends it")
	case "away":
		return fmt.Errorf("asking: %w", domain.ErrUnavailable)
	case "broken":
		return errors.New("an inner detail")
	}
	return nil
}

func (fake) SubjectShow(_ context.Context, _ api.Caller, id string) (api.SubjectShow, error) {
	show := api.SubjectShow{
		Subject: api.Subject{Ref: fakeRef, State: "active"}, Connections: api.Connections{Open: 1, Total: 3}, Position: 40, Lag: 2,
		Holdings: []api.Holding{
			{Class: "lifecycle", Tier: "0", Bucket: "2026-05-01", Scope: "erasable", Events: 6, Records: 6, First: "2026-05-01T10Z", Last: "2026-05-01T12Z", Due: "2026-11-01T00:00:00Z", Readable: "present"},
			{Class: "messages", Tier: "0", Bucket: "2026-04-01", Scope: "erasable", Events: 2, Records: 90, First: "2026-04-01T10Z", Last: "2026-04-01T10Z", Due: "2026-05-01T00:00:00Z", Readable: "expired"},
		},
	}
	if id == "nobody" {
		show = api.SubjectShow{Subject: api.Subject{State: "unknown"}, Holdings: []api.Holding{}}
	}
	return show, troubles(id)
}

func (fake) SubjectList(_ context.Context, _ api.Caller, cursor string, _ int) (api.SubjectList, error) {
	if cursor != "" {
		return api.SubjectList{Subjects: []api.Subject{}}, nil
	}
	return api.SubjectList{Subjects: []api.Subject{{Ref: fakeRef, State: "active"}}, Next: fakeRef}, nil
}

func (fake) SubjectExport(_ context.Context, c api.Caller, id string, w io.Writer) error {
	if err := troubles(id); err != nil {
		return err
	}
	z := zip.NewWriter(w)
	f, err := z.Create("manifest.json")
	if err == nil {
		_, err = fmt.Fprintf(f, `{"complete":%t,"why":%q}`, id != "partial", c.Purpose)
	}
	return errors.Join(err, z.Close())
}

func (fake) Erase(_ context.Context, _ api.Caller, r api.EraseRequest) (api.EraseResult, error) {
	if r.ID == "stuck" {
		return api.EraseResult{Request: r.Request, State: api.StatePending}, domain.ErrUnavailable
	}
	return api.EraseResult{Request: r.Request, State: "keys-destroyed", Position: 41, Receipt: api.Receipt{
		ID: fakeReceipt, Ground: "A17-1-b", Classes: append([]string{}, r.Classes...), Withheld: []string{"rights"}, Buckets: 2, KeysDestroyed: 3,
		EffectiveAt: "2026-05-01T12:00:00Z", Signature: "c2ln",
	}}, troubles(r.ID)
}

func (fake) Receipt(_ context.Context, _ api.Caller, id string) (api.ReceiptFile, error) {
	if id != fakeReceipt {
		return api.ReceiptFile{}, api.NotFound("there is no such receipt")
	}
	return signedReceipt()
}

func (fake) RetentionStatus(context.Context, api.Caller) (api.RetentionStatus, error) {
	return api.RetentionStatus{Classes: []api.RetentionClass{
		{Class: "messages", Retention: "P30D", Rule: "at-most", Buckets: []api.RetentionBucket{{Tier: "0", Bucket: "2026-05-01", Due: "2026-05-31T00:00:00Z", State: "live"}}},
		{Class: "usage", Retention: "P90D", Rule: "at-most", Buckets: []api.RetentionBucket{}},
	}}, nil
}

func (fake) RetentionRun(_ context.Context, _ api.Caller, dryRun bool) (api.RetentionRun, error) {
	return api.RetentionRun{DryRun: dryRun, Destroyed: []string{"messages/0/2026-04-01"}}, nil
}

func (fake) Dispose(_ context.Context, _ api.Caller, dryRun bool, _ api.Progress) (api.Disposal, error) {
	if dryRun {
		return api.Disposal{DryRun: true, Destructions: 3, Buckets: 12, Oldest: "2026-04-01T10:00:00Z"}, nil
	}
	return api.Disposal{Destructions: 3, Buckets: 12, Events: 70, Records: 4000, Deleted: 42, Truncated: 9, Retired: 2}, nil
}

func (fake) Views(context.Context, api.Caller) (api.ViewList, error) {
	return api.ViewList{Views: []api.View{{Name: "holdings", Generation: 1, Position: 40, Lag: 2, Rows: 7}}}, nil
}

func (fake) Query(_ context.Context, _ api.Caller, view, _ string, _ int) (api.ViewRows, error) {
	if view != "holdings" {
		return api.ViewRows{}, api.Usage("there is no such view; lethe views list shows them")
	}
	return api.ViewRows{View: view, Columns: []string{"ref", "records"}, Rows: [][]any{{fakeRef, int64(9007199254740993)}, {"a\x1b[31mb", nil}}, Next: "c7"}, nil
}

func (fake) Digest(_ context.Context, _ api.Caller, view string) (api.ViewDigest, error) {
	return api.ViewDigest{View: view, Position: 40, Digest: "00ff"}, nil
}

func (fake) Rebuild(_ context.Context, _ api.Caller, names []string, p api.Progress) (api.Rebuilt, error) {
	p(40, 40)
	if len(names) == 0 {
		names = []string{"connections", "holdings"}
	}
	r := api.Rebuilt{Rebuilt: []api.RebuiltView{}}
	for _, name := range names {
		r.Rebuilt = append(r.Rebuilt, api.RebuiltView{Name: name, Generation: 2, Events: 40, Seconds: 0.25, Position: 40, Digest: "00ff", LiveDigest: "00ff"})
	}
	return r, nil
}

func (fake) Replay(_ context.Context, _ api.Caller, asOf time.Time, path string, _ api.Progress) (api.Replay, error) {
	return api.Replay{AsOf: asOf.Format(time.RFC3339), NotedAt: "2026-05-01T11:59:00Z", Position: 30, Events: 31, Disposed: map[string]int{"streams": 2, "events": 0}},
		os.WriteFile(path, []byte("SQLite format 3"), 0o600)
}

func (fake) KeysStatus(context.Context, api.Caller) (api.KeysStatus, error) {
	return api.KeysStatus{Custodian: "embedded", State: "ready", Subjects: 3, Buckets: 12, Handles: 2}, nil
}

func (fake) TokenCreate(_ context.Context, _ api.Caller, name, role string) (api.Token, error) {
	return api.Token{Name: name, Role: role, Token: "lethe_secret", Created: "2026-05-01"}, nil
}

func (fake) TokenList(context.Context, api.Caller) (api.TokenList, error) {
	return api.TokenList{Tokens: []api.Token{{Name: "ada", Role: "operator", Created: "2026-05-01"}}}, nil
}

func (fake) TokenRevoke(_ context.Context, _ api.Caller, name string) error {
	if name != "ada" {
		return api.NotFound("there is no token of that name; lethe token list shows them")
	}
	return nil
}

func (fake) Doctor(_ context.Context, c api.Caller) (api.Doctor, error) {
	d := api.Doctor{Findings: []api.Finding{{Level: "ok", Subject: "clock", Message: "The clock is trusted."}}}
	if c.Purpose == "break" {
		d.Findings = append(d.Findings, api.Finding{Level: "error", Subject: "views", Message: "The views do not move."})
	}
	return d, nil
}

func (fake) Feed(context.Context, api.Caller, func(api.FeedEvent) error) error { return nil }

func (fake) Ready() error { return nil }

func (fake) TrustClock(_ context.Context, _ api.Caller, now time.Time) (api.KeysStatus, error) {
	return api.KeysStatus{Custodian: "embedded", State: "ready"}, nil
}

func (fake) RestoreCheck(context.Context, api.Caller, string) (api.RestoreCheck, error) {
	return api.RestoreCheck{Lines: 9, Behind: 4, Subjects: 2, Classes: 1, Rescued: 3, Noted: 5, Outbox: 7}, nil
}
