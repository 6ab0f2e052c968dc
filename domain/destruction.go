package domain

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// A DestructionKind says what a destruction takes. Its text is the kind of a
// journal line (FORMAT §7), block apart.
type DestructionKind string

// The kinds.
const (
	// DestroySubject takes a person in one scope, linked anonymous refs included.
	DestroySubject DestructionKind = "subject"
	// DestroyClass takes classes of a person, of all time.
	DestroyClass DestructionKind = "class"
	// DestroyRange takes the buckets of a person's classes that begin in a range.
	DestroyRange DestructionKind = "range"
	// DestroyRetention takes retention keys, for everybody.
	DestroyRetention DestructionKind = "retention"
	// DestroyBlock takes a block of anonymous refs that nothing needs any more.
	DestroyBlock DestructionKind = "block"
)

// A ClassGen is one gen of one class.
type ClassGen struct {
	Class Class `json:"class"`
	Gen   Gen   `json:"gen"`
}

// String is class:gen, as events and receipts have it.
func (c ClassGen) String() string {
	return string(c.Class) + ":" + strconv.FormatUint(uint64(c.Gen), 10)
}

// Compare orders by class, then gen.
func (c ClassGen) Compare(o ClassGen) int {
	return cmp.Or(cmp.Compare(c.Class, o.Class), cmp.Compare(c.Gen, o.Gen))
}

func parseClassGen(s string) (ClassGen, error) {
	c, gen, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(gen, 10, 32)
	if err != nil || n == 0 || Class(c).Validate() != nil {
		return ClassGen{}, fmt.Errorf("class %q: want class:gen: %w", s, ErrFacts)
	}
	return ClassGen{Class: Class(c), Gen: Gen(n)}, nil
}

// A DestructionNote is what an event of the stream destruction says.
type DestructionNote struct {
	Kind    DestructionKind
	Command CommandID
	Ref     SubjectRef
	Block   BlockID
	// Classes are the gens that lost a key. Of a whole person they are the last
	// gens, so that who removes its streams knows them; everything of it is gone.
	Classes []ClassGen
	Buckets []RetentionKey
	Keys    int64
	Journal int64
	// Done: keys are destroyed. A carried note has keys only if it was done.
	Done bool
}

// Facts are how the note is written.
func (d DestructionNote) Facts() Facts {
	facts := NewFacts(Name("kind", d.Kind), UUID("command", d.Command), UUID("ref", d.Ref), UUID("block", d.Block), List("classes", texts(d.Classes)), List("buckets", texts(d.Buckets)))
	if d.Done {
		facts = append(facts, Int("keys", d.Keys), Int("journal", d.Journal))
	}
	return facts
}

func texts[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return out
}

// ParseDestruction reads the facts of a note of type typ, and refuses one that
// does not name what its kind needs: applied as it stands, it would take too
// much or too little.
func ParseDestruction(typ EventType, f Facts) (d DestructionNote, err error) {
	d = DestructionNote{Kind: DestructionKind(f.Text("kind")), Keys: f.Int("keys"), Journal: f.Int("journal")}
	d.Done = typ == DestructionDone || typ == DestructionCarried && d.Keys > 0
	if d.Command, err = parseOptional[CommandID](f.Text("command")); err != nil {
		return d, err
	}
	if d.Ref, err = parseOptional[SubjectRef](f.Text("ref")); err != nil {
		return d, err
	}
	if d.Block, err = parseOptional[BlockID](f.Text("block")); err != nil {
		return d, err
	}
	for _, s := range f.List("classes") {
		c, err := parseClassGen(s)
		if err != nil {
			return d, err
		}
		d.Classes = append(d.Classes, c)
	}
	for _, s := range f.List("buckets") {
		k, err := ParseRetentionKey(s)
		if err != nil {
			return d, err
		}
		d.Buckets = append(d.Buckets, k)
	}
	return d, d.check()
}

func (d DestructionNote) check() error {
	ok := false
	switch d.Kind {
	case DestroySubject:
		ok = !d.Ref.IsZero()
	case DestroyClass:
		ok = !d.Ref.IsZero() && len(d.Classes) > 0
	case DestroyRange:
		ok = !d.Ref.IsZero() && len(d.Buckets) > 0
	case DestroyRetention:
		ok = true
	case DestroyBlock:
		ok = !d.Block.IsZero()
	}
	if !ok {
		return fmt.Errorf("destruction of kind %q is incomplete: %w", d.Kind, ErrFacts)
	}
	return nil
}

// Covers reports whether the destruction took the keys of an event with envelope
// e in a stream of block, zero for a stream of one person. Retention covers
// nobody's in this sense: its buckets are named and disposed of by themselves.
func (d DestructionNote) Covers(e Envelope, block BlockID) bool {
	switch d.Kind {
	case DestroySubject:
		return e.Ref == d.Ref
	case DestroyBlock:
		return block == d.Block
	case DestroyClass:
		return e.Ref == d.Ref && d.coversGen(e)
	case DestroyRange:
		return e.Ref == d.Ref && d.coversBucket(e)
	case DestroyRetention:
	}
	return false
}

func (d DestructionNote) coversGen(e Envelope) bool {
	for _, c := range d.Classes {
		if c.Class == e.Class && c.Gen == e.Gen {
			return true
		}
	}
	return false
}

// coversBucket: the gens whose key died in the bucket's class, or all of them
// where none is named.
func (d DestructionNote) coversBucket(e Envelope) bool {
	for _, k := range d.Buckets {
		if k.Class == e.Class && k.Tier == e.Tier && k.Bucket == e.Bucket {
			return d.coversGen(e) || !d.names(e.Class)
		}
	}
	return false
}

func (d DestructionNote) names(class Class) bool {
	for _, c := range d.Classes {
		if c.Class == class {
			return true
		}
	}
	return false
}

// parseOptional reads an id that may be absent.
func parseOptional[I ~[16]byte](s string) (id I, err error) {
	if s == "" {
		return id, nil
	}
	if id, err = Parse[I](s); err != nil {
		return id, fmt.Errorf("id %q: %w", s, ErrFacts)
	}
	return id, nil
}
