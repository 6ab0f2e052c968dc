package lethe

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/gateway/api"
	"github.com/lethe-ledger/lethe/keys"
)

// Authenticate implements api.Service.
func (l *Lethe) Authenticate(ctx context.Context, token string) (api.Caller, error) {
	return l.tokens.authenticate(ctx, token)
}

// principal finds the ref of whoever asks.
func (l *Lethe) principal(ctx context.Context, c api.Caller) (ledger.Principal, error) {
	ref, err := l.ledger.EnrolPrincipal(ctx, c.Principal)
	return ledger.Principal{Ref: ref, Role: c.Role, Purpose: c.Purpose}, err
}

// began records a piece of work before anything of it is done or shown.
func (l *Lethe) began(ctx context.Context, c api.Caller, action string, subject domain.SubjectRef, object string) (ledger.Principal, error) {
	p, err := l.principal(ctx, c)
	if err != nil {
		return p, err
	}
	return p, l.ledger.Began(ctx, domain.New[domain.CommandID](), ledger.Job{
		Principal: p, Action: action, Subject: subject, Object: object,
	})
}

// findSubject looks a person up by what the operator calls them.
func (l *Lethe) findSubject(ctx context.Context, id string, scope domain.Scope) (keys.Subject, error) {
	person, err := l.ring.Person(id, scope)
	if err != nil {
		return keys.Subject{}, api.Usage(err.Error())
	}
	return l.ring.Lookup(ctx, person)
}

// Subject implements recorder.Subjects.
func (l *Lethe) Subject(ctx context.Context, externalID string) (domain.SubjectRef, error) {
	person, err := l.ring.Person(externalID, domain.Erasable)
	if err != nil {
		return domain.SubjectRef{}, err
	}
	s, _, err := l.ring.Enrol(ctx, person)
	return s.Ref, err
}

// Anonymous implements recorder.Subjects.
func (l *Lethe) Anonymous(ctx context.Context) (domain.BlockID, domain.SubjectRef, error) {
	return l.ring.Anonymous(ctx)
}

// SubjectShow implements api.Service. It records the access before it answers; a
// person who is not known is answered as unknown, and nothing is recorded about
// them.
func (l *Lethe) SubjectShow(ctx context.Context, c api.Caller, id string) (api.SubjectShow, error) {
	show := api.SubjectShow{Subject: api.Subject{State: "unknown"}, Holdings: []api.Holding{}}
	s, err := l.findSubject(ctx, id, domain.Erasable)
	if errors.Is(err, domain.ErrNotFound) {
		_, err = l.began(ctx, c, "subject.show", domain.SubjectRef{}, "")
		return show, err
	}
	if err != nil {
		return show, err
	}
	if _, err := l.began(ctx, c, "subject.show", s.Ref, ""); err != nil {
		return show, err
	}
	show.Subject = api.Subject{Ref: s.Ref.String(), State: stateOf(s)}
	if err := l.views.describe(ctx, s.Ref, &show); err != nil {
		return show, err
	}
	return show, l.describeObligated(ctx, id, &show)
}

func stateOf(s keys.Subject) string {
	if s.Fence.Command.IsZero() {
		return "active"
	}
	return "fenced"
}

// describeObligated adds what is kept by law under the person's other ref.
func (l *Lethe) describeObligated(ctx context.Context, id string, show *api.SubjectShow) error {
	s, err := l.findSubject(ctx, id, domain.Obligated)
	if errors.Is(err, domain.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.views.describe(ctx, s.Ref, show)
}

// SubjectList implements api.Service: refs only, in their order.
func (l *Lethe) SubjectList(ctx context.Context, c api.Caller, cursor string, limit int) (api.SubjectList, error) {
	if _, err := l.began(ctx, c, "subject.list", domain.SubjectRef{}, ""); err != nil {
		return api.SubjectList{}, err
	}
	page := newPage(cursor, limit)
	err := l.custodian.Subjects(ctx, func(s keys.Subject) bool {
		if s.Scope == domain.Erasable {
			page.offer(api.Subject{Ref: s.Ref.String(), State: stateOf(s)})
		}
		return true
	})
	if err != nil {
		return api.SubjectList{}, fmt.Errorf("listing subjects: %w", err)
	}
	return page.list(), nil
}

// SubjectExport implements api.Service.
func (l *Lethe) SubjectExport(ctx context.Context, c api.Caller, id string, w io.Writer) error {
	s, err := l.findSubject(ctx, id, domain.Erasable)
	if errors.Is(err, domain.ErrNotFound) {
		return api.NotFound("nothing is held about this person")
	}
	if err != nil {
		return err
	}
	if _, err := l.began(ctx, c, "subject.export", s.Ref, ""); err != nil {
		return err
	}
	e := export{lethe: l, subject: s}
	if o, err := l.findSubject(ctx, id, domain.Obligated); err == nil {
		e.obligated = &o
	} else if !errors.Is(err, domain.ErrNotFound) {
		return err
	}
	return e.write(ctx, w)
}
