package keys

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
)

// MaxExternalID is the longest external id, in bytes.
const MaxExternalID = 1 << 10

// ErrExternalID says that an external id is empty, longer than MaxExternalID or
// not UTF-8. Its text never holds the id.
var ErrExternalID = errors.New("external id: want 1 to 1024 bytes of UTF-8")

// Person names somebody of the ring's namespace. The id is normalised to NFC and
// its case kept. Errors: ErrExternalID.
func (r *Ring) Person(externalID string, scope domain.Scope) (Person, error) {
	return NewPerson(r.Namespace, externalID, scope)
}

// NewPerson names somebody of any namespace, such as that of principals.
func NewPerson(namespace, externalID string, scope domain.Scope) (Person, error) {
	if !utf8.ValidString(externalID) {
		return Person{}, ErrExternalID
	}
	p := Person{Namespace: namespace, Scope: scope, ExternalID: norm.NFC.String(externalID)}
	return p, p.validate()
}

func (p Person) validate() error {
	if n := len(p.ExternalID); n == 0 || n > MaxExternalID || !utf8.ValidString(p.ExternalID) || !norm.NFC.IsNormalString(p.ExternalID) {
		return ErrExternalID
	}
	if !p.Scope.Valid() || p.Namespace == "" {
		return errors.New("a person needs a namespace and a scope")
	}
	return nil
}

// DirectoryKey is the key of a person's directory entry (FORMAT §1). The person
// comes from Person or NewPerson.
func (r *Ring) DirectoryKey(p Person) (key DirectoryKey) {
	msg := domain.AppendLPString(make([]byte, 0, 128), p.Namespace)
	msg = domain.AppendLPString(msg, p.Scope.String())
	msg = domain.AppendLPString(msg, p.ExternalID)
	mac := hmac.New(sha256.New, r.pepper[:])
	mac.Write(msg)
	copy(key[:], mac.Sum(nil))
	return key
}

// Lookup finds a person's entry, with its fence if there is one. It answers
// domain.ErrNotFound for somebody who never was, and for somebody whose ref the
// journal names.
func (r *Ring) Lookup(ctx context.Context, p Person) (Subject, error) {
	if err := p.validate(); err != nil {
		return Subject{}, err
	}
	s, err := r.lookup(ctx, r.DirectoryKey(p))
	if err != nil {
		return Subject{}, fmt.Errorf("looking a person up: %w", err)
	}
	return s, nil
}

func (r *Ring) lookup(ctx context.Context, key DirectoryKey) (Subject, error) {
	if s, ok := r.entries.get(key); ok && !r.refDead(s.Ref) {
		return s, nil
	}
	epoch := r.entries.epoch(key)
	s, err := r.Custodian.Lookup(ctx, key)
	if err != nil {
		return Subject{}, err
	}
	if r.refDead(s.Ref) {
		return Subject{}, domain.ErrNotFound
	}
	r.entries.put(key, s, epoch) // where a purge came between, the next lookup asks again
	return s, nil
}

// An enrolled is what one enrolment answers to all who asked for it.
type enrolled struct {
	subject Subject
	created bool
}

// Enrol finds a person's entry, or makes it with keys for all classes of the
// scope under gen 1; created says which. Errors: domain.ErrFenced while the
// whole person is being erased, domain.ErrUnavailable. When the outcome is
// unknown, calling again finds what stands.
func (r *Ring) Enrol(ctx context.Context, p Person) (s Subject, created bool, err error) {
	if err := p.validate(); err != nil {
		return Subject{}, false, err
	}
	key := r.DirectoryKey(p)
	mine := false
	e, err := r.enrolling.do(ctx, key, func() (enrolled, error) {
		mine = true
		return r.enrol(ctx, key, p.Scope)
	})
	if err != nil {
		return Subject{}, false, fmt.Errorf("enrolling a person: %w", err)
	}
	if whole := e.subject.Fence; !whole.Command.IsZero() && whole.Classes == nil {
		return Subject{}, false, fmt.Errorf("enrolling a person: %w", domain.ErrFenced)
	}
	return e.subject, e.created && mine, nil
}

func (r *Ring) enrol(ctx context.Context, key DirectoryKey, scope domain.Scope) (enrolled, error) {
	s, err := r.lookup(ctx, key)
	if err == nil || !errors.Is(err, domain.ErrNotFound) {
		return enrolled{subject: s}, err
	}
	b := &seal.Bundle{}
	defer b.Zero()
	for _, class := range r.Policy().ClassesOf(scope) {
		if err := b.Issue(class, 1, newSecret()); err != nil {
			return enrolled{}, err
		}
	}
	mine := Subject{Ref: domain.New[domain.SubjectRef](), Scope: scope, Directory: key, Issued: r.Clock().UTC()}
	for {
		epoch, before := r.entries.epoch(key), r.handles.epoch(place{ref: mine.Ref})
		s, err := r.Custodian.Enrol(ctx, mine, b)
		if err != nil {
			return enrolled{}, err
		}
		if !r.refDead(s.Ref) {
			r.entries.put(key, s, epoch)
			created := s.Ref == mine.Ref
			if created {
				r.siblings(ctx, place{}, s, b, before)
			}
			return enrolled{subject: s, created: created}, nil
		}
		// The journal names the one who stands there: the destruction goes on here.
		if err := r.Custodian.Remove(ctx, s.Ref); err != nil {
			return enrolled{}, err
		}
	}
}
