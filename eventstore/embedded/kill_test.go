package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

// childEnv makes the test binary a process that writes to a store until it is
// killed.
const childEnv = "LETHE_EMBEDDED_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

// child appends from 16 goroutines, truncates one stream now and then, and prints
// each acknowledged event.
func child(dir string) int {
	s, err := Open(dir, Options{Clock: time.Now})
	if errors.Is(err, eventstore.ErrLocked) {
		fmt.Println("locked:", err)
		return 3
	}
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("open")
	var out sync.Mutex
	for w := range 16 {
		go childWriter(s, domain.Stream(fmt.Sprintf("lethe.test.writer-%d", w)), &out)
	}
	select {}
}

func childWriter(s *Store, stream domain.Stream, out *sync.Mutex) {
	last, err := s.Last(context.Background(), stream)
	for err == nil {
		e := sample(stream, rand.IntN(3_000))
		var a eventstore.Appended
		a, err = s.Append(context.Background(), stream, last, []domain.Sealed{e})
		last = a.Revision
		if err == nil {
			out.Lock()
			fmt.Println("ack", stream, e.ID())
			out.Unlock()
		}
	}
	fmt.Println("error:", err)
}

func startChild(t *testing.T, dir string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// TestKill kills a writing process again and again and asks each time that what it
// printed is there, once and in order.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[domain.Stream][]domain.EventID{}
	for round := range 5 {
		before := acknowledged(acked)
		cmd, out := startChild(t, dir)
		kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		readAcks(t, out, acked, func() { kill.Reset(time.Duration(50+rand.IntN(250)) * time.Millisecond) })
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		s := mustOpen(t, dir, Options{})
		verify(t, s, acked, nil)
		// An event that was stored and not yet printed is settled now.
		l := &load{acked: acked}
		l.adopt(t, s)
		mustClose(t, s)
		if acknowledged(acked) <= before {
			t.Fatalf("round %d appended nothing", round)
		}
	}
}

// acknowledged counts what was, by whichever writer.
func acknowledged(acked map[domain.Stream][]domain.EventID) (n int) {
	for _, ids := range acked {
		n += len(ids)
	}
	return n
}

// readAcks reads what a child prints until it is killed. A line cut short by the
// kill is no acknowledgement that anybody saw.
func readAcks(t *testing.T, out io.Reader, acked map[domain.Stream][]domain.EventID, opened func()) {
	t.Helper()
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		switch f[0] {
		case "open":
			opened()
		case "ack":
			id := new(domain.EventID)
			if err := id.UnmarshalText([]byte(f[2])); err != nil {
				t.Fatal(err)
			}
			acked[domain.Stream(f[1])] = append(acked[domain.Stream(f[1])], *id)
		default:
			t.Fatal(line)
		}
	}
}

// TestLocked asks that a second process, and a second Open in this one, are told
// who has the store.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	_, err := Open(dir, Options{Clock: time.Now})
	if !errors.Is(err, eventstore.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second Open: %v", err)
	}
	cmd, out := startChild(t, dir)
	said, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(string(said), dir) {
		t.Fatalf("second process: %v, %q", err, said)
	}
	mustClose(t, s)
	mustClose(t, mustOpen(t, dir, Options{}))
}

// TestUnwritable asks that a directory that cannot be made is no lock.
func TestUnwritable(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(file+"/store", Options{Clock: time.Now})
	if !errors.Is(err, domain.ErrUnavailable) || errors.Is(err, eventstore.ErrLocked) {
		t.Fatalf("open: %v", err)
	}
	if _, err := Open(t.TempDir(), Options{}); !errors.Is(err, eventstore.ErrInvalid) {
		t.Fatalf("open without a clock: %v", err)
	}
}
