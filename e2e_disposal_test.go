package lethe_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/embedded"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// logged reads a copy of a ledger's log.
func (h *home) logged(t *testing.T, read func(eventstore.Store)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(h.dir, "data", "log"))); err != nil {
		t.Fatal(err)
	}
	store, err := embedded.Open(dir, embedded.Options{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	read(store)
}

// ciphertexts are pieces of the sealed bodies of a ref, and the streams they
// stand in.
func (h *home) ciphertexts(t *testing.T, ref string) (pieces [][]byte, streams []domain.Stream) {
	t.Helper()
	h.logged(t, func(s eventstore.Store) {
		for r, err := range s.ReadAll(t.Context(), domain.Start, eventstore.Forward, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if data := r.Data(); strings.HasSuffix(string(r.Stream()), ref) && len(data) > 128 {
				pieces = append(pieces, slices.Clone(data[48:80]))
				streams = append(streams, r.Stream())
			}
		}
	})
	return pieces, streams
}

// found counts the pieces that stand in a file of the log.
func (h *home) found(t *testing.T, pieces [][]byte) (n int) {
	t.Helper()
	for _, path := range files(t, filepath.Join(h.dir, "data", "log")) {
		b := mustRead(t, path)
		for _, piece := range pieces {
			if bytes.Contains(b, piece) {
				n++
			}
		}
	}
	return n
}

// TestDisposalTakesTheCiphertextFromTheDisk erases somebody and disposes of it
// while others talk: their counts stay exact, views equal their rebuilds, and no
// file of the log has the bytes any more.
//
// Proves: INV-7
func TestDisposalTakesTheCiphertextFromTheDisk(t *testing.T) {
	h := newHome(t)
	h.onLoopback(t, newEchoing(t).url, "{records: 128, interval: 2s}", "{records: 16, interval: 100ms}")
	s := h.start(t)
	ada := join(t, s.Gateway, "ada")
	ada.talk(t, 40)
	ada.hangUp(t)
	h.counts(t, "ada", 80)
	ref := h.subject(t, "ada").Subject.Ref
	if code := s.end(syscall.SIGTERM); code != 0 {
		t.Fatalf("it exits %d", code)
	}
	pieces, streams := h.ciphertexts(t, ref)
	if len(pieces) < 3 || h.found(t, pieces) < len(pieces) {
		t.Fatalf("%d of %d pieces are found before the erasure: the test lost its subject", h.found(t, pieces), len(pieces))
	}

	s = h.start(t)
	stop := make(chan struct{})
	var talking sync.WaitGroup
	people := make([]*talker, 5)
	for i := range people {
		people[i] = join(t, s.Gateway, person(i))
		talking.Go(func() { chat(people[i], stop) })
	}
	erased := ask[api.EraseResult](t, h, "erase", "ada", "--yes")
	planned := ask[api.Disposal](t, h, "retention", "dispose", "--dry-run")
	if planned.Destructions != 1 || planned.Oldest == "" || planned.Events != 0 {
		t.Errorf("planned: %+v", planned)
	}
	done := ask[api.Disposal](t, h, "retention", "dispose")
	if done.Destructions != 1 || done.Events < int64(len(pieces)) || done.Deleted < 5 {
		t.Errorf("disposed of %+v", done)
	}
	if again := ask[api.EraseResult](t, h, "erase", "--request", erased.Request); again.State != "completed" || again.Receipt.ID != erased.Receipt.ID {
		t.Errorf("the request is %+v", again)
	}
	h.sameViews(t)
	close(stop)
	talking.Wait()
	for i, c := range people {
		h.tally(t, h.client(t), person(i), int64(2*c.sent))
	}
	if code := s.end(syscall.SIGTERM); code != 0 {
		t.Fatalf("it exits %d", code)
	}
	h.logged(t, func(s eventstore.Store) {
		for _, stream := range streams {
			if _, err := s.Last(t.Context(), stream); !errors.Is(err, eventstore.ErrDeleted) {
				t.Errorf("stream %s: %v", stream, err)
			}
		}
	})
	if n := h.found(t, pieces); n > 0 {
		t.Errorf("%d of %d pieces are still on the disk", n, len(pieces))
	}
}

// TestWhatExpiredIsDisposedOf lets weeks pass: what expired is cut from its
// streams in time and by itself, views stay equal to their rebuilds, and a person
// of whom nothing is left is forgotten.
//
// Proves: INV-7, INV-8
func TestWhatExpiredIsDisposedOf(t *testing.T) {
	h := newHome(t)
	h.onLoopback(t, newEchoing(t).url, "interval: 2s", "interval: 200ms", "retention: P6M", "retention: P14D")
	in := openInside(t, h, noon())
	in.visit("ada", 10)
	in.visit("bob", 10)
	in.want("on the day", "ada", map[string]int64{in.now().UTC().Format(time.DateOnly): 20})
	was, err := in.SubjectShow(t.Context(), counsel, "ada")
	if err != nil {
		t.Fatal(err)
	}
	in.pass(29 * aDay)
	in.visit("bob", 5)
	in.pass(2 * aDay)
	in.expire()
	done, err := in.Dispose(t.Context(), counsel, false, nil)
	if err != nil || done.Buckets == 0 || done.Truncated < 4 || done.Events < 4 {
		t.Fatalf("disposed of %+v, %v", done, err)
	}
	in.rebuilt()
	in.want("the later visit", "bob", map[string]int64{in.now().Add(-2 * aDay).UTC().Format(time.DateOnly): 10})
	if again, err := in.Dispose(t.Context(), counsel, false, nil); err != nil || again.Truncated != 0 || again.Events != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
	in.pass(400 * aDay) // the access records, too
	in.expire()
	for range 2 { // what is retired by one is deleted by the next
		if _, err := in.Dispose(t.Context(), counsel, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	in.rebuilt()
	now, err := in.SubjectShow(t.Context(), counsel, "ada")
	if err != nil || now.Subject.State != "unknown" || was.Subject.State != "active" {
		t.Errorf("ada was %s and is %s, %v", was.Subject.State, now.Subject.State, err)
	}
}
