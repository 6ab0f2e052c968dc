package embedded_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/seal"
	"github.com/lethe-ledger/lethe/keys"
	"github.com/lethe-ledger/lethe/keys/embedded"
)

const (
	childDir   = "LETHE_TEST_KEYS_DIR"
	childRound = "LETHE_TEST_KEYS_ROUND"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		childMain(dir, os.Getenv(childRound))
		return
	}
	goleak.VerifyTestMain(m)
}

// childMain is the process that gets killed: it enrols and destroys for ever,
// saying on stdout what it tries and what was acknowledged.
func childMain(dir, round string) {
	c, err := embedded.Open(dir, embedded.Options{})
	if err != nil {
		say("failed", err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				name := func(n int) string { return fmt.Sprintf("%s-%d-%d", round, w, n) }
				childDo("enrol", name(i), func() error { return enrolChild(c, name(i)) })
				if i%3 == 2 {
					childDo("change", name(i-1), func() error { return changeChild(c, name(i-1)) })
					childDo("remove", name(i-2), func() error { return c.Remove(context.Background(), refOf(name(i-2))) })
				}
			}
		})
	}
	wg.Wait()
}

func childDo(what, name string, do func() error) {
	say("try", what, name)
	if err := do(); err != nil {
		say("failed", err)
		os.Exit(1)
	}
	say("ack", what, name)
}

// say writes one line to the parent; who is gone need not be told.
func say(words ...any) {
	if _, err := fmt.Fprintln(os.Stdout, words...); err != nil {
		os.Exit(1)
	}
}

// Everything about a child's person follows from the name, so that the parent
// knows what must be there.
func refOf(name string) domain.SubjectRef {
	sum := sha256.Sum256([]byte(name))
	return domain.SubjectRef(sum[:16])
}

func bundleOf(name string, changed bool) *seal.Bundle {
	b := &seal.Bundle{}
	for _, class := range []domain.Class{"messages", "network"} {
		if err := b.Issue(class, 1, sha256.Sum256([]byte(name+"/"+string(class)))); err != nil {
			panic(err)
		}
	}
	if changed {
		b.Drop("messages", true)
	}
	return b
}

func enrolChild(c *embedded.Custodian, name string) error {
	s := keys.Subject{Ref: refOf(name), Scope: domain.Erasable, Directory: sha256.Sum256([]byte("directory " + name))}
	_, err := c.Enrol(context.Background(), s, bundleOf(name, false))
	if err != nil {
		return err
	}
	_, _, err = c.IssueRetention(context.Background(), retentionOf(name), time.Unix(1e9, 0))
	return err
}

func changeChild(c *embedded.Custodian, name string) error {
	err := c.Change(context.Background(), refOf(name), func(_ *keys.Subject, b *seal.Bundle) error {
		b.Drop("messages", true)
		return nil
	})
	if err != nil {
		return err
	}
	return c.DestroyRetention(context.Background(), []domain.RetentionKey{retentionOf(name)}, 1)
}

func retentionOf(name string) domain.RetentionKey {
	return domain.RetentionKey{Class: "messages", Tier: "0", Bucket: domain.Bucket(name)}
}

// fate is the last thing that was tried with a person.
type fate struct {
	what  string
	acked bool
}

// enoughAcks is how many acknowledgements come before a child is killed.
const enoughAcks = 20

// heard reads the child's lines into fates until it is dead.
func heard(t *testing.T, out io.Reader, fates map[string]fate, begun chan<- struct{}) {
	acks, r := 0, bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		word := strings.Fields(line)
		if len(word) != 3 || word[0] == "failed" {
			t.Errorf("child: %s", line)
			return
		}
		if word[0] == "ack" {
			if acks++; acks == enoughAcks {
				close(begun)
			}
		}
		fates[word[2]] = fate{what: word[1], acked: word[0] == "ack"}
	}
}

// TestKilledProcess kills a process that enrols and destroys, again and again.
// What was acknowledged is there, what was destroyed is not, and nobody else
// lost a key.
func TestKilledProcess(t *testing.T) {
	dir, fates, unanswered := t.TempDir(), map[string]fate{}, 0
	for round := range 6 {
		killedOnce(t, dir, round, fates)
		unanswered += checkFates(t, dir, fates)
	}
	if unanswered == 0 {
		t.Fatal("no call was cut off, so the kills came at no bad moment")
	}
}

func killedOnce(t *testing.T, dir string, round int, fates map[string]fate) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	child := exec.Command(self)
	child.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("%s=%d", childRound, round))
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	begun, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		heard(t, out, fates, begun)
	}()
	select {
	case <-begun:
	case <-done:
		t.Fatal("the child ended by itself")
	}
	time.Sleep(time.Duration(17*round) * time.Millisecond)
	must(t, child.Process.Kill())
	<-done
	var exit *exec.ExitError
	if err := child.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
}

func checkFates(t *testing.T, dir string, fates map[string]fate) (unanswered int) {
	t.Helper()
	c, err := embedded.Open(dir, embedded.Options{})
	must(t, err)
	defer func() { must(t, c.Close()) }()
	must(t, c.Damage())
	for name, f := range fates {
		stands := personOf(t, c, name)
		if !f.acked {
			unanswered++
		}
		want := allowed()[f.what]
		if f.acked {
			want = want[:1]
		}
		if !slices.Contains(want, stands) {
			t.Errorf("%s: %s, acknowledged %v, stands as %s", name, f.what, f.acked, stands)
		}
	}
	return unanswered
}

// allowed lists as what somebody may stand, first after a call that was
// acknowledged, then after one that was cut off.
func allowed() map[string][]string {
	return map[string][]string{
		"enrol": {"enrol", "half enrolled", "remove"}, "change": {"change", "half changed", "enrol"}, "remove": {"remove", "enrol"},
	}
}

// personOf says as what somebody stands.
func personOf(t *testing.T, c *embedded.Custodian, name string) string {
	t.Helper()
	s, b, err := c.Bundle(context.Background(), refOf(name))
	if errors.Is(err, domain.ErrNotFound) {
		_, err := c.Lookup(context.Background(), sha256.Sum256([]byte("directory "+name)))
		if errors.Is(err, domain.ErrNotFound) {
			return "remove"
		}
		return fmt.Sprint("broken: the directory still answers ", err)
	}
	must(t, err)
	found, err := c.Lookup(context.Background(), s.Directory)
	must(t, err)
	rec, _, err := c.Retention(context.Background(), retentionOf(name))
	issued := err == nil
	switch {
	case found.Ref != s.Ref:
		return "broken: the directory leads elsewhere"
	case bytes.Equal(b.Encode(), bundleOf(name, false).Encode()) && !issued:
		return "half enrolled"
	case bytes.Equal(b.Encode(), bundleOf(name, false).Encode()) && !rec.Destroyed:
		return "enrol"
	case bytes.Equal(b.Encode(), bundleOf(name, true).Encode()) && issued && !rec.Destroyed:
		return "half changed"
	case bytes.Equal(b.Encode(), bundleOf(name, true).Encode()) && rec.Destroyed:
		return "change"
	}
	return "broken: other keys"
}
