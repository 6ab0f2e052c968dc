package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// An Erasure asks for a person, some classes, the classes of a purpose, or a
// date range to be erased (GDPR Art. 17).
type Erasure struct {
	// Request identifies the request; the same one again finishes it. Zero makes a
	// new request.
	Request    domain.RequestID
	ExternalID string
	Classes    []domain.Class
	Purpose    string
	// From and Before bound a range of event time; both are rounded down to a
	// bucket's start. Zero is open. With neither, everything is erased.
	From, Before time.Time
	Ground       string // such as A17-1-b
	Reason       string // sealed in the request's file
	Channel      string
	Principal    Principal
}

// A RequestState is how far an erasure request has come.
type RequestState string

// The states of a request.
const (
	RequestPending       RequestState = "pending"
	RequestWithheld      RequestState = "withheld"
	RequestKeysDestroyed RequestState = "keys-destroyed"
	// RequestCompleted: the ciphertext is disposed of, too.
	RequestCompleted RequestState = "completed"
)

// An Outcome is the answer to an erasure.
type Outcome struct {
	Request  domain.RequestID
	State    RequestState
	Receipt  domain.Receipt
	Stored   []byte // the receipt's bytes as they stand in the log
	Position domain.Position
}

// ErrBadErasure says what is wrong with a request.
var ErrBadErasure = errors.New("erasure request")

// Erase carries an erasure request out, and finishes one that was begun: every
// line of it can be the last one, and calling it again with the same request
// goes on from there. When it returns without error nothing of what the request
// names opens any more, on this or any node, and the receipt stands in the log.
//
// Each step is idempotent. What it decides (the ids, the plan, the receipt) is
// kept in the custodian before it acts on it. domain.ErrForked without a request: a
// journal file has lines that the log does not have, and nothing was begun.
func (l *Ledger) Erase(ctx context.Context, want Erasure) (Outcome, error) {
	l.destroying.Lock()
	defer l.destroying.Unlock()
	work, err := l.take(ctx, want)
	if err != nil {
		return Outcome{}, err
	}
	return l.finish(ctx, work)
}

// Resume finishes a request by its number alone. domain.ErrNotFound: there is no
// such request.
func (l *Ledger) Resume(ctx context.Context, request domain.RequestID) (Outcome, error) {
	l.destroying.Lock()
	defer l.destroying.Unlock()
	work, err := l.load(ctx, request)
	if err != nil {
		return Outcome{}, err
	}
	return l.finish(ctx, work)
}

