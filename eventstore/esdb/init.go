package esdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// Init makes the four accounts of c.Accounts and gives each its rights, as admin,
// who must be one of $admins, and returns what it changed, one sentence each. What
// is there already is left alone; calling it again changes nothing but passwords
// that differ. The rights are the server's defaults for all its streams, so the
// database should be the ledger's own. Errors: ErrConfig, ErrVersion, else
// domain.ErrUnavailable; a call that failed is finished by the next one.
func Init(ctx context.Context, c Config, admin Account) (done []string, err error) {
	if _, err := c.planned(); err != nil {
		return nil, err
	}
	roles := c.Accounts
	c.Accounts = Accounts{Writer: admin, Reader: admin, Disposer: admin, Scavenger: admin}
	s, err := Open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx, cancel := s.bound(ctx)
	defer cancel()
	i := initializer{Store: s, admin: admin}
	for _, r := range (&target{Config: Config{Accounts: roles}}).roles() {
		if err := i.account(ctx, r); err != nil {
			return i.done, fmt.Errorf("account %s: %w", r.account.User, err)
		}
	}
	if err := i.document(ctx, settingsStream, settingsType, "the rights of every stream", mergeDefaults); err != nil {
		return i.done, fmt.Errorf("default rights: %w", err)
	}
	if err := i.document(ctx, logMetadata, metadataType, "the rights of the whole log", mergeLog); err != nil {
		return i.done, fmt.Errorf("rights of the log: %w", err)
	}
	return i.done, nil
}

// An initializer is one run of Init.
type initializer struct {
	*Store
	admin Account
	done  []string
}

func (i *initializer) did(format string, args ...any) {
	i.done = append(i.done, fmt.Sprintf(format, args...))
}

// A user is what the server tells of an account.
type user struct {
	Data struct {
		Groups   []string `json:"groups"`
		Disabled bool     `json:"disabled"`
	} `json:"data"`
}

// account makes an account, or puts one that is there right.
func (i *initializer) account(ctx context.Context, r role) error {
	node, _, err := i.leader.find(ctx)
	if err != nil {
		return err
	}
	path := "/users/" + url.PathEscape(r.account.User)
	var there user
	code, err := i.ask(ctx, i.admin, http.MethodGet, node, path, nil, &there)
	switch {
	case err != nil:
		return err
	case code == http.StatusNotFound:
		return i.create(ctx, node, r)
	case code != http.StatusOK:
		return statusError(code, http.MethodGet, path)
	}
	return i.correct(ctx, node, path, r, there)
}

// fullName tells administrators what the account is for.
func fullName(r role) string { return "Lethe " + r.name }

func (i *initializer) create(ctx context.Context, node string, r role) error {
	body := map[string]any{"loginName": r.account.User, "fullName": fullName(r), "groups": []string{r.group}, "password": r.account.Password}
	if err := i.change(ctx, http.MethodPost, node, "/users", body); err != nil {
		return err
	}
	i.did("account %s made in group %s", r.account.User, r.group)
	return nil
}

func (i *initializer) correct(ctx context.Context, node, path string, r role, there user) error {
	if !slices.Equal(there.Data.Groups, []string{r.group}) {
		body := map[string]any{"fullName": fullName(r), "groups": []string{r.group}}
		if err := i.change(ctx, http.MethodPut, node, path, body); err != nil {
			return err
		}
		i.did("account %s moved to group %s", r.account.User, r.group)
	}
	if there.Data.Disabled {
		if err := i.change(ctx, http.MethodPost, node, path+"/command/enable", nil); err != nil {
			return err
		}
		i.did("account %s enabled", r.account.User)
	}
	known, err := i.loggedIn(ctx, r.account)
	if err != nil || known {
		return err
	}
	body := map[string]any{"newPassword": r.account.Password}
	if err := i.change(ctx, http.MethodPost, node, path+"/command/reset-password", body); err != nil {
		return err
	}
	i.did("password of account %s set", r.account.User)
	return nil
}

