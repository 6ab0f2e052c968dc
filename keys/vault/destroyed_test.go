package vault_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/vault"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// TestDestructionConfirmed: a deletion that Vault acknowledged and did not carry
// out is no destruction.
func TestDestructionConfirmed(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	n := at.node()
	l := fill(t, n)
	n.wire.pretend(http.MethodDelete, "/"+vault.TransitMount+"/keys/")
	for _, d := range []struct {
		name    string
		destroy func() error
	}{
		{"class", func() error { return n.Change(background(), l.subject.Ref, dropClass("messages")) }},
		{"person", func() error { return n.Remove(background(), l.subject.Ref) }},
		{"block", func() error { return n.RemoveBlock(background(), l.block) }},
		{"retention", func() error { return n.DestroyRetention(background(), []domain.RetentionKey{l.bucket}, 1) }},
	} {
		if err := d.destroy(); !errors.Is(err, domain.ErrUnavailable) {
			t.Errorf("a %s counts as destroyed while its Transit key stands: %v", d.name, err)
		}
	}
	n.wire.pretend("", "")
	must(t, n.Remove(background(), l.subject.Ref))
}

// TestOldVersionsGone: an entry that left the directory is in no version that
// Vault still has, also where somebody told it to keep several.
func TestOldVersionsGone(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	n := at.node()
	_, err := at.admin.Logical().Write(vault.KVMount+"/config", map[string]any{"max_versions": 10, "cas_required": true})
	must(t, err)
	s := enrolled(t, n, 1)
	must(t, n.Remove(background(), s.Ref))
	for table := range 3 {
		path := vault.KVMount + "/data/main/directory/000" + string(rune('0'+table))
		now, err := at.admin.Logical().Read(path)
		must(t, err)
		version := now.Data["metadata"].(map[string]any)["version"].(interface{ Int64() (int64, error) })
		v, err := version.Int64()
		must(t, err)
		if v == 1 {
			continue // never written to
		}
		before, err := at.admin.Logical().ReadWithData(path, map[string][]string{"version": {"2"}})
		must(t, err)
		if before != nil && before.Data["data"] != nil {
			t.Fatalf("table %d: the version with the entry is still there", table)
		}
	}
}

// TestNoNamesInAudit: what Vault writes into its audit log holds no external id,
// no directory key and no key.
func TestNoNamesInAudit(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	file := filepath.Join(t.TempDir(), "audit.log")
	_, err := at.admin.Logical().Write("sys/audit/file", map[string]any{"type": "file", "options": map[string]string{"file_path": file}})
	must(t, err)
	n := at.node()
	ring, err := keys.NewRing(background(), keys.RingConfig{
		Custodian: n.Custodian, Ledger: at.ledger, Namespace: "people", Dead: keys.NewDead(), Clock: time.Now,
		Policy: func() *domain.Policy {
			return &domain.Policy{Classes: []domain.ClassRule{{ID: "messages", Retention: domain.MustPeriod("P30D"), Bucket: domain.Day}}}
		},
		ClockTrusted: func() error { return nil },
	})
	must(t, err)
	defer ring.Close()
	p, err := ring.Person("ada@example.com", domain.Erasable)
	must(t, err)
	s, _, err := ring.Enrol(background(), p)
	must(t, err)
	_, err = ring.Sealing(background(), s.Ref, domain.Erasable, "messages", domain.OwnTier, domain.BucketAt(time.Now(), domain.Day))
	must(t, err)
	must(t, n.Remove(background(), s.Ref))
	raw, err := os.ReadFile(file)
	must(t, err)
	text := string(raw)
	if !strings.Contains(text, s.Ref.String()) || len(text) < 10_000 {
		t.Fatal("the audit log holds nothing of the calls, so the test shows nothing")
	}
	for _, secret := range []string{"ada@", "example.com", base64.StdEncoding.EncodeToString(s.Directory[:])[:40], hex.EncodeToString(s.Directory[:])} {
		if strings.Contains(text, secret) {
			t.Fatalf("the audit log says %s", secret)
		}
	}
}

