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