// loggedIn reports whether the server knows an account by its password: it denies
// other reads than those of who has another one.
func (i *initializer) loggedIn(ctx context.Context, a Account) (bool, error) {
	p := newPool(i.Store, a, 1, 1)
	v, err := i.again(ctx, func(ctx context.Context) error {
		_, err := i.streamPage(ctx, p, settingsStream, eventstore.LastRevision, eventstore.Backward, newPage(1))
		return err
	})
	if closed := p.close(); closed != nil {
		return false, closed
	}
	switch {
	case v == denied && status.Code(err) == codes.Unauthenticated:
		return false, nil
	case v.decisive():
		return true, nil
	}
	return false, outcome(ctx, "log in", v, err)
}

func (i *initializer) change(ctx context.Context, method, node, path string, body any) error {
	code, err := i.ask(ctx, i.admin, method, node, path, body, nil)
	if err == nil && code >= http.StatusMultipleChoices {
		err = statusError(code, method, path)
	}
	return err
}

// document makes the last event of a stream of the server say what merge makes of
// it, keeping what else it says, at the exact revision that was read.
func (i *initializer) document(ctx context.Context, stream, typ, what string, merge func(fields map[string]json.RawMessage) error) error {
	at, before, err := i.lastDocument(ctx, stream)
	if err != nil {
		return err
	}
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(before, &fields) != nil || fields == nil {
		fields = map[string]json.RawMessage{}
	}
	old, err := json.Marshal(fields) // keys in order
	if err != nil {
		return err
	}
	if err := merge(fields); err != nil {
		return err
	}
	data, err := json.Marshal(fields)
	if err != nil || bytes.Equal(old, data) {
		return err
	}
	if err := i.writeDocument(ctx, stream, typ, at, data); err != nil {
		return err
	}
	i.did("%s set in %s", what, stream)
	return nil
}

func (i *initializer) lastDocument(ctx context.Context, stream string) (domain.Revision, []byte, error) {
	var p *page
	v, err := i.again(ctx, func(ctx context.Context) (err error) {
		p, err = i.streamPage(ctx, i.reads, stream, eventstore.LastRevision, eventstore.Backward, newPage(1))
		return err
	})
	switch {
	case v == absent:
		return domain.NoStream, nil, nil
	case err != nil:
		return 0, nil, outcome(ctx, "read "+stream, v, err)
	case len(p.events) == 0:
		return 0, nil, fmt.Errorf("read %s: %w", stream, unavailable(errHidden))
	}
	return p.events[0].Revision, p.events[0].Data(), nil
}

func (i *initializer) writeDocument(ctx context.Context, stream, typ string, at domain.Revision, data []byte) error {
	event := client.EventData{
		EventID: uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s\n%d\n%s", stream, at, data)), EventType: typ, ContentType: client.ContentTypeJson, Data: data,
	}
	opts := client.AppendToStreamOptions{ExpectedRevision: revision(at), Deadline: &i.Deadlines.Attempt}
	v, err := i.settle(ctx, i.Deadlines.Settle, func(ctx context.Context) error {
		_, err := call(ctx, i.appends, func(ctx context.Context, c *client.Client) (*client.WriteResult, error) {
			return c.AppendToStream(ctx, stream, opts, event)
		})
		return err
	})
	if v == wrongRevision {
		return fmt.Errorf("write %s: %w: it was written in between", stream, domain.ErrUnavailable)
	}
	if err != nil {
		return outcome(ctx, "write "+stream, v, err)
	}
	return nil
}

func mergeDefaults(fields map[string]json.RawMessage) error {
	for name, r := range settingsDocument() {
		raw, err := json.Marshal(r)
		if err != nil {
			return err
		}
		fields[name] = raw
	}
	return nil
}

func mergeLog(fields map[string]json.RawMessage) error {
	raw, err := json.Marshal(logRights())
	fields["$acl"] = raw
	return err
}
