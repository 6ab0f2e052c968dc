package docs

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// Bounds of the code (STYLE.md). They hold for shipped code; a test may be longer.
const (
	maxFileLines     = 400
	maxFunctionLines = 70
)

// A rule finds what STYLE.md or ARCHITECTURE.md §2 forbids. Each carries files
// that break it, and how often, so that a rule which sees nothing is noticed.
type rule struct {
	name   string
	check  func(*tree) []string
	broken map[string]string
	found  int
}

var rules = []rule{
	{"no init", noInit, map[string]string{"a/a.go": "package a; func init() {}", "a/b.go": "package a; type T int; func (T) init() {}"}, 1},
	{"the clock is passed in", noClock, map[string]string{
		"a/a.go":         `package a; import "time"; var at = time.Now()`,
		"a/b.go":         `package a; import clock "time"; func f() any { return clock.Since }`,
		"cmd/lethe/a.go": `package main; import "time"; var at = time.Now()`,
		"lethe.go":       `package lethe; import "time"; var at = time.Now()`,
		"a/a_test.go":    `package a; import "time"; var at = time.Now()`,
	}, 2},
	{"who makes a Sealed", sealedMakers, map[string]string{
		"gateway/a.go":             `package gateway; import "github.com/lethe-ledger/lethe/domain"; var s = domain.NewSealed`,
		"domain/d.go":              `package domain; func NewSealed() {}; func other() { NewSealed() }`,
		"domain/ledger/record.go":  `package ledger; import d "github.com/lethe-ledger/lethe/domain"; var s = d.NewSealed`,
		"domain/seal/integrity.go": `package seal; import "github.com/lethe-ledger/lethe/domain"; var s = domain.NewSealed`,
		"gateway/a_test.go":        `package gateway; import "github.com/lethe-ledger/lethe/domain"; var s = domain.NewSealed`,
	}, 3},
	{"no mutable state of a package", noState, map[string]string{
		"a/a.go": `package a
import ("sync"; "sync/atomic"; "github.com/lethe-ledger/lethe/b")
var count, fixed int
var seen = map[string]int{}
var lock sync.Mutex
var hits atomic.Int64
var kept = sync.OnceValue(func() int { return 1 })
type box struct{ n int }
var one box
func f(fixed int) { count++; seen["a"] = 1; one.n = 2; fixed = 3; b.Limit = 4 }
func g() { delete(seen, "a"); use(&one) }
func h() { seen := map[string]int{}; seen["a"] = 1; for count := range 3 { count++ } }`,
		"b/b.go": `package b; var Limit = 3`,
	}, 8},
	{"every package says what it promises", documented, map[string]string{
		"a/a.go": "package a", "b/b.go": "// Package b is.\npackage b", "c/c.go": "// About c.\npackage c", "cmd/d/d.go": "// Command d does.\npackage main",
	}, 2},
	{"short files and functions", shortCode, map[string]string{
		"a/a.go":      "package a\nfunc f() {\n" + strings.Repeat("\n", 69) + "}\n",
		"a/b.go":      "package a\nfunc g() {\n" + strings.Repeat("\n", 68) + "}\n",
		"a/c.go":      "package a\n" + strings.Repeat("\n", 400),
		"a/d_test.go": "package a\n" + strings.Repeat("\n", 500),
	}, 2},
	{"names that say something", telling, map[string]string{"common/c.go": "package common", "a/b/util/u.go": "package util", "a/a.go": "package types"}, 3},
}

// TestRules holds the module to every rule.
func TestRules(t *testing.T) {
	tr := loadModule(t)
	if len(tr.folders) < 10 {
		t.Fatalf("only %d packages found: the rules have looked at nothing", len(tr.folders))
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) { report(t, r.check(tr)) })
	}
}

func TestRulesCanFail(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			if got := r.check(parse(t, r.broken)); len(got) != r.found {
				t.Errorf("%d findings, want %d: %q", len(got), r.found, got)
			}
		})
	}
}

func noInit(tr *tree) []string {
	var out []string
	for _, f := range tr.sorted() {
		for _, s := range slices.Concat(f.own, f.tests) {
			for _, d := range s.functions() {
				if d.Name.Name == "init" && d.Recv == nil {
					out = append(out, fmt.Sprintf("%s: func init", tr.at(d)))
				}
			}
		}
	}
	return out
}

