package docs

import (
	"fmt"
	"go/ast"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	promiseHead = regexp.MustCompile(`(?m)^## (INV-[0-9]+) .+$`)
	testName    = regexp.MustCompile("`([a-z/]+|lethe)\\.((?:[Tt]est|Fuzz)[A-Za-z0-9]*)`")
	claim       = regexp.MustCompile(`(?m)^Proves: (.+)$`)
)

// A promise is a section of INVARIANTS.md and the tests that it names.
type promise struct {
	id    string
	tests []string // folder.Function
}

// readPromises reads the sections of the page.
func readPromises(page string) []promise {
	heads := promiseHead.FindAllStringSubmatchIndex(page, -1)
	var out []promise
	for i, h := range heads {
		end := len(page)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		p := promise{id: page[h[2]:h[3]]}
		for _, m := range testName.FindAllStringSubmatch(page[h[1]:end], -1) {
			p.tests = append(p.tests, m[1]+"."+m[2])
		}
		out = append(out, p)
	}
	return out
}

// testsOf returns the tests of the tree, the fuzz targets and the parts of suites
// (functions that take a *testing.T), with what each claims to prove.
func testsOf(tr *tree) map[string][]string {
	out := map[string][]string{}
	for _, f := range tr.sorted() {
		for _, s := range slices.Concat(f.own, f.tests) {
			for _, d := range s.functions() {
				if !isTest(d) {
					continue
				}
				name := strings.Replace(f.path, ".", "lethe", 1) + "." + d.Name.Name
				out[name] = nil
				for _, m := range claim.FindAllStringSubmatch(d.Doc.Text(), -1) {
					out[name] = append(out[name], strings.Split(strings.TrimSpace(m[1]), ", ")...)
				}
			}
		}
	}
	return out
}

// isTest reports whether a function is a test, a fuzz target or a part of a suite.
func isTest(d *ast.FuncDecl) bool {
	if d.Recv != nil || d.Type.Params.NumFields() == 0 {
		return false
	}
	star, ok := d.Type.Params.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	sel, ok := star.X.(*ast.SelectorExpr)
	return ok && (sel.Sel.Name == "T" || sel.Sel.Name == "F")
}

// checkPromises compares the page with the tests.
func checkPromises(promises []promise, tests map[string][]string) []string {
	var out []string
	proofs := map[string]int{}
	for _, p := range promises {
		if _, twice := proofs[p.id]; twice {
			out = append(out, p.id+" stands twice")
		}
		proofs[p.id] = 0
		for _, name := range p.tests {
			if _, there := tests[name]; there {
				proofs[p.id]++
			} else {
				out = append(out, fmt.Sprintf("%s names %s, which does not exist", p.id, name))
			}
		}
	}
	for name, claims := range tests {
		for _, id := range claims {
			if _, known := proofs[id]; !known {
				out = append(out, fmt.Sprintf("%s claims to prove %q, which INVARIANTS.md does not have", name, id))
			}
			proofs[id]++
		}
	}
	for _, p := range promises {
		if proofs[p.id] == 0 {
			out = append(out, p.id+" is named by no test")
		}
	}
	slices.Sort(out)
	return out
}

// promised is how many promises ARCHITECTURE.md §9 speaks of.
const promised = 10

// TestPromises holds INVARIANTS.md and the tests to each other.
func TestPromises(t *testing.T) {
	page, err := os.ReadFile("INVARIANTS.md")
	if err != nil {
		t.Fatal(err)
	}
	promises := readPromises(string(page))
	if len(promises) != promised {
		t.Errorf("INVARIANTS.md has %d promises, want %d", len(promises), promised)
	}
	report(t, checkPromises(promises, testsOf(loadModule(t))))
}

func TestPromisesCanFail(t *testing.T) {
	const page = "# Page\n\n## INV-1 One\n\nProved by `a.TestOne`, `a.testPart`.\n\n## INV-2 Two\n\nProved by `a.TestGone`, `lethe.TestRoot`.\n\n## INV-3 Three\n\nNothing.\n\n## INV-4 Four\n"
	tr := parse(t, map[string]string{
		"root_test.go": "package lethe\nimport \"testing\"\nfunc TestRoot(t *testing.T) {}",
		"a/a_test.go":  "package a\nimport \"testing\"\n// TestOne is one.\n//\n// Proves: INV-1, INV-4\nfunc TestOne(t *testing.T) {}\n\n// Proves: INV-9\nfunc FuzzIt(f *testing.F) {}\nfunc TestGone() {}",
		"a/suite.go":   "package a\nimport \"testing\"\nfunc testPart(t *testing.T, open any) {}",
	})
	want := []string{
		"INV-2 names a.TestGone, which does not exist",
		"INV-3 is named by no test",
		`a.FuzzIt claims to prove "INV-9", which INVARIANTS.md does not have`,
	}
	if got := checkPromises(readPromises(page), testsOf(tr)); !slices.Equal(got, want) {
		t.Errorf("findings %q, want %q", got, want)
	}
}
