package lethe_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// crowd is how many people talk while somebody is erased.
const crowd = 50

// TestEraseUnderLoad erases a person, then a class of another one, while 50 others
// talk: nobody else notices.
//
// Proves: INV-3, INV-6
func TestEraseUnderLoad(t *testing.T) {
	h := newHome(t)
	h.onLoopback(t, newEchoing(t).url, "interval: 2s", "interval: 300ms")
	s := h.start(t)
	ada, adaToo, bob := join(t, s.Gateway, "ada"), join(t, s.Gateway, "ada"), join(t, s.Gateway, "bob")
	ada.talk(t, 30)
	adaToo.talk(t, 20)
	bob.talk(t, 10)
	h.counts(t, "ada", 100)
	h.counts(t, "bob", 20)
	before := h.subject(t, "ada").Subject.Ref

	others, stop := make([]*talker, crowd), make(chan struct{})
	var talking sync.WaitGroup
	for i := range others {
		others[i] = join(t, s.Gateway, fmt.Sprintf("other-%d", i))
		talking.Go(func() { chat(others[i], stop) })
	}
	done := ask[api.EraseResult](t, h, "erase", "ada", "--yes")
	if done.State != "keys-destroyed" || done.Receipt.KeysDestroyed == 0 || done.Receipt.Signature == "" {
		t.Errorf("the erasure: %+v", done)
	}
	for i, c := range []*talker{ada, adaToo} {
		if code := c.code(t, 5*time.Second); code != 4410 {
			t.Errorf("connection %d of ada ends with %d, want 4410", i, code)
		}
	}
	if show := h.subject(t, "ada"); show.Subject.State != "unknown" || len(show.Holdings) != 0 {
		t.Errorf("ada is %+v", show)
	}
	join(t, s.Gateway, "ada").talk(t, 3)
	h.counts(t, "ada", 6)
	if after := h.subject(t, "ada").Subject.Ref; after == before || after == "" {
		t.Errorf("ada's ref was %s and is %s", before, after)
	}
	eraseClass(t, h, bob)
	close(stop)
	talking.Wait()
	unharmed(t, h, others)
	h.sameViews(t)
}

// chat sends a message each 10 ms until stop, then waits for the last echo.
func chat(c *talker, stop chan struct{}) {
	for {
		select {
		case <-stop:
			for end := time.Now().Add(20 * time.Second); c.echoes() < c.sent && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			return
		case <-time.After(10 * time.Millisecond):
			if !c.say("hello") {
				return
			}
		}
	}
}

// unharmed checks that everybody is still there and counted exactly.
func unharmed(t *testing.T, h *home, others []*talker) {
	t.Helper()
	total, client := 0, h.client(t)
	for i, c := range others {
		if !c.alive() || c.echoes() != c.sent || c.sent == 0 {
			t.Errorf("other-%d: alive %v, %d sent, %d came back: %v", i, c.alive(), c.sent, c.echoes(), c.why)
		}
		total += c.sent
		h.tally(t, client, fmt.Sprintf("other-%d", i), int64(2*c.sent))
	}
	if total < crowd*10 {
		t.Errorf("%d messages in all: that is no load", total)
	}
}

// eraseClass erases bob's messages and nothing else of him; what comes afterwards
// is collected under the next gen, on the same connection.
func eraseClass(t *testing.T, h *home, bob *talker) {
	t.Helper()
	done := ask[api.EraseResult](t, h, "erase", "bob", "--class", "messages", "--yes")
	if len(done.Receipt.Classes) != 1 || done.Receipt.Classes[0] != "messages" {
		t.Errorf("the erasure of a class: %+v", done)
	}
	show := h.subject(t, "bob")
	if n := held(show, "messages", "present"); n != 0 {
		t.Errorf("%d messages are still readable: %+v", n, show)
	}
	for _, class := range []string{"lifecycle", "network"} {
		if held(show, class, "present") == 0 {
			t.Errorf("class %s went along: %+v", class, show)
		}
	}
	bob.talk(t, 7)
	h.counts(t, "bob", 14)
	for _, holding := range h.subject(t, "bob").Holdings {
		if holding.Class == "messages" && holding.Readable == "present" && holding.Gen != 2 {
			t.Errorf("collected again under gen %d: %+v", holding.Gen, holding)
		}
	}
	path := filepath.Join(t.TempDir(), "bob.zip")
	if r := h.run(t, "subject", "export", "bob", "--out", path); r.code != 0 {
		t.Fatalf("exporting: %+v", r)
	}
	if n := len(messageRows(t, path)); n != 14 {
		t.Errorf("%d messages are exported, want 14", n)
	}
	if !bob.alive() {
		t.Error("erasing a class ended a connection")
	}
}