// ResumeAll finishes every request and expiry that a crash left behind; it is
// called once at start, after the journal.
func (l *Ledger) ResumeAll(ctx context.Context) error {
	var open []domain.RequestID
	err := l.Custody.EachDocument(ctx, erasureDocument, func(_ string, value []byte) bool {
		if w, err := decodeErasure(value); err == nil && w.Done.IsZero() && !l.another(w) {
			open = append(open, w.Request)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("listing erasures in progress: %w", err)
	}
	var failed []error
	for _, request := range open {
		if _, err := l.Resume(ctx, request); err != nil {
			failed = append(failed, fmt.Errorf("request %s: %w", request, err))
		}
	}
	for _, name := range []string{expiryDocument, retirementDocument} {
		if err := l.resumeRun(ctx, name); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// another reports whether a request is probably being carried out by another
// process now: each takes up what it finds, but not at once.
func (l *Ledger) another(w *erasure) bool {
	return l.Many != nil && l.Clock().Before(w.Received.Add(turnTime))
}

// finish walks the steps of ARCHITECTURE §3 in order.
func (l *Ledger) finish(ctx context.Context, w *erasure) (Outcome, error) {
	if !w.Done.IsZero() {
		return l.outcome(ctx, w)
	}
	steps := []struct {
		name string
		do   func(context.Context, *erasure) error
	}{
		{"noting the request", l.fileRequest},
		{"fencing", l.fence},
		{"planning", l.plan},
		{"announcing", l.announce},
		{"journalling", l.journal},
		{"destroying", l.destroy},
		{"probing", l.probe},
		{"lifting the fence", l.unfence},
		{"noting the destruction", l.noteDone},
		{"receipting", l.receipt},
		{"closing", l.close},
	}
	for _, step := range steps {
		if err := step.do(ctx, w); err != nil {
			if errors.Is(err, ErrStillOpens) {
				err = errors.Join(err, l.destroyAgain(ctx, w))
			}
			return Outcome{Request: w.Request, State: RequestPending}, fmt.Errorf("request %s: %s: %w", w.Request, step.name, err)
		}
	}
	return l.outcome(ctx, w)
}

// destroyAgain forgets that the destruction was acknowledged: the next try carries
// it out once more.
func (l *Ledger) destroyAgain(ctx context.Context, w *erasure) error {
	w.Destroyed = time.Time{}
	return l.save(ctx, w)
}

// take finds the request's work in progress or begins it.
func (l *Ledger) take(ctx context.Context, want Erasure) (*erasure, error) {
	if want.Request.IsZero() {
		want.Request = domain.New[domain.RequestID]()
	}
	w, err := l.load(ctx, want.Request)
	if !errors.Is(err, domain.ErrNotFound) {
		return w, err
	}
	return l.begin(ctx, want)
}

// begin decides what the request means and keeps the decision.
func (l *Ledger) begin(ctx context.Context, want Erasure) (*erasure, error) {
	w, err := l.decide(want)
	if err != nil {
		return nil, err
	}
	if err := l.unforked(ctx); err != nil {
		return nil, err
	}
	if err := l.identify(ctx, w, want.ExternalID); err != nil {
		return nil, err
	}
	if w.After.Destruction, err = l.Log.Last(ctx, l.streams.Destruction()); err != nil {
		return nil, fmt.Errorf("head of the destructions: %w", err)
	}
	stream, err := l.fileStream(ctx, w)
	if err != nil {
		return nil, err
	}
	if w.After.File, err = l.Log.Last(ctx, stream); err != nil {
		return nil, fmt.Errorf("head of the request's file: %w", err)
	}
	return w, l.save(ctx, w)
}

// defaultGround is written where the request names none: the person asked.
const defaultGround = "A17-1"

// decide settles, for each class, whether it is erased or withheld.
func (l *Ledger) decide(want Erasure) (*erasure, error) {
	w := &erasure{
		Request: want.Request, Receipt: domain.New[domain.ReceiptID](), Received: l.Clock().UTC(),
		Narrow: len(want.Classes) > 0 || want.Purpose != "", Ground: want.Ground, Reason: want.Reason, Channel: want.Channel, Role: want.Principal.Role,
	}
	if w.Ground == "" {
		w.Ground = defaultGround
	}
	asked, err := l.asked(want)
	if err != nil {
		return nil, err
	}
	policy := l.Policy.Policy()
	for _, c := range asked {
		if rule, _ := policy.Class(c); rule.ScopeOf() == domain.Obligated {
			w.Withheld = append(w.Withheld, domain.Withheld{Class: c, Ground: cmp.Or(rule.Ground, "policy")})
		} else {
			w.Erase = append(w.Erase, c)
		}
	}
	w.Destruction = keys.Destruction{
		Command: domain.New[domain.CommandID](), Kind: kindOf(want), Scope: domain.Erasable,
		From: want.From, Before: want.Before,
	}
	if w.Destruction.Kind != keys.DestroySubject {
		w.Destruction.Classes = w.Erase
	}
	return w, nil
}

func kindOf(want Erasure) keys.DestructionKind {
	switch {
	case !want.From.IsZero() || !want.Before.IsZero():
		return keys.DestroyRange
	case len(want.Classes) > 0 || want.Purpose != "":
		return keys.DestroyClass
	}
	return keys.DestroySubject
}

// asked returns the classes that the request names; without a narrower word,
// all of the policy's.
func (l *Ledger) asked(want Erasure) ([]domain.Class, error) {
	policy := l.Policy.Policy()
	if !want.From.IsZero() && !want.Before.IsZero() && !want.From.Before(want.Before) {
		return nil, fmt.Errorf("%w: the range ends before it begins", ErrBadErasure)
	}
	for _, c := range want.Classes {
		if _, ok := policy.Class(c); !ok {
			return nil, fmt.Errorf("%w: class %q is not in the policy; lethe retention status lists the classes", ErrBadErasure, string(c))
		}
	}
	var asked []domain.Class
	for _, rule := range policy.Classes {
		named := len(want.Classes) == 0 || slices.Contains(want.Classes, rule.ID)
		if named && (want.Purpose == "" || rule.Purpose == want.Purpose) {
			asked = append(asked, rule.ID)
		}
	}
	if len(asked) == 0 {
		return nil, fmt.Errorf("%w: no class has purpose %q", ErrBadErasure, want.Purpose)
	}
	return asked, nil
}

// identify finds whose data it is, and in whose file the request stands: the
// person's own obligated ref, or the controller's where the id is unknown.
func (l *Ledger) identify(ctx context.Context, w *erasure, externalID string) error {
	person, err := l.Ring.Person(externalID, domain.Erasable)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadErasure, err)
	}
	subject, err := l.Ring.Lookup(ctx, person)
	if errors.Is(err, domain.ErrNotFound) {
		w.FileClass = domain.ClassControl
		w.File, err = l.controller(ctx)
		return err
	}
	if err != nil {
		return fmt.Errorf("finding the person: %w", err)
	}
	w.Destruction.Ref = subject.Ref
	w.FileClass = domain.ClassRights
	if err := l.widen(ctx, w); err != nil {
		return err
	}
	person.Scope = domain.Obligated
	w.File, err = l.obligated(ctx, person)
	return err
}

// widen adds to a request that names no class those which the person has keys of
// and the policy no longer has.
func (l *Ledger) widen(ctx context.Context, w *erasure) error {
	if w.Narrow {
		return nil
	}
	had, err := l.Ring.Classes(ctx, w.Destruction.Ref)
	if err != nil {
		return fmt.Errorf("classes of the person: %w", err)
	}
	for _, c := range had {
		if !slices.Contains(w.Erase, c) {
			w.Erase = append(w.Erase, c)
		}
	}
	if w.Destruction.Kind == keys.DestroyRange {
		w.Destruction.Classes = w.Erase
	}
	return nil
}
