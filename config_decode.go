package lethe

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/lethe-ledger/lethe/domain"
)

// A decoder turns YAML nodes into a struct and remembers which node every path
// came from, so that whatever is found wrong later has a line
// (docs/adr/0002-yaml-decoded-with-line-numbers.md).
type decoder struct {
	file     string
	nodes    map[string]*yaml.Node // by path: policy.classes[3].retention
	problems []ConfigProblem
	// onlyUnknown: what was decoded can be checked all the same, because nothing
	// but unknown keys was wrong.
	onlyUnknown bool
}

// add notes a problem at a path, or at the nearest place above it that the file
// has.
func (d *decoder) add(path, format string, args ...any) {
	p := ConfigProblem{File: d.file, Path: path, Message: fmt.Sprintf(format, args...)}
	for at := path; ; {
		if n, ok := d.nodes[at]; ok {
			p.Line = n.Line
			break
		}
		i := strings.LastIndexAny(at, ".[")
		if i < 0 {
			break
		}
		at = at[:i]
	}
	d.problems = append(d.problems, p)
}

func (d *decoder) decode(root *yaml.Node, into any) {
	d.onlyUnknown = true
	d.value("", root, reflect.ValueOf(into).Elem())
}

// bad notes a value that cannot be decoded.
func (d *decoder) bad(path, format string, args ...any) {
	d.onlyUnknown = false
	d.add(path, format, args...)
}

func (d *decoder) value(path string, n *yaml.Node, v reflect.Value) {
	d.nodes[path] = n
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.bad(path, "anchors and aliases are not read: write the value out")
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // as if the key were not there
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(path, n, text)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(path, n, v.Elem())
	case reflect.Struct:
		d.object(path, n, v)
	case reflect.Map:
		d.dictionary(path, n, v)
	case reflect.Slice:
		d.list(path, n, v)
	default:
		d.scalar(path, n, v)
	}
}

func (d *decoder) text(path string, n *yaml.Node, v encoding.TextUnmarshaler) {
	if n.Kind != yaml.ScalarNode {
		d.bad(path, "want one value here, not a list or a mapping")
		return
	}
	err := v.UnmarshalText([]byte(n.Value))
	if _, prefix := v.(*netip.Prefix); prefix && err != nil {
		err = fmt.Errorf("%q: want addresses such as 10.0.0.0/8 or 192.0.2.1/32", n.Value)
	}
	if err != nil {
		d.bad(path, "%s", err)
	}
}

// pairs calls each for every key of a mapping once.
func (d *decoder) pairs(path string, n *yaml.Node, each func(key string, at *yaml.Node, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.bad(path, "want keys and values here")
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if line, twice := first[key.Value]; twice {
			d.nodes[join(path, key.Value)] = key
			d.bad(join(path, key.Value), "stands here for the second time, first in line %d: keep one", line)
			continue
		}
		first[key.Value] = key.Line
		each(key.Value, key, value)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// object decodes a mapping into a struct by its yaml names.
func (d *decoder) object(path string, n *yaml.Node, v reflect.Value) {
	if field, ok := v.Addr().Interface().(*domain.Field); ok && n.Kind == yaml.ScalarNode {
		field.Name = n.Value // a field that needs no transform is written as its name
		return
	}
	fields, names := map[string]int{}, []string{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue // not of the file
		}
		fields[name] = i
		names = append(names, name)
	}
	d.pairs(path, n, func(key string, at, value *yaml.Node) {
		i, ok := fields[key]
		if !ok {
			d.nodes[join(path, key)] = at
			d.add(join(path, key), "unknown key: %s", known(key, names))
			return
		}
		d.value(join(path, key), value, v.Field(i))
		d.nodes[join(path, key)] = at
	})
}

// known says which keys there are, and which one was probably meant.
func known(key string, names []string) string {
	for _, name := range names {
		if distance(key, name) <= 2 && len(key) > 2 {
			return "did you mean " + name + "?"
		}
	}
	return "here are known " + strings.Join(names, ", ")
}

// distance counts the letters to change, add or leave out (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (d *decoder) dictionary(path string, n *yaml.Node, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	d.pairs(path, n, func(key string, at, value *yaml.Node) {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(join(path, key), value, item)
		d.nodes[join(path, key)] = at
		v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), item)
	})
}

func (d *decoder) list(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.bad(path, "want a list here, in brackets or with a hyphen before each item")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.value(fmt.Sprintf("%s[%d]", path, i), item, v.Index(i))
	}
}

func (d *decoder) scalar(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.bad(path, "want one value here, not a list or a mapping")
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		if n.Tag != "!!bool" {
			d.bad(path, "%q: want true or false", n.Value)
		}
		v.SetBool(n.Value == "true")
	case reflect.Int, reflect.Int64:
		d.number(path, n.Value, v)
	default:
		d.bad(path, "values of type %s cannot be read", v.Type())
	}
}

// number decodes durations and whole numbers; no setting is below 0.
func (d *decoder) number(path, text string, v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		t, err := time.ParseDuration(text)
		if err != nil || t < 0 {
			d.bad(path, "%q: want a duration such as 500ms, 5m or 24h", text)
		}
		v.SetInt(int64(t))
		return
	}
	i, err := strconv.ParseInt(text, 10, 64)
	if err != nil || i < 0 {
		d.bad(path, "%q: want a whole number from 0", text)
	}
	v.SetInt(i)
}

// A Size is a number of bytes, written as 1MiB, 64KiB or 1048576.
type Size int64

// units are the multiples of bytes; the longer suffix comes first.
var units = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) error {
	for _, unit := range units {
		digits, ok := strings.CutSuffix(string(b), unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > (1<<62)/unit.bytes {
			break
		}
		*s = Size(n * unit.bytes)
		return nil
	}
	return fmt.Errorf("%q: want a size such as 64KiB or 1MiB", b)
}
