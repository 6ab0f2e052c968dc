package projections_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/sqlite"
)

const childDir = "LETHE_VIEWS_CHILD"

// TestMain is the child of TestSIGKILL where that asks for it.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Println(child(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child fills views batch by batch and rebuilds them, for ever, and says so.
func child(dir string) error {
	e, err := sqlite.New(dir, sqlite.OS{})
	if err != nil {
		return err
	}
	opt := options()
	opt.Batch = 50
	opt.Progress = func(projections.Progress) { fmt.Println("progress") }
	ctx, h := context.Background(), killed()
	p, err := projections.Open(ctx, h, e, opt)
	if err != nil {
		return err
	}
	fmt.Println("open")
	for err == nil {
		if err = p.CatchUp(ctx); err == nil {
			_, err = p.Rebuild(ctx, func(projections.Progress) { fmt.Println("rebuilding") })
		}
		fmt.Println("rebuilt")
	}
	return err
}

// killed is the same log in both processes.
func killed() projections.Source {
	h := history(7)
	h.Steps(400)
	return h
}

func TestSIGKILL(t *testing.T) {
	dir, src := t.TempDir(), killed()
	want := digests(t, caughtUp(t, src, t.TempDir()))
	generations := map[int]bool{}
	for n := range 9 {
		said := runAndKill(t, dir, []string{"open", "rebuilding", "rebuilt"}[n%3])
		p := open(t, src, dir)
		st, err := p.Status(t.Context())
		check(t, err)
		generations[st[0].Generation] = true
		check(t, p.CatchUp(t.Context()))
		for name, d := range digests(t, p) {
			if d != want[name] {
				t.Fatalf("killed after %q: view %s differs from one that was not", said, name)
			}
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.db"))
		check(t, errors.Join(err, p.Close()))
		if len(files) != 6 {
			t.Fatalf("killed after %q: files %v", said, files)
		}
	}
	if len(generations) < 2 {
		t.Fatalf("no kill fell behind a swap: generations %v", generations)
	}
}

// runAndKill ends a child at a random moment after it has said a word, and
// returns the last it said.
func runAndKill(t *testing.T, dir, word string) (said string) {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != word {
		said = lines.Text()
	}
	time.AfterFunc(time.Duration(rand.IntN(200))*time.Millisecond, func() { _ = cmd.Process.Kill() }) //nolint:gosec // any moment will do
	for lines.Scan() {
		said = lines.Text()
	}
	_, _ = io.Copy(io.Discard, out)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the child ended by itself: %v, it said %q", err, said)
	}
	return said
}