// noClock: the root package and the commands own the clock and pass it on. Since
// and Until read it, too.
func noClock(tr *tree) []string {
	var out []string
	for _, f := range tr.sorted() {
		if f.path == "." || strings.HasPrefix(f.path, "cmd/") {
			continue
		}
		for _, s := range f.own {
			for _, name := range []string{"Now", "Since", "Until"} {
				for _, use := range s.uses("time", name) {
					out = append(out, fmt.Sprintf("%s: time.%s below the root package; take a clock", tr.at(use), name))
				}
			}
		}
	}
	return out
}

// makers are the files that may call domain.NewSealed; a folder means all of
// its files. Whoever is added here can put bytes into the log that nobody sealed.
var makers = []string{
	"domain/seal/",           // sealing and noting
	"eventstore/embedded/",   // reading back; the tombstone of a stream
	"eventstore/esdb/",       // reading back
	"eventstore/outbox",      // wraps what was sealed for its local store, and reads it back
	"migrate_filler.go",      // what stands where an event was truncated, of a type that readers skip
	"domain/ledger/probe.go", // the probe that was sealed before the erasure, read from its document
	"eventstore/storetest/",  // contract suite: arbitrary bytes
	"projections/viewtest/",  // test kit: a log in memory
}

func sealedMakers(tr *tree) []string {
	var out []string
	for _, f := range tr.sorted() {
		for _, s := range f.own {
			if slices.ContainsFunc(makers, func(m string) bool { return strings.HasPrefix(s.name, m) }) {
				continue
			}
			for _, use := range s.uses(module+"/domain", "NewSealed") {
				out = append(out, fmt.Sprintf("%s: domain.NewSealed called by who is not listed", tr.at(use)))
			}
			if f.path == "domain" {
				out = append(out, within(tr, s)...)
			}
		}
	}
	return out
}

// within finds calls of NewSealed inside package domain itself.
func within(tr *tree, s *source) []string {
	var out []string
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if id, ok := call.Fun.(*ast.Ident); ok && id.Name == "NewSealed" {
			out = append(out, fmt.Sprintf("%s: NewSealed called by who is not listed", tr.at(call)))
		}
		return true
	})
	return out
}

func documented(tr *tree) []string {
	var out []string
	for _, f := range tr.sorted() {
		if len(f.own) == 0 {
			continue
		}
		want := "Package " + f.own[0].syntax.Name.Name + " "
		if f.own[0].syntax.Name.Name == "main" {
			want = "Command " + path.Base(f.path) + " "
		}
		says := func(s *source) bool { return strings.HasPrefix(s.syntax.Doc.Text(), want) }
		if !slices.ContainsFunc(f.own, says) {
			out = append(out, fmt.Sprintf("package %s has no comment that begins with %q", f.path, want))
		}
	}
	return out
}

func shortCode(tr *tree) []string {
	var out []string
	for _, f := range tr.sorted() {
		for _, s := range f.own {
			if s.lines > maxFileLines {
				out = append(out, fmt.Sprintf("%s has %d lines, more than %d", s.name, s.lines, maxFileLines))
			}
			for _, d := range s.functions() {
				from, to := tr.fset.Position(d.Pos()).Line, tr.fset.Position(d.End()).Line
				if n := to - from + 1; n > maxFunctionLines {
					out = append(out, fmt.Sprintf("%s: %s has %d lines, more than %d", tr.at(d), d.Name.Name, n, maxFunctionLines))
				}
			}
		}
	}
	return out
}

// telling refuses package names behind which anything can lie.
func telling(tr *tree) []string {
	empty := []string{"util", "utils", "common", "types", "manager", "impl", "helper", "helpers", "misc", "base"}
	var out []string
	for _, f := range tr.sorted() {
		for _, s := range slices.Concat(f.own, f.tests) {
			if name := strings.TrimSuffix(s.syntax.Name.Name, "_test"); slices.Contains(empty, name) {
				out = append(out, fmt.Sprintf("%s: a package called %s says nothing", s.name, name))
				break
			}
		}
	}
	return out
}
