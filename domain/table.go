package domain

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Body says what the sealed body of an event type holds.
type Body byte

// The kinds of bodies.
const (
	// BodyRecord is one JSON object with the declared fields.
	BodyRecord Body = iota + 1
	// BodyTraffic is a column block of message metadata (FORMAT §5).
	BodyTraffic
	// BodyNone: there is nothing to seal; a note.
	BodyNone
	// BodyDocument is readable by all: policy, journal, checkpoint.
	BodyDocument
)

// A FieldSpec declares one sealed field of an event type.
type FieldSpec struct {
	Name string
	// Captured fields are recorded only where a class of the policy lists them;
	// the others always belong to their event.
	Captured bool
}

// An Upcaster turns the record of one version into that of the next one.
type Upcaster func(record map[string]any) map[string]any

// An EventSpec declares one event type: what is in clear, what is sealed, and
// how its records become those of the next version.
type EventSpec struct {
	Type   EventType
	Class  Class // the built-in or reserved class; empty where the policy's fields decide
	Body   Body
	Facts  []FactSpec
	Fields []FieldSpec
	Next   EventType // the next version, empty for the newest
	Upcast Upcaster  // set with Next
}

// ErrUnknownType says that an event's type or version is not in the table. A
// reader stops at it: it must be upgraded before writers are.
var ErrUnknownType = errors.New("event type is not in the table; upgrade this reader first")

// A Table declares event types.
type Table struct{ specs map[EventType]EventSpec }

// NewTable makes a table; a type declared twice, upcast to nothing or in a circle
// is an error.
func NewTable(specs ...EventSpec) (Table, error) {
	t := Table{specs: make(map[EventType]EventSpec, len(specs))}
	for _, s := range specs {
		if _, twice := t.specs[s.Type]; twice {
			return Table{}, fmt.Errorf("event type %s is declared twice", s.Type)
		}
		t.specs[s.Type] = s
	}
	for _, s := range specs {
		if _, ok := t.specs[s.Next]; (s.Next != "") != (s.Upcast != nil) || (s.Next != "" && !ok) {
			return Table{}, fmt.Errorf("event type %s: next version %q has no upcaster or no row", s.Type, s.Next)
		}
	}
	for _, s := range specs {
		for steps := 0; s.Next != ""; s = t.specs[s.Next] {
			if steps++; steps > len(specs) {
				return Table{}, fmt.Errorf("event type %s: its versions go in a circle", s.Type)
			}
		}
	}
	return t, nil
}

// Spec returns the row of a type.
func (t Table) Spec(typ EventType) (EventSpec, error) {
	s, ok := t.specs[typ]
	if !ok {
		return EventSpec{}, fmt.Errorf("%s: %w", typ, ErrUnknownType)
	}
	return s, nil
}

// Current carries a record through the upcasters to the newest version.
func (t Table) Current(typ EventType, record map[string]any) (EventType, map[string]any, error) {
	for {
		s, err := t.Spec(typ)
		if err != nil || s.Next == "" {
			return typ, record, err
		}
		typ, record = s.Next, s.Upcast(record)
	}
}

// Ours reports whether a type is one that readers apply; types that begin with $
// are the store's own.
func (typ EventType) Ours() bool { return !strings.HasPrefix(string(typ), "$") }

// Types returns every declared type in the order of their names.
func (t Table) Types() []EventType { return slices.Sorted(maps.Keys(t.specs)) }
