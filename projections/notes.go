package projections

import (
	"encoding/json"
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
)

// Kinds of destructions, as the fact kind names them.
const (
	KindSubject   = domain.DestroySubject   // a whole person
	KindClass     = domain.DestroyClass     // a class of a person, up to a gen
	KindRange     = domain.DestroyRange     // single buckets of a person
	KindRetention = domain.DestroyRetention // retention keys, for everybody
	KindBlock     = domain.DestroyBlock     // a whole block of anonymous refs
)

// A Destruction is what a note in the stream destruction says.
type Destruction struct{ domain.DestructionNote }

func parseDestruction(e *Event) (*Destruction, error) {
	note, err := domain.ParseDestruction(e.Type(), e.Envelope.Facts)
	return &Destruction{note}, err
}

// A part is a piece of a scope: empty fields match everything.
type part struct {
	owner  string // ref or block
	class  domain.Class
	gen    int64
	tier   domain.Tier
	bucket domain.Bucket
}

// parts says whose rows the destruction takes. Retention takes nobody's: its
// rows stay, marked expired, until they are disposed of.
func (d *Destruction) parts() (parts []part) {
	switch d.Kind {
	case KindSubject:
		return []part{{owner: d.Ref.String()}}
	case KindBlock:
		return []part{{owner: d.Block.String()}}
	case KindClass:
		for _, c := range d.Classes {
			parts = append(parts, part{owner: d.Ref.String(), class: c.Class, gen: int64(c.Gen)})
		}
	case KindRange:
		for _, k := range d.Buckets {
			parts = append(parts, d.rangeParts(k)...)
		}
	case KindRetention:
	}
	return parts
}

// rangeParts are the gens whose key died in the bucket's class, or all of them
// where none is named.
func (d *Destruction) rangeParts(k domain.RetentionKey) (parts []part) {
	for _, c := range d.Classes {
		if c.Class == k.Class {
			parts = append(parts, part{owner: d.Ref.String(), class: k.Class, gen: int64(c.Gen), tier: k.Tier, bucket: k.Bucket})
		}
	}
	if parts == nil {
		return []part{{owner: d.Ref.String(), class: k.Class, tier: k.Tier, bucket: k.Bucket}}
	}
	return parts
}

// A Disposal is a record of what was disposed of. It stands for everything of
// its scope before it in the log.
type Disposal struct {
	// Key is the scope of bucket.disposed.
	Key domain.RetentionKey
	// Commands are the destructions that subject.disposed covers.
	Commands []string
	// Stream and Revision, the first one kept, are the scope of stream.disposed.
	Stream   domain.Stream
	Revision int64
	Totals   []Total
	// parts are what the destructions of subject.disposed took, by command, as far
	// as the log still says; see disposed.complete.
	parts map[string][]part
}

func parseDisposal(e *Event) (*Disposal, error) {
	f := e.Envelope.Facts
	if len(f.List("holds")) > 0 {
		return nil, ErrHolds
	}
	d := &Disposal{Commands: f.List("commands"), Stream: domain.Stream(f.Text("stream")), Revision: f.Int("revision")}
	if e.Type() == domain.BucketDisposed {
		k, err := domain.ParseRetentionKey(f.Text("class") + "/" + f.Text("tier") + "/" + f.Text("bucket"))
		if err != nil {
			return nil, err
		}
		d.Key = k
	}
	for _, s := range f.List("totals") {
		t, err := ParseTotal(s)
		if err != nil {
			return nil, err
		}
		d.Totals = append(d.Totals, t)
	}
	return d, nil
}

// parsePolicy reads the document of a policy revision: the body of FORMAT §4
// that begins with LTD, between its key number and its tag.
func parsePolicy(e *Event) (*domain.Policy, error) {
	const head, tag = 5, 16
	data := e.Data()
	if len(data) < head+tag || string(data[:4]) != "LTD\x01" {
		return nil, fmt.Errorf("policy is no document: %w", ErrFacts)
	}
	p := &domain.Policy{}
	if err := json.Unmarshal(data[head:len(data)-tag], p); err != nil {
		return nil, fmt.Errorf("reading policy revision %d: %w", e.Envelope.Facts.Int("revision"), err)
	}
	return p, nil
}