// TestTooLarge: what does not fit is refused and not taken for an outage; what
// just fits is stored.
func TestTooLarge(t *testing.T) {
	at := newSite(t, vaulttest.Raft)
	n := at.node()
	_, err := n.PutDocument(background(), "large", 0, make([]byte, vault.MaxSealed))
	must(t, err)
	v, _, err := n.Document(background(), "large")
	must(t, err)
	if len(v) != vault.MaxSealed {
		t.Fatalf("%d bytes came back", len(v))
	}
	_, err = n.PutDocument(background(), "larger", 0, make([]byte, vault.MaxSealed+1))
	if !errors.Is(err, vault.ErrTooLarge) || errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("error %v, want too large", err)
	}
}

// TestPageMissing: a page of retention keys that somebody took away is damage: its
// keys are not issued again.
func TestPageMissing(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	n := at.node()
	l := fill(t, n)
	_, err := at.admin.Logical().Delete(vault.KVMount + "/metadata/main/retention/messages/0/2026-11")
	must(t, err)
	n.now.move(time.Minute)
	_, _, err = n.Retention(background(), l.bucket)
	wantErr(t, "reading", err, vault.ErrDamaged)
	_, _, err = n.IssueRetention(background(), l.bucket, time.Now().AddDate(0, 1, 0))
	wantErr(t, "issuing again", err, vault.ErrDamaged)
	wantErr(t, "listing", n.EachRetention(background(), func(keys.RetentionRecord) bool { return true }), vault.ErrDamaged)
	other := l.bucket
	other.Bucket = "2026-12-01"
	_, _, err = n.IssueRetention(background(), other, time.Now().AddDate(0, 1, 0))
	must(t, err)
}

// TestFullDirectory: a table that is full takes nobody new, and those who are in
// it go on.
func TestFullDirectory(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	n := at.node()
	s := enrolled(t, n, 1)
	table := at.writtenTable(t)
	entries := make([]byte, 0, 800<<10)
	old, err := at.admin.Logical().Read(table)
	must(t, err)
	data := old.Data["data"].(map[string]any)
	first, err := base64.StdEncoding.DecodeString(data["entries"].(string))
	must(t, err)
	entries = append(entries, first...)
	for i := 0; len(entries) < 577<<10; i++ { // made up, and each with a key of its own
		entries = append(entries, 0, 0, 0, 4, 255, byte(i>>16), byte(i>>8), byte(i), 0, 0, 0, 100)
		entries = append(entries, make([]byte, 100)...)
	}
	data["entries"] = base64.StdEncoding.EncodeToString(entries)
	_, err = at.admin.Logical().Write(table, map[string]any{"data": data, "options": map[string]any{"cas": 2}})
	must(t, err)
	other := at.node()
	late, b := someone(1)
	late.Directory[9] = 9 // another person of the same table
	_, err = other.Enrol(background(), late, b)
	wantErr(t, "enrolling into a full table", err, vault.ErrFull)
	wantErr(t, "enrolling into a full table", err, domain.ErrUnavailable)
	found, err := other.Lookup(background(), s.Directory)
	must(t, err)
	if found.Ref != s.Ref || !other.Stats().Large {
		t.Fatalf("entry %s, stats %+v", found.Ref, other.Stats())
	}
	must(t, other.Remove(background(), s.Ref))
}

// writtenTable finds the table of the directory that was written to.
func (s *site) writtenTable(t *testing.T) string {
	t.Helper()
	for table := range 3 {
		path := vault.KVMount + "/data/main/directory/000" + string(rune('0'+table))
		now, err := s.admin.Logical().Read(path)
		must(t, err)
		version := now.Data["metadata"].(map[string]any)["version"].(interface{ Int64() (int64, error) })
		if v, err := version.Int64(); err == nil && v > 1 {
			return path
		}
	}
	t.Fatal("no table was written to")
	return ""
}
