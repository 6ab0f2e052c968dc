package projections

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/lethe-ledger/lethe/domain"
)

// Kinds of destructions, as the fact kind names them.
const (
	KindSubject   = "subject"   // a whole person
	KindClass     = "class"     // a class of a person, up to a gen
	KindRange     = "range"     // single buckets of a person
	KindRetention = "retention" // retention keys, for everybody
	KindBlock     = "block"     // a whole block of anonymous refs
)

// A Destruction is what a note in the stream destruction says.
type Destruction struct {
	Kind    string
	Command string
	Ref     string
	Block   string
	Classes []ClassGen
	Buckets []domain.RetentionKey
	Keys    int64
	Journal int64
	// Done: keys are destroyed. A carried note has keys only if it was done.
	Done bool
}

// A ClassGen names a subject key within a person: class:gen.
type ClassGen struct {
	Class domain.Class
	Gen   int64
}

// String is class:gen, as facts write it.
func (c ClassGen) String() string { return fmt.Sprintf("%s:%d", c.Class, c.Gen) }

func parseDestruction(e *Event) (*Destruction, error) {
	f := e.Envelope.Facts
	d := &Destruction{
		Kind: f.Text("kind"), Command: f.Text("command"), Ref: f.Text("ref"), Block: f.Text("block"),
		Keys: f.Int("keys"), Journal: f.Int("journal"),
	}
	d.Done = e.Type() == domain.DestructionDone || e.Type() == domain.DestructionCarried && d.Keys > 0
	for _, s := range f.List("classes") {
		c, gen, _ := strings.Cut(s, ":")
		n, err := strconv.ParseUint(gen, 10, 32)
		if err != nil || n == 0 || domain.Class(c).Validate() != nil {
			return nil, fmt.Errorf("class %q: want class:gen: %w", s, ErrFacts)
		}
		d.Classes = append(d.Classes, ClassGen{Class: domain.Class(c), Gen: int64(n)}) //nolint:gosec // 32 bits
	}
	for _, s := range f.List("buckets") {
		k, err := parseKey(s)
		if err != nil {
			return nil, err
		}
		d.Buckets = append(d.Buckets, k)
	}
	return d, d.check()
}

// check refuses a destruction that does not name what its kind needs: applied
// as it stands, it would purge too much or too little.
func (d *Destruction) check() error {
	ok := false
	switch d.Kind {
	case KindSubject:
		ok = d.Ref != ""
	case KindClass:
		ok = d.Ref != "" && len(d.Classes) > 0
	case KindRange:
		ok = d.Ref != "" && len(d.Buckets) > 0
	case KindRetention:
		ok = true
	case KindBlock:
		ok = d.Block != ""
	}
	if !ok {
		return fmt.Errorf("destruction of kind %q is incomplete: %w", d.Kind, ErrFacts)
	}
	return nil
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
		return []part{{owner: d.Ref}}
	case KindBlock:
		return []part{{owner: d.Block}}
	case KindClass:
		for _, c := range d.Classes {
			parts = append(parts, part{owner: d.Ref, class: c.Class, gen: c.Gen})
		}
	case KindRange:
		for _, k := range d.Buckets {
			parts = append(parts, d.rangeParts(k)...)
		}
	}
	return parts
}

// rangeParts are the gens whose key died in the bucket's class, or all of them
// where none is named.
func (d *Destruction) rangeParts(k domain.RetentionKey) (parts []part) {
	for _, c := range d.Classes {
		if c.Class == k.Class {
			parts = append(parts, part{owner: d.Ref, class: k.Class, gen: c.Gen, tier: k.Tier, bucket: k.Bucket})
		}
	}
	if parts == nil {
		return []part{{owner: d.Ref, class: k.Class, tier: k.Tier, bucket: k.Bucket}}
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
}

func parseDisposal(e *Event) (*Disposal, error) {
	f := e.Envelope.Facts
	if len(f.List("holds")) > 0 {
		return nil, ErrHolds
	}
	d := &Disposal{Commands: f.List("commands"), Stream: domain.Stream(f.Text("stream")), Revision: f.Int("revision")}
	if e.Type() == domain.BucketDisposed {
		k, err := parseKey(f.Text("class") + "/" + f.Text("tier") + "/" + f.Text("bucket"))
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
