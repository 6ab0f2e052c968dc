package lethe_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// The small disk: the store keeps 128 MiB of it in reserve and takes nothing once
// the ballast lies there.
const (
	smallDisk = "size=256m"
	ballast   = 160 << 20
)

// onSmallDisk mounts a file system of its own below the home's data.
func (h *home) onSmallDisk(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(h.data, 0o700); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", h.data, "tmpfs", 0, smallDisk)
	if errors.Is(err, unix.EPERM) {
		t.Skipf("mounting a small disk needs more rights: %v; TestAFullLedger goes through the same with a store that says so", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(h.data, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// passes edits a configuration: every message is handed over by itself.
var passes = []string{"flush: {records: 128, interval: 2s}", "flush: {records: 1, interval: 200ms}\n      on_ledger_failure: pass"}

// TestADiskThatIsFull: every message crosses, the process is killed in the middle,
// and once there is room the log says what it lacks.
func TestADiskThatIsFull(t *testing.T) {
	h, up := newHome(t), newEchoing(t)
	h.onSmallDisk(t)
	h.onLoopback(t, up.url, passes...)
	full := filepath.Join(h.data, "ballast")
	killedWhileFull(t, h, func() error { return os.WriteFile(full, make([]byte, ballast), 0o600) }, func() error { return os.Remove(full) })
}

// TestAnOutboxThatIsFull is the same where the log is away.
func TestAnOutboxThatIsFull(t *testing.T) {
	h, up := newHome(t), newEchoing(t)
	log := esdbtest.Start(t, esdbtest.Options{Clock: time.Now})
	h.onLoopback(t, up.url, append(passes, "store: {engine: embedded}", fmt.Sprintf("store: {engine: eventstoredb, url: %q, outbox: {size: 1MiB}}", log.URL()))...)
	killedWhileFull(t, h, func() error { log.Stop(); return nil }, log.Restart)
}

func killedWhileFull(t *testing.T, h *home, fill, drain func() error) {
	t.Helper()
	s := h.start(t)
	ada := join(t, s.Gateway, "ada")
	ada.talk(t, 10)
	h.counts(t, "ada", 20)
	if err := fill(); err != nil {
		t.Fatal(err)
	}
	for range 40 { // more than waits in memory
		ada.talk(t, 100)
	}
	crossed := int64(2 * (10 + 40*100))
	within(t, 20*time.Second, "a gap is owed", func() bool { return s.metric(t, "lethe_gaps_owed") >= 1 })
	time.Sleep(2500 * time.Millisecond) // the last second of it, too
	missed := int64(s.metric(t, `lethe_unrecorded_messages_total{pool="chat"}`))
	s.end(syscall.SIGKILL)
	if err := drain(); err != nil {
		t.Fatal(err)
	}
	s = h.start(t)
	within(t, 60*time.Second, "the gap is noted", func() bool {
		return s.metric(t, "lethe_gaps_owed") == 0 && s.metric(t, "lethe_outbox_pending_events") == 0
	})
	bytes, connections := h.gaps(t)
	recorded := held(h.subject(t, "ada"), "messages", "present")
	lacking := (crossed - recorded) * int64(len("hello there"))
	t.Logf("%d messages crossed, %d are recorded, %d were counted as missing when the process was killed; the gaps hold %d bytes of %d", crossed, recorded, missed, bytes, lacking)
	if missed == 0 || lacking == 0 || connections == 0 {
		t.Fatal("nothing was missing")
	}
	// What waited in memory died with the process, and is in the gaps, too. Bytes are
	// rounded up by an eighth at most.
	if bytes < lacking || bytes > lacking+lacking/8 {
		t.Errorf("the gaps hold %d bytes, %d are missing", bytes, lacking)
	}
	s.end(syscall.SIGTERM)
}

// gaps sums the view of them.
func (h *home) gaps(t *testing.T) (bytes, connections int64) {
	t.Helper()
	view := ask[api.ViewRows](t, h, "views", "query", "gaps")
	for _, row := range view.Rows {
		for i, name := range view.Columns {
			switch n, _ := row[i].(float64); name {
			case "bytes":
				bytes += int64(n)
			case "connections":
				connections += int64(n)
			}
		}
	}
	return bytes, connections
}

// metric reads one value of /metrics, 0 if there is none of that name.
func (s *server) metric(t *testing.T, name string) float64 {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(all)) {
		var v float64
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &v); err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return 0 // such as an outbox's where there is none
}
