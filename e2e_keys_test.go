package lethe_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// aLedger is a stopped ledger in which three people have talked and one of them
// was erased.
func aLedger(t *testing.T) *home {
	t.Helper()
	h := newHome(t)
	h.onLoopback(t, newEchoing(t).url, "interval: 2s", "interval: 200ms")
	s := h.start(t)
	for i := range 3 {
		c := join(t, s.Gateway, person(i))
		c.talk(t, 10)
		c.hangUp(t)
		h.counts(t, person(i), 20)
	}
	if r := h.run(t, "erase", person(0), "--yes"); r.code != 0 {
		t.Fatalf("erasing: %+v", r)
	}
	if code := s.end(syscall.SIGTERM); code != 0 {
		t.Fatalf("serve exits with %d", code)
	}
	return h
}

// state is the hash of every file of the ledger, journal included, or of those in
// some folders.
func (h *home) state(t *testing.T, folders ...string) map[string]string {
	t.Helper()
	if folders == nil {
		folders = []string{"data", "journal"}
	}
	state := map[string]string{}
	for i := range folders {
		folders[i] = filepath.Join(h.dir, folders[i])
	}
	for _, path := range files(t, folders...) {
		sum := sha256.Sum256(mustRead(t, path))
		state[strings.TrimPrefix(path, h.dir)] = fmt.Sprintf("%x", sum[:8])
	}
	return state
}

// keyFaults are what can befall the folder of keys, and the words by which the
// start refuses.
var keyFaults = []struct {
	name   string
	befall func(t *testing.T, keys string)
	words  []string
}{
	{"no folder", func(t *testing.T, keys string) { must(t, os.RemoveAll(keys)) }, []string{"keys", "restore"}},
	{"no root", func(t *testing.T, keys string) { must(t, os.Remove(filepath.Join(keys, "keys.root"))) }, []string{"keys.root", "restore"}},
	{"a root of another ledger", func(t *testing.T, keys string) {
		must(t, os.WriteFile(filepath.Join(keys, "keys.root"), mustRead(t, filepath.Join(aLedger(t).data, "keys", "keys.root")), 0o600))
	}, []string{"keys.", "restore"}},
	{"a root in ruins", func(t *testing.T, keys string) {
		must(t, os.WriteFile(filepath.Join(keys, "keys.root"), bytes.Repeat([]byte("ruin"), 2048), 0o600))
	}, []string{"keys.root", "restore"}},
	{"a root cut short", func(t *testing.T, keys string) { must(t, os.Truncate(filepath.Join(keys, "keys.root"), 100)) }, []string{"keys.root", "restore"}},
	{"a folder for the root", func(t *testing.T, keys string) {
		must(t, os.Remove(filepath.Join(keys, "keys.root")))
		must(t, os.Mkdir(filepath.Join(keys, "keys.root"), 0o700))
	}, []string{"keys.root", "restore"}},
	{"no tree", func(t *testing.T, keys string) { must(t, os.Remove(filepath.Join(keys, "keys.tree"))) }, []string{"keys.tree", "restore"}},
	{"a tree cut short", func(t *testing.T, keys string) { must(t, os.Truncate(filepath.Join(keys, "keys.tree"), 4096)) }, []string{"keys.tree", "restore"}},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestKeysThatCannotBeRead are refused at start by file and remedy, and nothing
// is changed: least of all are new keys made, or anything called erased.
//
// Proves: INV-9
func TestKeysThatCannotBeRead(t *testing.T) {
	whole := aLedger(t)
	for _, fault := range keyFaults {
		t.Run(fault.name, func(t *testing.T) {
			h := whole.twin(t)
			fault.befall(t, filepath.Join(h.data, "keys"))
			before := h.state(t)
			for _, args := range [][]string{{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, {"subject", "show", person(1)}} {
				r := h.run(t, args...)
				if r.code == 0 || r.out != "" {
					t.Errorf("%s goes ahead: %+v", args[0], r)
				}
				for _, word := range fault.words {
					if !strings.Contains(r.errors, word) {
						t.Errorf("%s does not say %q: %s", args[0], word, r.errors)
					}
				}
				neverErased(t, args[0], r.errors)
			}
			if after := h.state(t); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("changed:\n%v\nwas\n%v", after, before)
			}
		})
	}
	// The control: the ledger that the copies were taken of opens.
	if show := whole.subject(t, person(1)); held(show, "messages", "present") != 20 {
		t.Errorf("the whole ledger shows %+v", show)
	}
}

// neverErased is what an outage must not be called.
func neverErased(t *testing.T, where, text string) {
	t.Helper()
	for _, word := range []string{"erased", "unknown", "expired", "not_found"} {
		if strings.Contains(text, word) {
			t.Errorf("%s calls an outage %s: %s", where, word, text)
		}
	}
}

// TestMissingKeysAreATypedError is for servers that embed Lethe.
func TestMissingKeysAreATypedError(t *testing.T) {
	h := aLedger(t)
	must(t, os.RemoveAll(filepath.Join(h.data, "keys")))
	c, err := lethe.LoadConfig(h.config)
	must(t, err)
	if _, err = lethe.Open(t.Context(), c, lethe.Options{Logger: zerolog.Nop()}); !errors.Is(err, lethe.ErrKeysMissing) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(h.data, "keys")); !os.IsNotExist(err) {
		t.Error("a folder of new keys was made")
	}
}

const treePage = 4096

