package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/keys"
)

// A forkedCluster is five nodes, the last of which is stopped; its file has one
// line more than the log's journal, which names a person.
type forkedCluster struct {
	*cluster
	path       string // of the last node's file
	cy, others []domain.Recorded
}

func newForkedCluster(t *testing.T) *forkedCluster {
	t.Helper()
	c := &forkedCluster{cluster: newCluster(t, 5)}
	c.record(c.nodes[0], "ada", 1)
	c.erase(c.nodes[0], "ada")
	var ref domain.SubjectRef
	ref, c.cy = c.record(c.nodes[1], "cy", 1)
	_, c.others = c.record(c.nodes[2], "dora", 1)
	last := c.nodes[4]
	before := []byte(read(t, last.path, 1))
	last.stop()
	c.path, c.nodes = last.path, c.nodes[:4]

	d, ring := keys.Destruction{Command: domain.New[domain.CommandID](), Kind: keys.DestroySubject, Scope: domain.Erasable, Ref: ref}, c.nodes[0].ring
	err := ring.Fence(t.Context(), d)
	plan, failed := ring.Plan(t.Context(), d)
	if err := errors.Join(err, failed, ring.Unfence(t.Context(), d)); err != nil {
		t.Fatal(err)
	}
	line, err := domain.JournalLine{
		Seq: 1, Prev: domain.HashJournalLine(bytes.TrimSuffix(before, []byte{'\n'})), Day: domain.BucketAt(time.Now(), domain.Day),
		Kind: domain.JournalSubject, Dead: plan.Tags,
	}.Sign(testLedger, func(message []byte) ([]byte, error) {
		_, signature, err := c.custodian.Sign(t.Context(), keys.SignJournal, message)
		return signature, err
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := line.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.path, append(append(before, raw...), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *forkedCluster) erase(n *clusterNode, id string) {
	c.t.Helper()
	if _, err := n.Erase(c.t.Context(), ledger.Erasure{ExternalID: id, Principal: ledger.Principal{Role: "legal"}}); err != nil {
		c.t.Fatal(err)
	}
}

// stopped fails unless no node opens or erases anything, and every one records.
func (c *forkedCluster) stopped(when string) {
	c.t.Helper()
	for i, n := range c.nodes {
		if err := n.opens(c.t, c.others[0]); !errors.Is(err, domain.ErrForked) || !errors.Is(err, domain.ErrUnavailable) {
			c.t.Errorf("%s: node %d reads %v", when, i, err)
		}
		if _, err := n.journal.Name(c.t.Context(), domain.New[domain.CommandID](), "subject", []domain.Tag{{1}}); !errors.Is(err, domain.ErrForked) {
			c.t.Errorf("%s: node %d names a key as dead: %v", when, i, err)
		}
		id := fmt.Sprint("new on ", i, when)
		c.record(n, id, 1)
		out, err := n.Erase(c.t.Context(), ledger.Erasure{ExternalID: id, Principal: ledger.Principal{Role: "legal"}})
		if !errors.Is(err, domain.ErrForked) || out.State != "" {
			c.t.Errorf("%s: an erasure on node %d is %s, %v", when, i, out.State, err)
		}
	}
}

// goesOn fails unless every node opens again by itself, the named person reads
// erased, and all journals are the same.
func (c *forkedCluster) goesOn(lines int) {
	c.t.Helper()
	for i, n := range c.nodes {
		var err error
		for range 100 {
			if err = n.opens(c.t, c.others[0]); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			c.t.Errorf("node %d does not go on: %v", i, err)
		}
		if err := n.opens(c.t, c.cy[0]); !errors.Is(err, domain.ErrErased) {
			c.t.Errorf("node %d: whom the missing line names reads %v", i, err)
		}
		if got, want := read(c.t, n.path, lines), read(c.t, c.nodes[0].path, lines); got != want {
			c.t.Errorf("node %d has another journal", i)
		}
	}
}

// A node with a longer file stops all until its lines stand in the log, which it
// brings about itself.
//
// Proves: INV-3
func TestALongerJournalFileStopsEveryNodeUntilItsLinesStand(t *testing.T) {
	t.Parallel()
	c := newForkedCluster(t)
	if err := c.nodes[0].opens(t, c.others[0]); err != nil {
		t.Fatal(err)
	}
	c.cut = 3
	if _, err := c.start(c.path); !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("it starts while it cannot put its lines back: %v", err)
	}
	begun, last := time.Now(), time.Now()
	for time.Since(begun) < 2*ledger.LeaseTime {
		if err := c.nodes[0].opens(t, c.others[0]); err == nil {
			last = time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	if took := last.Sub(begun); took > ledger.LeaseTime {
		t.Errorf("it opened for %s more", took)
	}
	c.stopped("while its lines are missing")
	late := c.join(filepath.Join(t.TempDir(), "late.jsonl")) // its appends of the journal are lost, too
	if !errors.Is(late.found.Stopped, domain.ErrForked) {
		t.Errorf("a node that starts meanwhile says %v", late.found.Stopped)
	}
	late.link.appends.Store(0)
	c.cut = 0
	c.join(c.path)
	c.goesOn(2)
	c.nodes[0].stop()
	if again := c.join(c.nodes[0].path); again.found.Stopped != nil {
		t.Errorf("a start afterwards says %v", again.found.Stopped)
	}
}

// A file that says otherwise than the log stops all until restore-check on its node
// has put what it names behind the log's last line.
//
// Proves: INV-3
func TestAContradictingJournalFileStopsEveryNodeUntilItsCheck(t *testing.T) {
	t.Parallel()
	c := newForkedCluster(t)
	c.record(c.nodes[3], "bob", 1)
	c.erase(c.nodes[3], "bob")
	forked := c.join(c.path)
	if !errors.Is(forked.found.Stopped, domain.ErrForked) {
		t.Fatalf("the start says %v", forked.found.Stopped)
	}
	time.Sleep(ledger.LeaseTime) // of leases from before
	c.stopped("before the check")
	if found, err := c.nodes[0].RestoreCheck(t.Context()); !errors.Is(err, domain.ErrForked) || found.Put != 0 {
		t.Errorf("a check on a node without that file: %+v, %v", found, err)
	}
	c.stopped("after a check elsewhere")
	if found, err := forked.RestoreCheck(t.Context()); err != nil || found.Put != 1 || found.Again.Subjects != 1 {
		t.Fatalf("the check found %+v, %v", found, err)
	}
	c.goesOn(3)
	if found, err := forked.RestoreCheck(t.Context()); err != nil || found.Put != 0 || found.Again != (keys.Replayed{}) {
		t.Errorf("a second check found %+v, %v", found, err)
	}
	forked.stop()
	if again := c.join(c.path); again.found.Stopped != nil {
		t.Errorf("a start afterwards says %v", again.found.Stopped)
	}
	if kept, err := filepath.Glob(c.path + ".forked-*"); err != nil || len(kept) != 1 {
		t.Errorf("the file that said otherwise is kept as %v, %v", kept, err)
	}
}
