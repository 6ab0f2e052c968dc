package docs

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A table is what ARCHITECTURE.md allows: for each folder those that its own
// code may import. Everything is allowed where the value is nil.
type table map[string][]string

// header begins the table of §2; the columns are found by it.
const header = "| package | what lives here | may import (ours) |"

var quoted = regexp.MustCompile("`([^`]+)`")

// readTable reads the rows below the header.
func readTable(page string) (table, error) {
	_, rest, found := strings.Cut(page, header+"\n")
	if !found {
		return nil, fmt.Errorf("no table with the header %q", header)
	}
	out := table{}
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		if strings.HasPrefix(line, "|---") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 {
			return nil, fmt.Errorf("row with %d cells: %s", len(cells), line)
		}
		name := folderName(strings.TrimSpace(cells[0]))
		allowed, err := readAllowed(strings.TrimSpace(cells[2]))
		if err != nil {
			return nil, fmt.Errorf("row %s: %w", name, err)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("row %s stands twice", name)
		}
		out[name] = allowed
	}
	return out, nil
}

// folderName reads the first cell; the root package is written "`lethe` (root)".
func folderName(cell string) string {
	if strings.Contains(cell, "(root)") {
		return "."
	}
	return strings.Trim(cell, "`")
}

func readAllowed(cell string) ([]string, error) {
	switch cell {
	case "everything":
		return nil, nil
	case "nothing":
		return []string{}, nil
	}
	var out []string
	for part := range strings.SplitSeq(cell, ", ") {
		m := quoted.FindStringSubmatch(part)
		switch {
		case part == "root":
			out = append(out, ".")
		case m != nil && m[0] == part:
			out = append(out, m[1])
		default:
			return nil, fmt.Errorf("cannot read %q", part)
		}
	}
	return out, nil
}

// checkImports compares the tree with the table.
func checkImports(tr *tree, allowed table) []string {
	var out []string
	for name := range allowed {
		if tr.folders[name] == nil {
			out = append(out, fmt.Sprintf("ARCHITECTURE.md has a row %s, but there is no such package", name))
		}
	}
	for _, f := range tr.sorted() {
		may, known := allowed[f.path]
		if !known {
			out = append(out, fmt.Sprintf("package %s has no row in ARCHITECTURE.md §2", f.path))
			continue
		}
		for _, p := range ours(f.own) {
			if may != nil && !slices.Contains(may, p) {
				out = append(out, fmt.Sprintf("%s imports %s, which its row does not allow", f.path, p))
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestImportTable holds every package to its row in ARCHITECTURE.md §2.
func TestImportTable(t *testing.T) {
	page, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := readTable(string(page))
	if err != nil {
		t.Fatal(err)
	}
	report(t, checkImports(loadModule(t), allowed))
}

func TestImportTableCanFail(t *testing.T) {
	const page = header + "\n|---|---|---|\n| `a` | one | nothing |\n| `b` | two | `a` |\n| `gone` | three | `a`, `b` |\n| `lethe` (root) | all | everything |\n"
	allowed, err := readTable(page)
	if err != nil {
		t.Fatal(err)
	}
	tr := parse(t, map[string]string{
		"root.go":      `package lethe; import _ "github.com/lethe-ledger/lethe/a"`,
		"a/a.go":       `package a; import _ "github.com/lethe-ledger/lethe/b"`,
		"a/a_test.go":  `package a; import _ "github.com/lethe-ledger/lethe/rowless"`,
		"b/b.go":       `package b; import _ "github.com/lethe-ledger/lethe/a"`,
		"rowless/r.go": `package rowless`,
	})
	want := []string{
		"ARCHITECTURE.md has a row gone, but there is no such package",
		"a imports b, which its row does not allow",
		"package rowless has no row in ARCHITECTURE.md §2",
	}
	if got := checkImports(tr, allowed); !slices.Equal(got, want) {
		t.Errorf("findings %q, want %q", got, want)
	}
	for _, broken := range []string{"no table", header + "\n| `a` | one | all of it |\n", header + "\n| `a` | nothing |\n", header + "\n| `a` | x | nothing |\n| `a` | x | nothing |\n"} {
		if _, err := readTable(broken); err == nil {
			t.Errorf("a broken table was read: %q", broken)
		}
	}
}

// reach returns every folder that the given one imports, directly or not; with
// tests its test files count, but not those of what it imports.
func (tr *tree) reach(from string, tests bool) []string {
	var out []string
	var visit func(name string, files []*source)
	visit = func(_ string, files []*source) {
		for _, p := range ours(files) {
			if !slices.Contains(out, p) && tr.folders[p] != nil {
				out = append(out, p)
				visit(p, tr.folders[p].own)
			}
		}
	}
	f := tr.folders[from]
	if f == nil {
		return nil
	}
	visit(from, f.own)
	if tests {
		visit(from, f.tests)
	}
	return out
}

// checkSight finds who sees what they must never see, by whatever way.
func checkSight(tr *tree) []string {
	blind := []struct {
		folder, never string
		tests         bool
	}{
		{"gateway", "keys", true},
		{"gateway", "eventstore", true},
		{"gateway/recorder", "keys", false},
		{"gateway/recorder", "eventstore", false},
		{"projections", "keys", false},
	}
	var out []string
	for _, f := range tr.sorted() {
		for _, b := range blind {
			if f.path != b.folder && !strings.HasPrefix(f.path, b.folder+"/") {
				continue
			}
			for _, seen := range tr.reach(f.path, b.tests && f.path == b.folder) {
				if seen == b.never || strings.HasPrefix(seen, b.never+"/") {
					out = append(out, fmt.Sprintf("%s reaches %s; %s must not see %s", f.path, seen, b.folder, b.never))
				}
			}
		}
	}
	return out
}

// TestSight follows imports through: what a package must not see it must not
// reach through a third one either.
func TestSight(t *testing.T) { report(t, checkSight(loadModule(t))) }

func TestSightCanFail(t *testing.T) {
	tr := parse(t, map[string]string{
		"gateway/g.go":             `package gateway; import _ "github.com/lethe-ledger/lethe/between"`,
		"gateway/g_test.go":        `package gateway; import _ "github.com/lethe-ledger/lethe/eventstore/embedded"`,
		"between/b.go":             `package between; import _ "github.com/lethe-ledger/lethe/keys"`,
		"keys/k.go":                `package keys`,
		"eventstore/embedded/e.go": `package embedded`,
		"projections/sqlite/s.go":  `package sqlite; import _ "github.com/lethe-ledger/lethe/keys"`,
	})
	want := []string{
		"gateway reaches keys; gateway must not see keys",
		"gateway reaches eventstore/embedded; gateway must not see eventstore",
		"projections/sqlite reaches keys; projections must not see keys",
	}
	if got := checkSight(tr); !slices.Equal(got, want) {
		t.Errorf("findings %q, want %q", got, want)
	}
}

// parse makes a tree of small files.
func parse(t *testing.T, files map[string]string) *tree {
	t.Helper()
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	tr, err := loadTree(root)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func report(t *testing.T, findings []string) {
	t.Helper()
	for _, f := range findings {
		t.Error(f)
	}
}
