package domain

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// A FactKind is what the clear value of a fact may be. There is no kind for
// free text: what is in clear is an integer, a boolean, or an id that the policy
// or Lethe made (FORMAT §3).
type FactKind byte

// The kinds of facts.
const (
	FactInt  FactKind = iota + 1 // from 0 to 2^63-1
	FactBool                     // only true is written
	FactName                     // an id of the policy or a word of Lethe
	FactUUID                     // an id that Lethe made
	FactList                     // names, in order
)

// Limits of names in facts.
const (
	maxNameBytes = 160
	maxListNames = 20_000
)

// A Fact is one clear value of an event. The zero Fact is absent.
type Fact struct {
	name string
	kind FactKind
	n    int64
	text string
	list []string
}

// Int is a whole number from 0.
func Int(name string, n int64) Fact { return Fact{name: name, kind: FactInt, n: n} }

// Bool is a fact that is left out when false.
func Bool(name string, v bool) Fact {
	if !v {
		return Fact{}
	}
	return Fact{name: name, kind: FactBool, n: 1}
}

// Name is an id of the policy or a word of Lethe; empty means absent.
func Name[S ~string](name string, v S) Fact {
	if v == "" {
		return Fact{}
	}
	return Fact{name: name, kind: FactName, text: string(v)}
}

// UUID is an id that Lethe made; the zero id means absent.
func UUID[K any](name string, id ID[K]) Fact {
	if id.IsZero() {
		return Fact{}
	}
	return Fact{name: name, kind: FactUUID, text: id.String()}
}

// List is a list of names; an empty one means absent.
func List[S ~string](name string, v []S) Fact {
	if len(v) == 0 {
		return Fact{}
	}
	names := make([]string, len(v))
	for i, s := range v {
		names[i] = string(s)
	}
	return Fact{name: name, kind: FactList, list: names}
}

// Facts are the clear values of one event, in the order of the event table.
type Facts []Fact

// NewFacts leaves out what is absent.
func NewFacts(facts ...Fact) Facts {
	return slices.DeleteFunc(Facts(facts), func(f Fact) bool { return f.kind == 0 })
}

// Int returns the named number, 0 if absent.
func (fs Facts) Int(name string) int64 { return fs.find(name).n }

// Bool reports whether the named fact is there and true.
func (fs Facts) Bool(name string) bool { return fs.find(name).n == 1 }

// Text returns the named name or id, empty if absent.
func (fs Facts) Text(name string) string { return fs.find(name).text }

// List returns the named list; the caller must not change it.
func (fs Facts) List(name string) []string { return fs.find(name).list }

func (fs Facts) find(name string) Fact {
	for _, f := range fs {
		if f.name == name {
			return f
		}
	}
	return Fact{}
}

// A FactSpec declares one fact of an event type.
type FactSpec struct {
	Name     string
	Kind     FactKind
	Required bool
}

// ErrFact says that a fact is not one that the event table declares.
var ErrFact = errors.New("fact is not declared for this event type")

// check reports an error unless facts are those that specs declare, in order.
func (fs Facts) check(specs []FactSpec) error {
	rest := fs
	for _, spec := range specs {
		if len(rest) == 0 || rest[0].name != spec.Name {
			if spec.Required {
				return fmt.Errorf("fact %s is missing or out of order: %w", spec.Name, ErrFact)
			}
			continue
		}
		if err := rest[0].valid(spec.Kind); err != nil {
			return err
		}
		rest = rest[1:]
	}
	if len(rest) > 0 {
		return fmt.Errorf("fact %s: %w", rest[0].name, ErrFact)
	}
	return nil
}

func (f Fact) valid(kind FactKind) error {
	ok := f.kind == kind
	switch f.kind {
	case FactInt:
		ok = ok && f.n >= 0
	case FactName:
		ok = ok && validName(f.text)
	case FactUUID:
		_, err := Parse[EventID](f.text)
		ok = ok && err == nil
	case FactList:
		ok = ok && len(f.list) <= maxListNames && !slices.ContainsFunc(f.list, func(s string) bool { return !validName(s) })
	case FactBool:
		ok = ok && f.n == 1
	}
	if !ok {
		return fmt.Errorf("value of fact %s: %w", f.name, ErrFact)
	}
	return nil
}

// validName keeps everything out that would need escaping, or be prose.
func validName(s string) bool {
	if s == "" || len(s) > maxNameBytes {
		return false
	}
	for _, c := range []byte(s) {
		if !nameByte[c] {
			return false
		}
	}
	return true
}

var nameByte = func() (ok [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/+=") {
		ok[c] = true
	}
	return ok
}()

// append writes "name":value.
func (f Fact) append(b []byte) []byte {
	b = append(append(append(b, '"'), f.name...), '"', ':')
	switch f.kind {
	case FactInt:
		return strconv.AppendInt(b, f.n, 10)
	case FactBool:
		return append(b, "true"...)
	case FactName, FactUUID:
		return append(append(append(b, '"'), f.text...), '"')
	case FactList:
		b = append(b, '[')
		for i, s := range f.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, '"'), s...), '"')
		}
		return append(b, ']')
	}
	return b
}