// TestADamagedPageOfKeys damages one page of keys.tree at a time. Whoever's keys
// lie there reads as unavailable, or all is refused, and no view or checkpoint
// moves; nobody who is there reads as erased or unknown.
//
// Proves: INV-9
func TestADamagedPageOfKeys(t *testing.T) {
	whole := aLedger(t)
	info, err := os.Stat(filepath.Join(whole.data, "keys", "keys.tree"))
	must(t, err)
	pages, felt := int(info.Size()/treePage), 0
	for page := range pages {
		h := whole.twin(t)
		damage(t, filepath.Join(h.data, "keys", "keys.tree"), page)
		before := h.state(t, "data/views", "journal")
		if !h.felt(t, page) {
			continue // a free page, or one that only a later erasure needs
		}
		felt++
		if after := h.state(t, "data/views", "journal"); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("page %d: changed:\n%v\nwas\n%v", page, after, before)
		}
	}
	if felt == 0 {
		t.Errorf("none of %d pages is missed: nothing was damaged", pages)
	}
	t.Logf("%d of %d pages are missed", felt, pages)
}

func damage(t *testing.T, path string, page int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer func() { _ = f.Close() }()
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, 64), int64(page)*treePage+1000)
	must(t, err)
}

// felt reports whether a damage is noticed by any of the questions about two
// people who are there. An answer that is given is right.
func (h *home) felt(t *testing.T, page int) (felt bool) {
	t.Helper()
	l, err := h.open(t)
	if err != nil {
		unavailable(t, page, "opening", err)
		return true
	}
	defer func() { must(t, l.Close(context.Background())) }()
	for i := range 2 {
		id := person(i + 1)
		show, err := l.SubjectShow(t.Context(), counsel, id)
		if err == nil && (show.Subject.State != "active" || held(show, "messages", "present") != 20) {
			t.Errorf("page %d: %s is %+v", page, id, show)
		}
		if err != nil {
			unavailable(t, page, "subject show", err)
			felt = true
		}
		if rows, err := exportedRows(t, l, id); err != nil {
			unavailable(t, page, "subject export", err)
			felt = true
		} else if len(rows) != 20 {
			t.Errorf("page %d: an export of %s with %d of 20 rows is called complete", page, id, len(rows))
		}
	}
	return felt
}

// open opens the ledger in this process, without serving.
func (h *home) open(t *testing.T) (*lethe.Lethe, error) {
	t.Helper()
	c, err := lethe.LoadConfig(h.config)
	must(t, err)
	return lethe.Open(t.Context(), c, lethe.Options{Logger: zerolog.Nop(), Version: "test"})
}

// unavailable is what an outage is called, with the file and the remedy.
func unavailable(t *testing.T, page int, where string, err error) {
	t.Helper()
	neverErased(t, where, err.Error())
	for _, gone := range []error{domain.ErrErased, domain.ErrExpired, domain.ErrNotFound} {
		if errors.Is(err, gone) {
			t.Errorf("page %d: %s calls an outage %v: %v", page, where, gone, err)
		}
	}
	if !strings.Contains(err.Error(), "keys.tree page ") || !strings.Contains(err.Error(), "restore") {
		t.Errorf("page %d: %s does not name file and remedy: %v", page, where, err)
	}
}

// An exporter is the ledger in this process, or the admin API.
type exporter interface {
	SubjectExport(ctx context.Context, c api.Caller, id string, w io.Writer) error
}

// exportedRows are the message records that an export opens.
func exportedRows(t *testing.T, from exporter, id string) ([]messageRow, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "export.zip")
	f, err := os.Create(path)
	must(t, err)
	err = from.SubjectExport(t.Context(), counsel, id, f)
	must(t, f.Close())
	if err != nil {
		return nil, err
	}
	return messageRows(t, path), nil
}

// TestKeysLostWhileServing takes the tree away from under a process: what is asked
// is answered rightly, out of what the process still knows, or as unavailable. No
// view moves to another state, and the process after a crash refuses to start.
//
// Proves: INV-9
func TestKeysLostWhileServing(t *testing.T) {
	h := aLedger(t)
	s := h.start(t)
	tree := filepath.Join(h.data, "keys", "keys.tree")
	for page := range len(mustRead(t, tree)) / treePage {
		damage(t, tree, page)
	}
	client := h.client(t)
	for i := range 2 {
		show, err := client.SubjectShow(t.Context(), counsel, person(i+1))
		if err == nil && held(show, "messages", "present") != 20 {
			t.Errorf("%s is %+v", person(i+1), show)
		} else if err != nil {
			neverErased(t, "subject show", err.Error())
		}
		rows, err := exportedRows(t, client, person(i+1))
		if err == nil && len(rows) != 20 {
			t.Errorf("an export of %s with %d of 20 rows is called complete", person(i+1), len(rows))
		} else if err != nil {
			neverErased(t, "subject export", err.Error())
		}
	}
	for _, row := range h.asked(t, "holdings").rows {
		if strings.Contains(row, "erased") || strings.Contains(row, "expired") {
			t.Errorf("a view says %s", row)
		}
	}
	s.end(syscall.SIGKILL)
	before := h.state(t)
	r := h.run(t, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if r.code != 1 || !strings.Contains(r.errors, "keys.tree") || !strings.Contains(r.errors, "restore") {
		t.Errorf("serve without keys: %+v", r)
	}
	neverErased(t, "serve", r.errors)
	if after := h.state(t); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("changed:\n%v\nwas\n%v", after, before)
	}
}
