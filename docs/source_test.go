package docs

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// module is the import path of the root package.
const module = "github.com/lethe-ledger/lethe"

// A tree is the module's Go source, parsed; the folder "." is the root package.
type tree struct {
	fset    *token.FileSet
	folders map[string]*folder
}

// A folder is what one directory holds; a test file of an external test package
// counts as a test of the folder.
type folder struct {
	path  string
	own   []*source
	tests []*source
}

// A source is one file.
type source struct {
	name   string // relative to the module
	lines  int
	syntax *ast.File
}

// loadModule reads the module that these tests belong to.
func loadModule(t *testing.T) *tree {
	t.Helper()
	tr, err := loadTree(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// loadTree parses every Go file below root. What `go build ./...` leaves out is
// left out: testdata, node_modules, names that begin with a dot or underscore.
func loadTree(root fs.FS) (*tree, error) {
	tr := &tree{fset: token.NewFileSet(), folders: map[string]*folder{}}
	return tr, fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && leftOut(name):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return tr.add(name, text)
	})
}

func leftOut(dir string) bool {
	base := path.Base(dir)
	hidden := base != "." && (base[0] == '.' || base[0] == '_')
	return hidden || base == "testdata" || base == "node_modules"
}

func (tr *tree) add(name string, text []byte) error {
	syntax, err := parser.ParseFile(tr.fset, name, text, parser.ParseComments)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	if tr.folders[dir] == nil {
		tr.folders[dir] = &folder{path: dir}
	}
	f, s := tr.folders[dir], &source{name: name, lines: bytes.Count(text, []byte("\n")), syntax: syntax}
	if strings.HasSuffix(name, "_test.go") {
		f.tests = append(f.tests, s)
	} else {
		f.own = append(f.own, s)
	}
	return nil
}

// sorted returns the folders in order, so that findings come in order.
func (tr *tree) sorted() []*folder {
	var out []*folder
	for _, f := range tr.folders {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *folder) int { return strings.Compare(a.path, b.path) })
	return out
}

// at names a place as file:line.
func (tr *tree) at(n ast.Node) string {
	p := tr.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// imports maps what the file calls an import to its path.
func (s *source) imports() map[string]string {
	out := map[string]string{}
	for _, spec := range s.syntax.Imports {
		p := strings.Trim(spec.Path.Value, `"`)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		out[name] = p
	}
	return out
}

// ours returns the folders of this module that the files import, each once.
func ours(files []*source) []string {
	var out []string
	for _, s := range files {
		for _, p := range s.imports() {
			if p == module {
				out = append(out, ".")
			} else if rest, ok := strings.CutPrefix(p, module+"/"); ok {
				out = append(out, rest)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// functions returns the declared functions of a file.
func (s *source) functions() []*ast.FuncDecl {
	var out []*ast.FuncDecl
	for _, d := range s.syntax.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			out = append(out, f)
		}
	}
	return out
}

// uses returns every place where a file names pkg.name, by whatever name it
// imports the package.
func (s *source) uses(pkg, name string) []*ast.SelectorExpr {
	known := s.imports()
	var out []*ast.SelectorExpr
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != name {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && known[x.Name] == pkg {
			out = append(out, sel)
		}
		return true
	})
	return out
}
