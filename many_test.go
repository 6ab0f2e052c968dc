package lethe

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
	"github.com/lethe-ledger/lethe/gateway/api"
)

func logServer(t *testing.T) *esdbtest.Server {
	t.Helper()
	return esdbtest.Start(t, esdbtest.Options{Clock: time.Now})
}

func remoteConfig(t *testing.T, dir, up string, s *esdbtest.Server) *Config {
	t.Helper()
	c := testConfig(t, dir, up)
	c.Store = StoreConfig{Engine: storeEventStoreDB, URL: s.URL()}
	return c
}

// TestTheMainJobOnEventStoreDB: gateway, seal, append, view, export, erase,
// receipt, dispose, rebuild, and all of it again after a restart.
func TestTheMainJobOnEventStoreDB(t *testing.T) {
	t.Parallel()
	dir, up, log := t.TempDir(), upstream(t), logElsewhere(t)
	mainJob(t, func() *Config { return log.config(t, dir, up) })
}

// mainJob is the whole walk on any engines, twice.
func mainJob(t *testing.T, config func() *Config) {
	t.Helper()
	r := serve(t, config())
	ada, bob := dial(t, r.Gateway, "ada"), dial(t, r.Gateway, "bob")
	ada.talk(t, 300)
	bob.talk(t, 10)
	await(t, "600 records of ada", func() bool { return records(r.show(t, "ada"), "messages", "present") == 600 })
	await(t, "20 records of bob", func() bool { return records(r.show(t, "bob"), "messages", "present") == 20 })
	done, err := r.Erase(t.Context(), legal, api.EraseRequest{ID: "ada", Ground: "A17-1-b"})
	if err != nil || done.State != "keys-destroyed" {
		t.Fatal(done, err)
	}
	if s := r.show(t, "ada"); s.Subject.State != "unknown" {
		t.Errorf("after the erasure: %+v", s)
	}
	gone, err := r.Dispose(t.Context(), legal, false, nil)
	if err != nil || gone.Destructions != 1 || gone.Deleted < 5 {
		t.Errorf("disposed of %+v, %v", gone, err)
	}
	bob.talk(t, 5)
	await(t, "bob unharmed", func() bool { return records(r.show(t, "bob"), "messages", "present") == 30 })
	sameAsRebuilt(t, r)
	r.stop()

	again := serve(t, config())
	if s := again.show(t, "bob"); records(s, "messages", "present") != 30 {
		t.Errorf("after a restart: %+v", s)
	}
	if file, err := again.Receipt(t.Context(), legal, done.Receipt.ID); err != nil || !file.Valid {
		t.Errorf("receipt: %+v, %v", file, err)
	}
	sameAsRebuilt(t, again)
}

func sameAsRebuilt(t *testing.T, r *running) {
	t.Helper()
	rebuilt, err := r.Rebuild(t.Context(), legal, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range rebuilt.Rebuilt {
		if v.Digest != v.LiveDigest || v.Digest == "" {
			t.Errorf("view %s differs from its rebuild", v.Name)
		}
	}
}

// TestTheLogGoesAwayAndComesBack: recording goes on into the outbox, opening does
// not; nothing is lost or doubled, and nothing reads erased.
func TestTheLogGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	log := logServer(t)
	r := serve(t, remoteConfig(t, t.TempDir(), upstream(t), log))
	ada := dial(t, r.Gateway, "ada")
	ada.talk(t, 100)
	await(t, "200 records", func() bool { return records(r.show(t, "ada"), "messages", "present") == 200 })
	log.Stop()
	for range 5 {
		ada.talk(t, 100)
		time.Sleep(300 * time.Millisecond)
	}
	if n := r.shared.outbox.Stats().Pending.Events; n == 0 {
		t.Error("nothing waits in the outbox")
	}
	if err := log.Restart(); err != nil {
		t.Fatal(err)
	}
	await(t, "1200 records", func() bool {
		s, err := r.SubjectShow(t.Context(), legal, "ada")
		return err == nil && records(s, "messages", "present") == 1200
	})
	if n := r.shared.outbox.Stats().Pending.Events; n != 0 {
		t.Errorf("%d events wait in the outbox", n)
	}
}

// TestANodeWithAnotherPolicyIsRefused: beyond one machine the log's policy is
// everybody's, and only who says so changes it.
func TestANodeWithAnotherPolicyIsRefused(t *testing.T) {
	t.Parallel()
	dir, up, log := t.TempDir(), upstream(t), logServer(t)
	r := serve(t, remoteConfig(t, dir, up, log))
	before, _, err := r.PolicyInForce()
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	other := remoteConfig(t, dir, up, log)
	other.Policy.Purposes[0].Title += ", and more"
	if _, err := Open(t.Context(), other, Options{}); !errors.Is(err, errOtherPolicy) {
		t.Fatalf("another policy: %v", err)
	}
	l, err := Open(t.Context(), other, Options{ApplyPolicy: true})
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := l.PolicyInForce()
	if err := errors.Join(err, l.Close(t.Context())); err != nil || after != before+1 {
		t.Errorf("revision %d became %d, %v", before, after, err)
	}
}

// TestNothingIsRemovedBeforeASecondNodeHasItsLeaf: a node that is there and behind
// holds a disposal up; one that has not spoken for minutes does not.
func TestNothingIsRemovedBeforeASecondNodeHasItsLeaf(t *testing.T) {
	t.Parallel()
	r := serve(t, remoteConfig(t, t.TempDir(), upstream(t), logServer(t)))
	head, err := r.lastOwn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wait := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return r.shared.witnessedBySecond(ctx, head)
	}
	if err := wait(); err != nil {
		t.Errorf("alone: %v", err)
	}
	name := leavesDocument + domain.New[domain.WriterID]().String()
	for _, c := range []struct {
		report leavesReport
		waits  bool
	}{
		{leavesReport{Position: domain.Start, At: time.Now()}, true},
		{leavesReport{Position: head, At: time.Now()}, false},
		{leavesReport{Position: domain.Start, At: time.Now().Add(-time.Hour)}, false},
	} {
		value, err := json.Marshal(c.report)
		if err != nil {
			t.Fatal(err)
		}
		_, version, err := r.custodian.Document(t.Context(), name)
		if err != nil && !errors.Is(err, domain.ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := r.custodian.PutDocument(t.Context(), name, version, value); err != nil {
			t.Fatal(err)
		}
		if err := wait(); (err != nil) != c.waits {
			t.Errorf("%+v: %v", c.report, err)
		}
	}
}

// TestAStartWithoutALogSaysSo: nothing hangs, nothing breaks, and the next start
// goes on.
func TestAStartWithoutALogSaysSo(t *testing.T) {
	t.Parallel()
	dir, up, log := t.TempDir(), upstream(t), logServer(t)
	c := remoteConfig(t, dir, up, log)
	log.Stop()
	if l, err := Open(t.Context(), c, Options{}); l != nil || !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("without a log: %v, %v", l, err)
	}
	if err := log.Restart(); err != nil {
		t.Fatal(err)
	}
	serve(t, remoteConfig(t, dir, up, log))
}
