package outbox

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/eventstore/storetest"
)

// childEnv makes the test binary a gateway that records and ships until it is
// killed.
const childEnv = "LETHE_OUTBOX_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fmt.Println("error:", child(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const childStreams = 8

func childRef(i int) domain.SubjectRef { return domain.SubjectRef{0x40, 15: byte(i)} }

// child records into an outbox in dir, ships to a log beside it, in which somebody
// else writes to the same streams, and prints what was acknowledged.
func child(dir string) error {
	log, err := embedded.Open(filepath.Join(dir, "log"), embedded.Options{Clock: time.Now, Reserve: 1})
	if err != nil {
		return err
	}
	local, err := embedded.Open(filepath.Join(dir, "box"), embedded.Options{Clock: time.Now, Reserve: 1})
	if err != nil {
		return err
	}
	b, err := Open(context.Background(), local, Options{Clock: time.Now, SegmentBytes: 50_000, MaxBytes: 8 << 20, CacheBytes: 100_000})
	if err != nil {
		return err
	}
	fmt.Println("open")
	var out sync.Mutex
	failed := make(chan error, 1)
	for i := range childStreams {
		go func() { failed <- childWriter(b, streamOf(childRef(i)), childRef(i), &out) }()
		go func() { failed <- childStranger(log, childRef(i)) }()
	}
	go func() {
		r, err := NewRelay(b, RelayOptions{
			Log: storetest.Faulty{Store: log, Next: randomly(20)}, Fates: &dead{}, Notes: notebook{domain.New[domain.WriterID]()}, Clock: time.Now, Settle: 5 * time.Millisecond,
			MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
		})
		if err == nil {
			err = r.Run(context.Background())
		}
		failed <- err
	}()
	return <-failed
}

func childWriter(b *Outbox, s domain.Stream, ref domain.SubjectRef, out *sync.Mutex) error {
	last, err := b.Last(context.Background(), s)
	for err == nil {
		e := sealed(ref, rand.IntN(2_000))
		var at eventstore.Appended
		at, err = b.Append(context.Background(), s, last, []domain.Sealed{e})
		last = at.Revision
		if err == nil {
			out.Lock()
			fmt.Println("ack", s, e.ID())
			out.Unlock()
		}
	}
	return err
}

func childStranger(log *embedded.Store, ref domain.SubjectRef) error {
	for {
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		e := sealed(ref, 3)
		last, err := log.Last(context.Background(), e.Stream())
		if err != nil {
			return err
		}
		_, _ = log.Append(context.Background(), e.Stream(), last, []domain.Sealed{e}) // refused now and then
	}
}

// TestKill kills a gateway again and again, and asks in the end that all it
// acknowledged stands in the log, once and in order.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[domain.Stream][]domain.EventID{}
	for range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		readAcks(t, out, acked, func() { kill.Reset(time.Duration(100+rand.IntN(500)) * time.Millisecond) })
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
	}
	log, local := openStore(t, filepath.Join(dir, "log"), nil), openStore(t, filepath.Join(dir, "box"), nil)
	b, err := Open(t.Context(), local, Options{Clock: time.Now})
	must(t, err)
	pending := b.Stats().Pending
	var none sync.WaitGroup
	runUntilEmpty(t, b, log, &none)
	must(t, b.Close())
	n, strangers := 0, 0
	for s, ids := range acked {
		a, other := verifyAcked(t, log, s, ids)
		n, strangers = n+a, strangers+other
	}
	t.Logf("%d events acknowledged, %d of them pending after the last kill, %d of others", n, pending.Events, strangers)
	if len(acked) != childStreams || n < 100 || strangers == 0 {
		t.Fatalf("only %d streams, %d events, %d of others", len(acked), n, strangers)
	}
	must(t, local.Close())
	must(t, log.Close())
}

// verifyAcked asks that ids stand in a stream in their order, and no event twice.
func verifyAcked(t *testing.T, log *embedded.Store, s domain.Stream, ids []domain.EventID) (n, others int) {
	t.Helper()
	seen := map[domain.EventID]bool{}
	for e, err := range log.ReadStream(t.Context(), s, 0, eventstore.Forward, 0) {
		must(t, err)
		if seen[e.ID()] {
			t.Fatalf("event %s stands twice in %s", e.ID(), s)
		}
		seen[e.ID()] = true
		if n < len(ids) && ids[n] == e.ID() {
			n++
			continue
		}
		others++
	}
	if n < len(ids) {
		t.Fatalf("%s: %d of %d acknowledged events stand in their order", s, n, len(ids))
	}
	return n, others
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
			must(t, id.UnmarshalText([]byte(f[2])))
			acked[domain.Stream(f[1])] = append(acked[domain.Stream(f[1])], *id)
		default:
			t.Fatal(line)
		}
	}
}

func diskUsage(t *testing.T, dir string) (n int64) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	}))
	return n
}
