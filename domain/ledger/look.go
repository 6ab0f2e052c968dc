package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// Namespaces of the directory. External ids of data subjects are in the ring's
// own; whoever acts through Lethe, and the controller, have namespaces apart.
const (
	principalNamespace  = "lethe/principals"
	controllerNamespace = "lethe/controller"
	controllerName      = "controller"
)

// A Principal is whoever acts through Lethe.
type Principal struct {
	Ref     domain.SubjectRef
	Role    string // operator, auditor, legal, subject
	Purpose string // why, as the request says
}

// EnrolPrincipal returns the principal's ref for a name, making it on first use.
func (l *Ledger) EnrolPrincipal(ctx context.Context, name string) (domain.SubjectRef, error) {
	return l.obligated(ctx, keys.Person{Namespace: principalNamespace, Scope: domain.Obligated, ExternalID: name})
}

func (l *Ledger) controller(ctx context.Context) (domain.SubjectRef, error) {
	return l.obligated(ctx, keys.Person{Namespace: controllerNamespace, Scope: domain.Obligated, ExternalID: controllerName})
}

func (l *Ledger) obligated(ctx context.Context, p keys.Person) (domain.SubjectRef, error) {
	s, _, err := l.Ring.Enrol(ctx, p)
	if err != nil {
		return domain.SubjectRef{}, fmt.Errorf("enrolling: %w", err)
	}
	return s.Ref, nil
}

// A Job is one piece of work on personal data by one principal.
type Job struct {
	Principal Principal
	Action    string // a word of Lethe, such as subject.show
	// Subject is whose data is opened; zero where nobody's is.
	Subject domain.SubjectRef
	Classes []domain.Class
	Object  string // what else the act concerned; sealed
}

// Began records who looks at whose data and why, before anything of it leaves:
// access.opened in the person's stream and act.performed in the principal's.
// Both are durable when it returns. The command identifies the job; calling
// again with it records nothing twice.
func (l *Ledger) Began(ctx context.Context, command domain.CommandID, j Job) error {
	at := l.Clock()
	drafts := []domain.Draft{l.act(command, at, j)}
	if !j.Subject.IsZero() {
		drafts = append(drafts, l.access(command, at, j))
	}
	for _, d := range drafts {
		if d.Payload == nil {
			return fmt.Errorf("encoding %s failed", d.Type)
		}
	}
	if err := errors.Join(l.Record(ctx, drafts)...); err != nil {
		return fmt.Errorf("recording the access: %w", err)
	}
	return nil
}

func (l *Ledger) act(command domain.CommandID, at time.Time, j Job) domain.Draft {
	return domain.Draft{
		ID: domain.Event(command, 0), Type: domain.ActPerformed, At: at,
		Scope: domain.Obligated, Ref: j.Principal.Ref, Class: domain.ClassActs, Tier: domain.OwnTier, N: 1,
		Facts:   domain.NewFacts(domain.Name("action", j.Action)),
		Payload: record(map[string]any{"at": at, "role": j.Principal.Role, "purpose": j.Principal.Purpose, "object": j.Object}),
	}
}

func (l *Ledger) access(command domain.CommandID, at time.Time, j Job) domain.Draft {
	return domain.Draft{
		ID: domain.Event(command, 1), Type: domain.AccessOpened, At: at,
		Scope: domain.Erasable, Ref: j.Subject, Class: domain.ClassAccess, Tier: domain.OwnTier, N: 1,
		Payload: record(map[string]any{"at": at, "role": j.Principal.Role, "purpose": j.Principal.Purpose, "classes": j.Classes}),
	}
}

// record encodes a record; nil only for what JSON cannot say, which no caller
// passes.
func record(fields map[string]any) []byte {
	b, err := json.Marshal(fields)
	if err != nil {
		return nil
	}
	return b
}
