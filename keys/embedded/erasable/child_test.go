package erasable

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	childDir   = "LETHE_TEST_ERASABLE_DIR"
	childRound = "LETHE_TEST_ERASABLE_ROUND"
)

// childMain is the process that gets killed: four goroutines put and delete for
// ever, saying on stdout what they try and what was acknowledged.
func childMain() {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	tree, err := Open(dir, Options{})
	if err != nil {
		say("failed", err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%s-%d-%d", os.Getenv(childRound), w, i)
				childDo("put", key, func() error { return put(tree, key, childValue(key)) })
				if i%3 == 2 {
					old := fmt.Sprintf("%s-%d-%d", os.Getenv(childRound), w, i-2)
					childDo("del", old, func() error { return del(tree, old) })
				}
			}
		})
	}
	wg.Wait()
}

func childDo(what, key string, do func() error) {
	say("try", what, key)
	if err := do(); err != nil {
		say("failed", err)
		os.Exit(1)
	}
	say("ack", what, key)
}

// say writes one line to the parent; who is gone need not be told.
func say(words ...any) {
	if _, err := fmt.Fprintln(os.Stdout, words...); err != nil {
		os.Exit(1)
	}
}

// childValue is large for one key in seven.
func childValue(key string) []byte {
	n := 300
	if len(key)%7 == 0 {
		n = 6000
	}
	return []byte(strings.Repeat(key+" ", n/len(key)))
}

// fate is the last thing that was tried with a key.
type fate struct {
	what  string
	acked bool
}

// heard reads the child's lines into fates until it is dead. A line that was
// cut off never ends, and says nothing.
func heard(t *testing.T, out io.Reader, fates map[string]fate, begun chan<- struct{}) (acks int) {
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return acks
		}
		word := strings.Fields(line)
		if len(word) != 3 || word[0] == "failed" {
			t.Errorf("child: %s", line)
			return acks
		}
		if word[0] == "ack" {
			if acks++; acks == 1 {
				close(begun)
			}
		}
		fates[word[2]] = fate{what: word[1], acked: word[0] == "ack"}
	}
}

// A process is killed in the midst of commits, over and over: all that it
// acknowledged is there, all that it deleted is not.
func TestKilledProcess(t *testing.T) {
	dir, fates := t.TempDir(), map[string]fate{}
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	unanswered := 0
	for round := range rounds {
		if acks := killedOnce(t, dir, round, fates); acks == 0 {
			t.Fatalf("round %d: nothing was acknowledged", round)
		}
		unanswered += checkFates(t, dir, fates)
	}
	if unanswered == 0 {
		t.Fatal("no process was killed in the midst of an update")
	}
}

func killedOnce(t *testing.T, dir string, round int, fates map[string]fate) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("%s=%d", childRound, round))
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	begun, acks := make(chan struct{}), make(chan int)
	go func() { acks <- heard(t, out, fates, begun) }()
	select {
	case <-begun:
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
	case <-time.After(20 * time.Second):
		t.Error("the child does not begin")
	}
	must(t, cmd.Process.Kill())
	n := <-acks
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child was not killed")
	}
	return n
}

func checkFates(t *testing.T, dir string, fates map[string]fate) (unanswered int) {
	t.Helper()
	tree, err := Open(dir, Options{})
	must(t, err)
	defer func() { mustClose(t, tree) }()
	must(t, tree.Damage())
	mustBeSound(t, tree)
	got := contents(t, tree)
	for k, f := range fates {
		v, there := got[k]
		if there && v != string(childValue(k)) {
			t.Fatalf("%s has another value", k)
		}
		if !f.acked {
			unanswered++
			if there {
				fates[k] = fate{what: "put", acked: true}
			} else {
				fates[k] = fate{what: "del", acked: true}
			}
			continue
		}
		if there != (f.what == "put") {
			t.Fatalf("%s was acknowledged as %s; there: %v", k, f.what, there)
		}
		delete(got, k)
	}
	return unanswered
}
