package postgres_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/projections"
	"github.com/lethe-ledger/lethe/projections/postgres"
	"github.com/lethe-ledger/lethe/projections/viewtest"
)

// childURL says where a child keeps views.
const childURL = "LETHE_VIEWS_CHILD"

const childLease = 2 * time.Second

// endless is the same log in both processes: more than a child gets through.
func endless() *viewtest.Writer {
	w := viewtest.NewWriter()
	traffic(w, 3000)
	return w
}

// child keeps views, slowly, and says where it is.
func child() error {
	ctx := context.Background()
	e, err := postgres.Open(ctx, os.Getenv(childURL), postgres.Options{Name: "child", Lease: childLease})
	if err != nil {
		return err
	}
	opt := options()
	opt.Batch = 5
	w := endless()
	p, err := projections.Open(ctx, w, &slow{e}, opt)
	if err != nil {
		return err
	}
	go func() {
		for p.Wait(ctx, w.End()) != nil {
			fmt.Println("waiting failed")
		}
		fmt.Println("end")
	}()
	go func() {
		for ctx.Err() == nil {
			if st, err := p.Status(ctx); err == nil && st[0].Position.Commit > 0 {
				fmt.Println("moved")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	err = p.Run(ctx)
	return fmt.Errorf("the child stopped: %w", err)
}

// slow takes its time for each commit.
type slow struct{ *postgres.Engine }

type slowGeneration struct{ projections.Generation }

func (s *slow) Open(ctx context.Context, v projections.View) (projections.Generation, error) {
	g, err := s.Engine.Open(ctx, v)
	return &slowGeneration{g}, err
}

func (g *slowGeneration) Commit(ctx context.Context, from, to projections.Checkpoint, c *projections.Changes) error {
	time.Sleep(50 * time.Millisecond)
	return g.Generation.Commit(ctx, from, to, c)
}

type process struct {
	*exec.Cmd
	lines *bufio.Scanner
	out   io.Closer
}

// started starts a child that leads and has written.
func started(t *testing.T, url string) *process {
	c := &process{Cmd: exec.Command(os.Args[0])} //nolint:gosec // this very binary
	c.Env = append(os.Environ(), childURL+"="+url)
	out, err := c.StdoutPipe()
	check(t, err)
	check(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	c.lines, c.out = bufio.NewScanner(out), out
	if said := c.until("moved"); said != "moved" {
		t.Fatalf("the child said %q", said)
	}
	return c
}

// until reads up to a line, or to the last one, and returns it.
func (c *process) until(line string) (said string) {
	for c.lines.Scan() {
		if said = c.lines.Text(); said == line {
			return said
		}
	}
	return said
}

// second runs a projector beside the child for longer than the child's lease,
// during which it must not lead.
func second(t *testing.T, url string) (p *projections.Projector, end func()) {
	e := engine(t, url)
	p, err := projections.Open(t.Context(), endless(), e, options())
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for begun := time.Now(); time.Since(begun) < childLease+time.Second; time.Sleep(100 * time.Millisecond) {
		if _, _, err := e.Lead(t.Context()); !errors.Is(err, projections.ErrActive) {
			t.Fatalf("beside the child: %v", err)
		}
	}
	if at, end := digests(t, p)["pools"].Position, endless().End(); !at.Before(end) {
		t.Fatalf("the child is already at %s", at)
	}
	return p, func() {
		cancel()
		check(t, errors.Join(<-done, p.Close()))
	}
}

// tookOver bounds the time from the end of one to the other at the end of the log.
func tookOver(t *testing.T, begun time.Time) {
	took := time.Since(begun)
	t.Logf("taken over and caught up in %s with a lease of %s", took, childLease)
	if took > childLease+5*time.Second {
		t.Errorf("taken over in %s", took)
	}
}

// TestAnotherTakesOverFromOneThatIsKilled and leaves no row out, and none twice.
func TestAnotherTakesOverFromOneThatIsKilled(t *testing.T) {
	url := database(t)
	c := started(t, url)
	p, end := second(t, url)
	defer end()
	check(t, c.Process.Signal(syscall.SIGKILL))
	begun := time.Now()
	wait(t, p, endless().End())
	tookOver(t, begun)
	same(t, "after a kill", digests(t, p), onSQLite(t, endless()))
}

// TestAnotherTakesOverFromOneThatIsFrozen: when it goes on, it sees that it no
// longer leads, and writes nothing.
func TestAnotherTakesOverFromOneThatIsFrozen(t *testing.T) {
	url := database(t)
	c := started(t, url)
	p, end := second(t, url)
	defer end()
	check(t, c.Process.Signal(syscall.SIGSTOP))
	begun := time.Now()
	wait(t, p, endless().End())
	tookOver(t, begun)
	want := onSQLite(t, endless())
	same(t, "after a freeze", digests(t, p), want)
	check(t, c.Process.Signal(syscall.SIGCONT))
	if said := c.until("end"); said != "end" {
		t.Fatalf("the child said %q", said)
	}
	time.Sleep(childLease)
	same(t, "after it went on", digests(t, p), want)
}
