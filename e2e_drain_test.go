package lethe_test

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDrain ends a process that serves: every client is told to go away, what they
// said is in the log, and the exit code is 0.
//
// Proves: INV-4
func TestDrain(t *testing.T) {
	h := newHome(t)
	h.onLoopback(t, newEchoing(t).url, "interval: 2s", "interval: 60s") // nothing is flushed before its time
	s := h.start(t)
	people := make([]*talker, 30)
	for i := range people {
		people[i] = join(t, s.Gateway, person(i))
		people[i].talk(t, 10+i)
	}
	begun := time.Now()
	if code := s.end(syscall.SIGTERM); code != 0 {
		t.Errorf("serve exits with %d: %s", code, s.errors)
	}
	t.Logf("%d connections drained in %v", len(people), time.Since(begun).Round(time.Millisecond))
	for i, c := range people {
		if code := c.code(t, 5*time.Second); code != 1001 {
			t.Errorf("%s is told %d, want 1001", person(i), code)
		}
	}
	if out := s.out.String(); strings.Count(out, "\n") != 1 {
		t.Errorf("standard output is %q", out)
	}
	l, err := h.open(t)
	must(t, err)
	defer func() { must(t, l.Close(context.Background())) }()
	for i := range people {
		show, err := l.SubjectShow(t.Context(), counsel, person(i))
		must(t, err)
		if n := held(show, "messages", "present"); n != int64(2*(10+i)) {
			t.Errorf("%s has %d records, want %d", person(i), n, 2*(10+i))
		}
		if show.Connections.Open != 0 || show.Connections.Total != 1 {
			t.Errorf("%s has connections %+v", person(i), show.Connections)
		}
	}
}

// TestReload changes node settings under live connections: they go on as they
// are, new ones meet the new limit. A file that is wrong changes nothing.
func TestReload(t *testing.T) {
	h, up := newHome(t), newEchoing(t)
	h.onLoopback(t, up.url)
	s := h.start(t)
	ada, bob := join(t, s.Gateway, "ada"), join(t, s.Gateway, "bob")
	ada.talk(t, 5)

	reload := func(said string, text string) {
		t.Helper()
		must(t, os.WriteFile(h.config, []byte(text), 0o600))
		n := strings.Count(s.errors.String(), said)
		must(t, s.cmd.Process.Signal(syscall.SIGHUP))
		within(t, 20*time.Second, said, func() bool { return strings.Count(s.errors.String(), said) > n })
	}
	was := string(mustRead(t, h.config))
	limited := strings.Replace(was, "max_connections: 10000", "max_connections: 2", 1)
	if limited == was {
		t.Fatal("the limit is not in the file")
	}
	reload("node settings reloaded", limited)
	ada.talk(t, 5)
	bob.talk(t, 5)
	if c, _, err := connect(s.Gateway+"/?user=eve", nil); err == nil {
		_ = c.conn.NetConn().Close()
		t.Error("a third connection is accepted under a limit of two")
	}
	reload("was not reloaded", strings.Replace(limited, "max_connections", "max_conections", 1))
	ada.talk(t, 5)
	reload("node settings reloaded", was)
	join(t, s.Gateway, "eve").talk(t, 1)
	ada.talk(t, 5)
	bob.talk(t, 5)
	if !ada.alive() || !bob.alive() {
		t.Error("a reload ended a connection")
	}
	if up.received.Load() != 31 {
		t.Errorf("%d messages reached the upstream, want 31", up.received.Load())
	}
	if code := s.end(syscall.SIGTERM); code != 0 {
		t.Errorf("serve exits with %d", code)
	}
}
