package vault_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/vault"
	"github.com/lethe-ledger/lethe/keys/vault/vaulttest"
)

// A ledgerful is one of each thing that a custodian keeps.
type ledgerful struct {
	subject  keys.Subject
	block    domain.BlockID
	bucket   domain.RetentionKey
	document string
}

func fill(t *testing.T, n *node) (l ledgerful) {
	t.Helper()
	l.subject = enrolled(t, n, 1)
	l.block, _ = aBlock(t, n)
	l.bucket = domain.RetentionKey{Class: "messages", Tier: "0", Bucket: "2026-11-23"}
	_, _, err := n.IssueRetention(background(), l.bucket, time.Now().AddDate(0, 1, 0))
	must(t, err)
	l.document = "journal/head"
	_, err = n.PutDocument(background(), l.document, 0, []byte("one"))
	must(t, err)
	_, err = n.Material(background())
	must(t, err)
	return l
}

// reads are all ways of asking for what is there, and for what never was.
func (l ledgerful) reads(n *node) map[string]func() error {
	someone, _ := someone(77)
	return map[string]func() error{
		"Lookup":           func() error { _, err := n.Lookup(background(), l.subject.Directory); return err },
		"Lookup of nobody": func() error { _, err := n.Lookup(background(), someone.Directory); return err },
		"Bundle":           func() error { _, _, err := n.Bundle(background(), l.subject.Ref); return err },
		"Bundle of nobody": func() error { _, _, err := n.Bundle(background(), someone.Ref); return err },
		"Change":           func() error { return n.Change(background(), l.subject.Ref, dropNothing) },
		"Remove of nobody": func() error { return n.Remove(background(), someone.Ref) },
		"Block":            func() error { _, err := n.Block(background(), l.block); return err },
		"Block of nobody":  func() error { _, err := n.Block(background(), domain.New[domain.BlockID]()); return err },
		"Retention":        func() error { n.now.move(time.Minute); _, _, err := n.Retention(background(), l.bucket); return err },
		"Retention never issued": func() error {
			_, _, err := n.Retention(background(), domain.RetentionKey{Class: "network", Tier: "0", Bucket: "2026-11-23"})
			return err
		},
		"Document":            func() error { _, _, err := n.Document(background(), l.document); return err },
		"Document never made": func() error { _, _, err := n.Document(background(), "none"); return err },
		"Material":            func() error { _, err := n.Material(background()); return err },
		"Sign":                func() error { _, _, err := n.Sign(background(), keys.SignJournal, nil); return err },
		"Subjects":            func() error { return n.Subjects(background(), func(keys.Subject) bool { return true }) },
		"EachRetention":       func() error { return n.EachRetention(background(), func(keys.RetentionRecord) bool { return true }) },
	}
}

func dropNothing(*keys.Subject, *seal.Bundle) error { return nil }

