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

	"github.com/lethe-ledger/lethe/domain"
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

// TestADiskThatIsFull: every message crosses, the process is killed in the middle,
// and once there is room the log says what it lacks.
func TestADiskThatIsFull(t *testing.T) {
	h, up := newHome(t), newEchoing(t)
	h.onSmallDisk(t)
	h.onLoopback(t, up.url, "flush: {records: 128, interval: 2s}", "flush: {records: 1, interval: 200ms}\n      on_ledger_failure: pass")
	s := h.start(t)
	ada := join(t, s.Gateway, "ada")
	ada.talk(t, 10)
	h.counts(t, "ada", 20)
	full := filepath.Join(h.data, "ballast")
	if err := os.WriteFile(full, make([]byte, ballast), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 40 { // more than waits in memory
		ada.talk(t, 100)
	}
	crossed := int64(2 * (10 + 40*100))
	var owed float64
	within(t, 20*time.Second, "a gap is owed", func() bool {
		owed = s.metric(t, "lethe_gaps_owed")
		return owed >= 1
	})
	time.Sleep(2500 * time.Millisecond) // the last second of it, too
	missed := int64(s.metric(t, `lethe_unrecorded_messages_total{pool="chat"}`))
	s.end(syscall.SIGKILL)
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	s = h.start(t)
	within(t, 20*time.Second, "the gap is noted", func() bool { return s.metric(t, "lethe_gaps_owed") == 0 })
	recorded := held(h.subject(t, "ada"), "messages", "present")
	gaps := ask[api.ViewRows](t, h, "views", "query", "gaps")
	var bytes, connections float64
	for _, row := range gaps.Rows {
		at := map[string]any{}
		for i, name := range gaps.Columns {
			at[name] = row[i]
		}
		bytes += at["bytes"].(float64)             //nolint:forcetypeassert // numbers in JSON
		connections += at["connections"].(float64) //nolint:forcetypeassert // as above
	}
	const size = int64(len("hello there"))
	lacking := (crossed - recorded) * size
	t.Logf("%d messages crossed, %d are recorded, %d were counted as missing when the process was killed; %d gaps of %.0f bytes", crossed, recorded, missed, len(gaps.Rows), bytes)
	if missed == 0 || recorded >= crossed || connections < 1 || len(gaps.Rows) == 0 {
		t.Fatalf("nothing was missing: %+v", gaps)
	}
	// What waited in memory died with the process, and is in the gap, too.
	if int64(bytes) < lacking || len(gaps.Rows) == 1 && int64(bytes) > int64(domain.Padme(uint64(lacking))) { //nolint:gosec // sizes
		t.Errorf("the gaps hold %.0f bytes, %d are missing", bytes, lacking)
	}
	s.end(syscall.SIGTERM)
}

// metric reads one value of /metrics.
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
	t.Fatalf("there is no metric %s", name)
	return 0
}
