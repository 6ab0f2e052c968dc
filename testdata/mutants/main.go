// Command mutants proves that the tests of erasure, sealing and retention can
// fail. It copies the tree, applies one small change at a time (*.txt beside this
// file) and demands that the named tests turn red. A change that does not apply,
// that does not compile, or that stays green is a failure.
//
// Usage: go run ./testdata/mutants [-v] [NAME...], in the module's root.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// perMutant bounds one run of the tests; a mutant that makes them hang is caught
// by it, and counts as red.
const perMutant = 5 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	verbose := flags.Bool("v", false, "print what the tests said")
	if err := flags.Parse(args); err != nil {
		return err
	}
	mutants, err := readAll(flags.Args())
	if err != nil {
		return err
	}
	tree, err := copyTree(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tree) }()
	if err := green(ctx, tree, mutants); err != nil {
		return err
	}
	var failed []error
	for _, m := range mutants {
		began := time.Now()
		said, err := m.try(ctx, tree)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", m.name, err))
		}
		line := fmt.Sprintf("%-28s %-7s %5.1f s  %s\n", m.name, verdict(err), time.Since(began).Seconds(), m.why)
		if *verbose {
			line += string(said)
		}
		if _, err := io.WriteString(out, line); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

func verdict(err error) string {
	if err != nil {
		return "ALIVE"
	}
	return "red"
}

// A mutant is one change of one file.
type mutant struct {
	name, why, file, pkg, tests string
	old, fresh                  string
}

// readAll reads the mutants named, or all of them.
func readAll(names []string) ([]mutant, error) {
	files, err := filepath.Glob("testdata/mutants/*.txt")
	if err != nil {
		return nil, err
	}
	var out []mutant
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := parse(name, string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, errors.New("no mutants found; run this in the module's root")
	}
	return out, nil
}

// parse reads the form: lines "why:", "file:", "test: PACKAGE [RUN]", then the old
// text behind "--- old" and the new one behind "--- new".
func parse(name, text string) (mutant, error) {
	m := mutant{name: name, tests: "."}
	head, change, found := strings.Cut(text, "--- old\n")
	old, fresh, both := strings.Cut(change, "--- new\n")
	if !found || !both || old == "" || old == fresh {
		return m, errors.New("needs an old and another, new text")
	}
	m.old, m.fresh = old, fresh
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "why":
			m.why = value
		case "file":
			m.file = value
		case "test":
			m.pkg, m.tests, _ = strings.Cut(value, " ")
		default:
			return m, fmt.Errorf("cannot read the line %q", line)
		}
	}
	if m.tests == "" {
		m.tests = "."
	}
	if m.why == "" || m.file == "" || m.pkg == "" {
		return m, errors.New("needs why, file and test")
	}
	return m, nil
}

// copyTree copies what the project consists of into a directory of its own.
func copyTree(ctx context.Context) (string, error) {
	listed, err := exec.CommandContext(ctx, "git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return "", fmt.Errorf("list the tree: %w", err)
	}
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return "", err
	}
	for name := range strings.SplitSeq(strings.Trim(string(listed), "\x00"), "\x00") {
		if err := copyFile(name, filepath.Join(dir, name)); err != nil {
			return "", errors.Join(err, os.RemoveAll(dir))
		}
	}
	return dir, nil
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil // removed, and the removal not committed yet
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}

// green runs the same tests on the unchanged copy: where they fail anyway, a red
// mutant would prove nothing.
func green(ctx context.Context, tree string, mutants []mutant) error {
	var done []string
	for _, m := range mutants {
		key := m.pkg + " " + m.tests
		if slices.Contains(done, key) {
			continue
		}
		done = append(done, key)
		if said, err := test(ctx, tree, m.pkg, m.tests); err != nil {
			return fmt.Errorf("%s fails without any mutant:\n%s", key, said)
		}
		if said, _ := test(ctx, tree, m.pkg, m.tests, "-list", m.tests); !bytes.Contains(said, []byte("Test")) {
			return fmt.Errorf("%s runs no test", key)
		}
	}
	return nil
}

// try applies the mutant, runs its tests, and takes it back.
func (m mutant) try(ctx context.Context, tree string) (said []byte, err error) {
	path := filepath.Join(tree, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return nil, fmt.Errorf("the old text stands %d times in %s", n, m.file)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), m.old, m.fresh, 1)), 0o644); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.WriteFile(path, text, 0o644)) }()
	if said, err = test(ctx, tree, m.pkg, "^$"); err != nil {
		return said, fmt.Errorf("does not compile:\n%s", said)
	}
	if said, err = test(ctx, tree, m.pkg, m.tests); err == nil {
		return said, fmt.Errorf("%s stays green with %s changed", m.pkg, m.file)
	}
	return said, nil
}

func test(ctx context.Context, tree, pkg, tests string, more ...string) ([]byte, error) {
	args := append([]string{"test", "-count=1", "-failfast", "-timeout", perMutant.String(), "-run", tests}, more...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = tree
	return cmd.CombinedOutput()
}
