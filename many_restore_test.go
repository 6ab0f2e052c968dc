package lethe

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// A drill erases people behind a copy of Vault: ada whole, bob one class, cy a
// range; dora stays.
type drill struct {
	*site
	dir  string
	copy string
}

func newDrill(t *testing.T) (*drill, *running) {
	t.Helper()
	d := &drill{site: newSite(t, "raft"), dir: t.TempDir()}
	r := serve(t, d.config(d.dir))
	for _, id := range []string{"ada", "bob", "cy", "dora"} {
		c := dial(t, r.Gateway, id)
		c.talk(t, 10)
		await(t, "20 records of "+id, func() bool { return records(r.show(t, id), "messages", "present") == 20 })
	}
	d.copy = d.vault.CopyData()
	return d, r
}

func (d *drill) erase(r *running) {
	d.t.Helper()
	tomorrow := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
	for _, e := range []api.EraseRequest{
		{ID: "ada"},
		{ID: "bob", Classes: []string{"messages"}},
		{ID: "cy", Classes: []string{"messages"}, Before: tomorrow},
	} {
		if done, err := r.Erase(d.t.Context(), legal, e); err != nil || done.State != "keys-destroyed" {
			d.t.Fatalf("erasing %s: %+v, %v", e.ID, done, err)
		}
	}
}

// stands checks that what was erased opens nowhere, and what was kept does.
func (d *drill) stands(when string, r *running) {
	d.t.Helper()
	if s := r.show(d.t, "ada"); s.Subject.State != "unknown" {
		d.t.Errorf("%s: ada is %+v", when, s)
	}
	for _, id := range []string{"bob", "cy"} {
		if n := records(r.show(d.t, id), "messages", "present"); n != 0 {
			d.t.Errorf("%s: %d messages of %s are readable", when, n, id)
		}
		if n := records(r.show(d.t, id), "lifecycle", "present"); n == 0 {
			d.t.Errorf("%s: the other class of %s is gone", when, id)
		}
		if rows := exported(d.t, r, id); rows != 0 {
			d.t.Errorf("%s: %d messages of %s are exported", when, rows, id)
		}
	}
	if rows := exported(d.t, r, "dora"); rows != 20 {
		d.t.Errorf("%s: %d messages of dora are exported, want 20", when, rows)
	}
}

// exported counts the message records that an export opens.
func exported(t *testing.T, r *running, id string) int {
	t.Helper()
	var b bytes.Buffer
	if err := r.SubjectExport(t.Context(), legal, id, &b); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	f, err := z.Open("data/messages.ndjson")
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	rows, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return bytes.Count(rows, []byte(`"opcode"`))
}

// TestVaultIsRestoredFromACopy: whoever was erased since the copy is erased again
// before anything opens; what was kept is kept.
//
// Proves: INV-3
func TestVaultIsRestoredFromACopy(t *testing.T) {
	t.Parallel()
	d, r := newDrill(t)
	d.erase(r)
	d.stands("before", r)
	r.stop()
	d.vault.RestoreData(d.copy)
	again := serve(t, d.config(d.dir))
	d.stands("after a restart on the copy", again)
	found, err := again.RestoreCheck(t.Context(), legal, "")
	if err != nil || found.Lines < 3 || found.Behind != 0 || found.Subjects+found.Classes+found.Kept != 0 {
		t.Errorf("a check after the start found %+v, %v", found, err)
	}
}

// TestVaultIsRestoredUnderARunningGateway: the check finds what came back, also
// with another erasure right after the restore.
//
// Proves: INV-3
func TestVaultIsRestoredUnderARunningGateway(t *testing.T) {
	t.Parallel()
	d, r := newDrill(t)
	d.erase(r)
	d.vault.RestoreData(d.copy)
	await(t, "Vault answers", func() bool { _, err := r.ring.Status(t.Context()); return err == nil })
	if done, err := r.Erase(t.Context(), legal, api.EraseRequest{ID: "dora", Classes: []string{"network"}}); err != nil {
		t.Logf("an erasure right after the restore waits for the check: %+v, %v", done, err)
	}
	found, err := r.RestoreCheck(t.Context(), legal, "")
	if err != nil {
		t.Fatal(err)
	}
	if found.Subjects == 0 || found.Classes < 2 {
		t.Errorf("the check found %+v", found)
	}
	d.stands("after the check", r)
}

// TestAJournalFileIsLost: it is filled again from the log.
func TestAJournalFileIsLost(t *testing.T) {
	t.Parallel()
	d, r := newDrill(t)
	d.erase(r)
	r.stop()
	path := r.cfg.Journal.Path
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	again := serve(t, d.config(d.dir))
	d.stands("after its journal was lost", again)
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the journal has %d bytes, it had %d, %v", len(after), len(before), err)
	}
}
