package lethe

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// frozenChild names the environment variable that makes the test binary the
// process which is frozen.
const frozenChild = "LETHE_TEST_FROZEN"

// A childConfig is what that process needs to know.
type childConfig struct {
	Dir, Upstream, Log, Vault, TokenFile string
	Event                                string // which it opens again and again
}

// TestFrozenChild serves and opens one event until it is killed. It prints each
// opening with the time at which it began, and whether the event is erased.
func TestFrozenChild(t *testing.T) {
	given := os.Getenv(frozenChild)
	if given == "" {
		t.Skip("for TestAGatewayThatIsFrozenAndResumed")
	}
	var c childConfig
	if err := json.Unmarshal([]byte(given), &c); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t, c.Dir, c.Upstream)
	cfg.Store = StoreConfig{Engine: storeEventStoreDB, URL: c.Log}
	cfg.Keys = KeysConfig{Custodian: keysVault, Address: c.Vault, Auth: &VaultAuthConfig{TokenFile: c.TokenFile}}
	r := serveWith(t, cfg, quietly)
	var event domain.Recorded
	for e, err := range r.store.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.ID().String() == c.Event {
			event = e
		}
	}
	fmt.Println("gateway", r.Gateway)
	for {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := r.ledger.Open(ctx, event)
		cancel()
		switch {
		case err == nil:
			fmt.Println("opened", began.UnixNano())
		case errors.Is(err, domain.ErrErased):
			fmt.Println("erased")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// A frozen is that process as the test sees it.
type frozen struct {
	*exec.Cmd
	gateway chan string
	opened  atomic.Int64 // when its last opening began
	erased  atomic.Bool
}

func (s *site) startFrozen(w *way, event domain.Recorded) *frozen {
	s.t.Helper()
	given, err := json.Marshal(childConfig{
		Dir: s.t.TempDir(), Upstream: s.upstream, Log: "esdb://" + w.listener.Addr().String() + "?tls=false", Vault: s.vault.Addr, TokenFile: s.tokenFile, Event: event.ID().String(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	f := &frozen{Cmd: exec.Command(os.Args[0], "-test.run=^TestFrozenChild$"), gateway: make(chan string, 1)}
	f.Env = append(os.Environ(), frozenChild+"="+string(given))
	f.Stderr = os.Stderr
	out, err := f.StdoutPipe()
	if err == nil {
		err = f.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	read := make(chan struct{})
	go func() { defer close(read); f.read(bufio.NewScanner(out)) }()
	s.t.Cleanup(func() {
		_ = f.Process.Kill()
		<-read
		_ = f.Wait() // it was killed
	})
	return f
}

func (f *frozen) read(lines *bufio.Scanner) {
	for lines.Scan() {
		what, value, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "gateway":
			f.gateway <- value
		case "opened":
			var began int64
			if _, err := fmt.Sscan(value, &began); err == nil {
				f.opened.Store(began)
			}
		case "erased":
			f.erased.Store(true)
		}
	}
}

// TestAGatewayThatIsFrozenAndResumed: a process that is stopped while a person is
// erased opens nothing when it goes on, and goes on recording.
//
// Proves: INV-6
func TestAGatewayThatIsFrozenAndResumed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "inmem")
	nodes := []*running{serve(t, s.config(t.TempDir())), serve(t, s.config(t.TempDir()))}
	ada := dial(t, nodes[0].Gateway, "ada")
	ada.talk(t, 10)
	var events []domain.Recorded
	await(t, "ada is in the log", func() bool { events = messagesOf(t, nodes[0].Lethe, "ada"); return len(events) > 0 })
	w := newWay(t, s.log.Address())
	child := s.startFrozen(w, events[0])
	var bob *client
	select {
	case gateway := <-child.gateway:
		bob = dial(t, gateway, "bob")
	case <-time.After(30 * time.Second):
		t.Fatal("the child does not serve")
	}
	bob.talk(t, 5)
	await(t, "the child opens", func() bool { return child.opened.Load() > 0 })
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	time.Sleep(50 * time.Millisecond)
	w.close() // it is not to hear of the fence before it could open
	done, err := nodes[0].Erase(t.Context(), legal, api.EraseRequest{ID: "ada"})
	receipt := time.Now()
	if err != nil || done.State != "keys-destroyed" {
		t.Errorf("the erasure: %+v, %v", done, err)
	}
	if err := child.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	w.open()
	await(t, "the child reads it as erased", child.erased.Load)
	last := time.Unix(0, child.opened.Load())
	t.Logf("the receipt came %s after the process was told to stop, its last opening began %s before the receipt", ms(receipt.Sub(stopped)), ms(receipt.Sub(last)))
	if last.After(receipt) {
		t.Errorf("an opening began %s after the receipt", last.Sub(receipt))
	}
	bob.talk(t, 5)
	await(t, "20 records of bob", func() bool { return records(nodes[1].show(t, "bob"), "messages", "present") == 20 })
}
