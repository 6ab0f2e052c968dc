package docs

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// noState finds variables of a package that change after they were made. It
// reads names, not types, so it is a net with known holes: a method that changes
// its receiver and an alias made by := pass. What it sees is: a variable of a
// type that exists to change (sync, sync/atomic), an assignment to it or into
// it, delete and clear on it, its address taken in its own package, and an
// assignment to a variable of another package of ours.
func noState(tr *tree) []string {
	var out []string
	for _, f := range tr.sorted() {
		names := map[string]bool{}
		for _, s := range f.own {
			out = append(out, declared(tr, s, names)...)
		}
		for _, s := range f.own {
			for _, d := range s.functions() {
				if d.Body != nil {
					out = append(out, changes(tr, s, d, names)...)
				}
			}
		}
	}
	return out
}

// declared collects the variables of a package and finds those whose type can
// only be meant to change.
func declared(tr *tree, s *source, names map[string]bool) []string {
	var out []string
	for _, decl := range s.syntax.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			value := spec.(*ast.ValueSpec)
			for _, name := range value.Names {
				names[name.Name] = name.Name != "_"
			}
			if sel, ok := value.Type.(*ast.SelectorExpr); ok && isChanging(s, sel) {
				out = append(out, fmt.Sprintf("%s: a %s of the package", tr.at(value), sel.Sel.Name))
			}
		}
	}
	return out
}

func isChanging(s *source, sel *ast.SelectorExpr) bool {
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return false
	}
	from := s.imports()[x.Name]
	return from == "sync" || from == "sync/atomic"
}

// changes finds what a function changes of the package's variables.
func changes(tr *tree, s *source, d *ast.FuncDecl, names map[string]bool) []string {
	own, known := locals(d), s.imports()
	var out []string
	check := func(e ast.Expr) {
		id, member := root(e)
		switch {
		case id == nil || own[id.Name]:
		case names[id.Name]:
			out = append(out, fmt.Sprintf("%s: %s changes the package's variable %s", tr.at(e), d.Name.Name, id.Name))
		case member != "" && strings.HasPrefix(known[id.Name], module):
			out = append(out, fmt.Sprintf("%s: %s changes %s.%s", tr.at(e), d.Name.Name, id.Name, member))
		}
	}
	ast.Inspect(d.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if !isDefine(n.Tok) {
				for _, e := range n.Lhs {
					check(e)
				}
			}
		case *ast.IncDecStmt:
			check(n.X)
		case *ast.UnaryExpr:
			// A pointer to another package's table is how one reads it without a copy.
			if id, member := root(n.X); n.Op == token.AND && id != nil && (member == "" || known[id.Name] == "") {
				check(n.X)
			}
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") && len(n.Args) > 0 {
				check(n.Args[0])
			}
		}
		return true
	})
	return out
}

// root returns the name at the left of a.b[c].d, and the first member behind it.
func root(e ast.Expr) (*ast.Ident, string) {
	member := ""
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x, member
		case *ast.SelectorExpr:
			e, member = x.X, x.Sel.Name
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil, ""
		}
	}
}

// locals returns every name that a function declares anywhere in it.
func locals(d *ast.FuncDecl) map[string]bool {
	out := map[string]bool{}
	define := func(e ast.Expr) {
		if id, ok := e.(*ast.Ident); ok {
			out[id.Name] = true
		}
	}
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				define(name)
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				define(name)
			}
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if isDefine(n.Tok) {
					define(e)
				}
			}
		case *ast.RangeStmt:
			if isDefine(n.Tok) {
				define(n.Key)
				define(n.Value)
			}
		}
		return true
	})
	return out
}

// isDefine reports whether an assignment makes new names.
func isDefine(tok token.Token) bool { return tok == token.DEFINE }