// wantAnswers checks that what is there is found and what is not is known not to
// be.
func (l ledgerful) wantAnswers(t *testing.T, n *node) {
	t.Helper()
	nothing := map[string]bool{"Lookup of nobody": true, "Bundle of nobody": true, "Block of nobody": true, "Retention never issued": true, "Document never made": true}
	for name, ask := range l.reads(n) {
		if err := ask(); nothing[name] && !errors.Is(err, domain.ErrNotFound) || !nothing[name] && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// wantOutage checks that everything reads as unavailable and nothing as gone.
func (l ledgerful) wantOutage(t *testing.T, n *node, want error) {
	t.Helper()
	for name, ask := range l.reads(n) {
		err := ask()
		if !errors.Is(err, domain.ErrUnavailable) || errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s: %v, want unavailable", name, err)
		}
		if want != nil && !errors.Is(err, want) && !errors.Is(err, vault.ErrUnreachable) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// recovers waits until the custodian answers again: a pause of the breaker, a new
// login.
func (l ledgerful) recovers(t *testing.T, n *node) {
	t.Helper()
	var err error
	for range 200 {
		n.now.move(time.Second)
		if _, _, err = n.Bundle(background(), l.subject.Ref); err == nil {
			l.wantAnswers(t, n)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("the custodian does not come back: %v", err)
}

// TestOutage: sealed, stopped, killed, restarted: unavailable in the meantime, and
// everything is there afterwards.
func TestOutage(t *testing.T) {
	at := newSite(t, vaulttest.Raft)
	n := at.node()
	l := fill(t, n)
	l.wantAnswers(t, n)

	at.server.Seal()
	l.wantOutage(t, n, vault.ErrSealed)
	at.server.Unseal()
	l.recovers(t, n)

	at.server.Kill()
	l.wantOutage(t, n, vault.ErrUnreachable)
	at.server.Restart()
	l.recovers(t, n)
}

// TestRevoked: a token that is revoked while it is used reads as an outage, and
// the session gets another one by itself.
func TestRevoked(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	o := optionsFor(at.server, at.ledger)
	var token atomic.Value
	token.Store(at.newToken("root"))
	o.Auth = vault.Token{Read: func() (string, error) { return token.Load().(string), nil }}
	n := at.nodeWith(o)
	l := fill(t, n)
	must(t, at.admin.Auth().Token().RevokeTree(token.Load().(string)))
	l.wantOutage(t, n, vault.ErrRefused)
	token.Store(at.newToken("root"))
	l.recovers(t, n)
}

func (s *site) newToken(policies ...string) string {
	s.t.Helper()
	answer, err := s.admin.Logical().Write("auth/token/create", map[string]any{"policies": policies, "no_parent": true, "ttl": "1h"})
	must(s.t, err)
	return answer.Auth.ClientToken
}

// TestEmptied: mounts and documents that somebody took away are no erasure.
func TestEmptied(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	n := at.node()
	l := fill(t, n)
	kv, transit := vault.KVMount, vault.TransitMount

	must(t, at.admin.Sys().Unmount(transit))
	wantAbsentNever(t, "without the transit mount", l, n)
	must(t, at.admin.Sys().Unmount(kv))
	l.wantOutage(t, n, vault.ErrSetup)
	must(t, vault.Init(background(), at.admin, small(at.ledger))) // another, empty one
	for name, ask := range map[string]func() error{
		"Bundle": func() error { _, _, err := n.Bundle(background(), l.subject.Ref); return err },
		"Block":  func() error { _, err := n.Block(background(), l.block); return err },
	} {
		if err := ask(); !errors.Is(err, domain.ErrUnavailable) || errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s behind an empty mount: %v, want unavailable", name, err)
		}
	}
}

func wantAbsentNever(t *testing.T, when string, l ledgerful, n *node) {
	t.Helper()
	for _, name := range []string{"Bundle", "Block", "Retention", "Document", "Material", "Sign"} {
		if err := l.reads(n)[name](); !errors.Is(err, domain.ErrUnavailable) || errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%s %s: %v, want unavailable", name, when, err)
		}
	}
}

// TestKeyMissing: a Transit key that somebody deleted by hand is damage, while one
// whose destruction the document itself records is gone.
func TestKeyMissing(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	n := at.node()
	s := enrolled(t, n, 1)
	for _, key := range at.transitKeys() {
		_, err := at.admin.Logical().Write(vault.TransitMount+"/keys/"+key+"/config", map[string]any{"deletion_allowed": true})
		must(t, err)
		_, err = at.admin.Logical().Delete(vault.TransitMount + "/keys/" + key)
		must(t, err)
	}
	_, _, err := n.Bundle(background(), s.Ref)
	wantErr(t, "a bundle without its key", err, vault.ErrDamaged)
	if errors.Is(err, domain.ErrNotFound) {
		t.Fatal("a missing key reads as no key")
	}
	must(t, n.Remove(background(), s.Ref))
	_, _, err = n.Bundle(background(), s.Ref)
	wantErr(t, "a bundle that was removed", err, domain.ErrNotFound)
}

// TestTimeout: a server that does not answer is given up, and after some of that
// nobody waits for it any more.
func TestTimeout(t *testing.T) {
	at := newSite(t, vaulttest.InMemory)
	o := optionsFor(at.server, at.ledger)
	o.Timeout = 200 * time.Millisecond
	n := at.nodeWith(o)
	l := fill(t, n)
	n.wire.silence(true)
	began := time.Now()
	l.wantOutage(t, n, vault.ErrUnreachable)
	if took := time.Since(began); took > 5*time.Second {
		t.Fatalf("an outage was waited for %s", took)
	}
	n.wire.silence(false)
	l.recovers(t, n)
}
