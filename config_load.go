package lethe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A ConfigProblem is one thing wrong with a configuration file, with its place
// and what to do about it.
type ConfigProblem struct {
	File    string
	Line    int // from 1; 0 where the file as a whole is meant
	Path    string
	Message string
}

// String is file:line: path: message.
func (p ConfigProblem) String() string {
	s := p.File
	if p.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, p.Line)
	}
	if p.Path != "" {
		s += ": " + p.Path
	}
	return s + ": " + p.Message
}

// A ConfigError is everything wrong with a configuration file, in the order of
// its lines.
type ConfigError struct{ Problems []ConfigProblem }

// Error lists all problems, one a line.
func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// LoadConfig reads lethe.yaml strictly: an unknown key, a value that means
// nothing and a feature that this release does not have are errors, never passed
// over. The error is a *ConfigError that lists all of them with their lines.
func LoadConfig(path string) (*Config, error) {
	d := &decoder{file: path, nodes: map[string]*yaml.Node{}}
	root, ok := d.parse()
	if !ok {
		return nil, d.err()
	}
	c := DefaultConfig()
	c.Policy = noPolicy()
	c.Journal.Path = ""
	d.decode(root, c)
	c.Policy = c.Policy.WithDefaults()
	c.SetData(c.Data)
	if len(d.problems) == 0 || d.onlyUnknown {
		(&check{decoder: d, config: c}).all()
	}
	return c, d.err()
}

// defaultJournal is the file in the folder beside the data directory.
func defaultJournal(data string) string { return filepath.Clean(data) + "-journal/erasures.jsonl" }

// parse reads the file into nodes, which keep their lines.
func (d *decoder) parse() (*yaml.Node, bool) {
	raw, err := os.ReadFile(d.file)
	if err != nil {
		var cause *os.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		d.problems = append(d.problems, ConfigProblem{File: d.file, Message: "cannot be read: " + err.Error() + ": name a file that this user can read"})
		return nil, false
	}
	var doc, next yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	err = dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		d.problems = append(d.problems, ConfigProblem{File: d.file, Message: "is empty: it needs at least a policy"})
		return nil, false
	}
	if err == nil && !errors.Is(dec.Decode(&next), io.EOF) {
		err = errors.New("yaml: there is a second document: keep one")
	}
	if err != nil {
		d.problems = append(d.problems, syntaxProblem(d.file, err))
		return nil, false
	}
	return doc.Content[0], true
}

// syntaxProblem takes the line out of "yaml: line 3: …".
func syntaxProblem(file string, err error) ConfigProblem {
	p := ConfigProblem{File: file, Message: strings.TrimPrefix(err.Error(), "yaml: ")}
	var line int
	if n, scanErr := fmt.Sscanf(p.Message, "line %d:", &line); n == 1 && scanErr == nil {
		_, rest, _ := strings.Cut(p.Message, ": ")
		p.Line, p.Message = line, rest
	}
	p.Message = "is not YAML: " + p.Message
	return p
}

func (d *decoder) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b ConfigProblem) int { return a.Line - b.Line })
	return &ConfigError{Problems: d.problems}
}
