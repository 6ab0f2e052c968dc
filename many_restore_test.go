package lethe

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// A drill erases people behind copies of everything: ada whole, bob one class, cy a
// range with today in it, dan one without; dora stays. Two gateways take part.
type drill struct {
	*site
	dirs     [2]string
	vaulted  string        // a copy of Vault
	logged   esdbtest.Copy // of the log
	kept     string        // of the views of both
	journals [2]string
}

func newDrill(t *testing.T) (*drill, [2]*running) {
	t.Helper()
	d := &drill{site: newSite(t, "raft"), dirs: [2]string{t.TempDir(), t.TempDir()}, kept: t.TempDir()}
	nodes := d.serve()
	people := []string{"ada", "bob", "cy", "dan", "dora"}
	for i, id := range people {
		dial(t, nodes[i%2].Gateway, id).talk(t, 10)
	}
	eve := dial(t, nodes[0].Gateway, "eve")
	for _, id := range people {
		await(t, "20 records of "+id, func() bool { return records(nodes[0].show(t, id), "messages", "present") == 20 })
	}
	d.vaulted, d.logged = d.vault.CopyData(), d.log.Copy()
	for i, n := range nodes {
		copied := filepath.Join(d.kept, strconv.Itoa(i))
		if err := os.CopyFS(copied, os.DirFS(n.cfg.Data+"/views")); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(n.cfg.Journal.Path)
		if err != nil {
			t.Fatal(err)
		}
		d.journals[i] = string(b)
	}
	await(t, "Vault answers", func() bool { _, err := nodes[0].ring.Status(t.Context()); return err == nil })
	eve.talk(t, 10) // of which no copy knows
	await(t, "records of eve", func() bool { return records(nodes[0].show(t, "eve"), "messages", "present") == 20 })
	return d, nodes
}

// serve starts both gateways.
func (d *drill) serve() (nodes [2]*running) {
	d.t.Helper()
	for i, dir := range d.dirs {
		nodes[i] = serve(d.t, d.config(dir))
	}
	return nodes
}

func (d *drill) erase(nodes [2]*running) {
	d.t.Helper()
	tomorrow := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
	var erasing sync.WaitGroup
	for i, each := range [][]api.EraseRequest{
		{{ID: "ada"}, {ID: "bob", Classes: []string{"messages"}}},
		{{ID: "cy", Classes: []string{"messages"}, Before: tomorrow}, {ID: "dan", Classes: []string{"messages"}, From: tomorrow}},
	} {
		erasing.Go(func() {
			for _, e := range each {
				erased(d.t, nodes[i], e)
			}
		})
	}
	erasing.Wait()
}

// another is an erasure right after a restore.
var another = api.EraseRequest{ID: "dora", Classes: []string{"network"}}

// erased erases; on a busy machine a lease may run out before the receipt is read
// back, and the same request goes on from there.
func erased(t *testing.T, r *running, e api.EraseRequest) {
	t.Helper()
	var done api.EraseResult
	var err error
	for range 10 {
		if done, err = r.Erase(t.Context(), legal, e); !errors.Is(err, domain.ErrUnavailable) || errors.Is(err, domain.ErrForked) || done.Request == "" {
			break
		}
		e.Request = done.Request
	}
	if err != nil || done.State != "keys-destroyed" {
		t.Errorf("erasing %s: %+v, %v", e.ID, done, err)
	}
}

// stands checks that what was erased opens nowhere, what was kept does, and that the
// views say so.
func (d *drill) stands(when string, r *running) {
	d.t.Helper()
	d.opens(when, r)
	for _, id := range []string{"bob", "cy"} {
		if n := records(r.show(d.t, id), "messages", "present"); n != 0 {
			d.t.Errorf("%s: %d messages of %s are readable", when, n, id)
		}
	}
}

// opens checks what opens, whatever the views say.
func (d *drill) opens(when string, r *running) {
	d.t.Helper()
	if s := r.show(d.t, "ada"); s.Subject.State != "unknown" {
		d.t.Errorf("%s: ada is %+v", when, s)
	}
	for _, id := range []string{"bob", "cy"} {
		if n := records(r.show(d.t, id), "lifecycle", "present"); n == 0 {
			d.t.Errorf("%s: the other class of %s is gone", when, id)
		}
		if rows := exported(d.t, r, id); rows != 0 {
			d.t.Errorf("%s: %d messages of %s are exported", when, rows, id)
		}
	}
	for _, id := range []string{"dan", "dora"} {
		if rows := exported(d.t, r, id); rows != 20 {
			d.t.Errorf("%s: %d messages of %s are exported, want 20", when, rows, id)
		}
	}
}

// exported counts the message records that an export opens.
func exported(t *testing.T, r *running, id string) int {
	t.Helper()
	rows, err := exportOf(t, r, id)
	for range 5 { // on a busy machine
		if !errors.Is(err, domain.ErrUnavailable) || errors.Is(err, domain.ErrForked) {
			break
		}
		rows, err = exportOf(t, r, id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func exportOf(t *testing.T, r *running, id string) (int, error) {
	t.Helper()
	var b bytes.Buffer
	if err := r.SubjectExport(t.Context(), legal, id, &b); err != nil {
		return 0, err
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	f, err := z.Open("data/messages.ndjson")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	rows, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return bytes.Count(rows, []byte(`"opcode"`)), nil
}

// TestRestoreDrills puts back, while everything is stopped, copies that are older
// than the erasures; the second time with another erasure before anything is read.
//
// Proves: INV-3
func TestRestoreDrills(t *testing.T) {
	for _, c := range []struct {
		what string
		back func(*drill)
		log  bool // it goes back, which everybody notices
	}{
		{"Vault", func(d *drill) { d.vault.RestoreData(d.vaulted) }, false},
		{"the log", (*drill).putLogBack, true},
		{"Vault and the log", func(d *drill) { d.vault.RestoreData(d.vaulted); d.putLogBack() }, true},
		{"views", (*drill).putViewsBack, false},
		{"a journal file", (*drill).putJournalBack, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			d, nodes := newDrill(t)
			d.erase(nodes)
			d.stands("before", nodes[0])
			for _, more := range []bool{false, true} {
				journal := d.stop(nodes)
				c.back(d)
				if c.log && !more {
					d.noticed()
				}
				if c.log {
					d.remove("tlog")
				}
				nodes = d.serve()
				if more {
					erased(t, nodes[1], another)
				}
				if c.log {
					d.afterTheLog(nodes)
					d.shipped(nodes, !more)
				}
				d.goesOn(nodes, journal)
			}
			d.disposes(nodes)
		})
	}
}

// noticed starts a gateway with what it has on a log that went back: it puts the
// journal's lines back, neither its views nor its outbox go on, and it says what is to
// be done. What it records meanwhile waits.
func (d *drill) noticed() {
	d.t.Helper()
	var said lockedBuffer
	r := serveWith(d.t, d.config(d.dirs[0]), Options{Logger: zerolog.New(&said), Version: "test"})
	dial(d.t, r.Gateway, "eve").talk(d.t, 1)
	for _, what := range []string{
		"erasure journal mended", "the views stopped; recording goes on; run lethe views rebuild --all", "the leaf entries stopped",
		"the outbox is not shipped any more; recording goes on until it is full; run lethe keys restore-check on this node",
	} {
		await(d.t, what, func() bool { return strings.Contains(said.String(), what) })
	}
	r.stop()
}

// remove removes parts of the data directory of both.
func (d *drill) remove(parts ...string) {
	d.t.Helper()
	for _, dir := range d.dirs {
		for _, what := range parts {
			if err := os.RemoveAll(filepath.Join(dir, "data", what)); err != nil {
				d.t.Fatal(err)
			}
		}
	}
}

// removeFollowers removes all that followed a log that went back.
func (d *drill) removeFollowers() {
	d.t.Helper()
	d.remove("views", "tlog", "outbox")
}

// afterTheLog does on both what the manual says of a log that was put back.
func (d *drill) afterTheLog(nodes [2]*running) {
	d.t.Helper()
	for _, n := range nodes {
		_, err := n.Rebuild(d.t.Context(), legal, nil, nil)
		_, failed := n.RestoreCheck(d.t.Context(), legal, "")
		if err := errors.Join(err, failed); err != nil {
			d.t.Fatal(err)
		}
	}
}

// shipped checks that what waited in the outboxes stands in the log, once: of eve the
// records that the log had not seen when it was put back.
func (d *drill) shipped(nodes [2]*running, waited bool) {
	d.t.Helper()
	for i, n := range nodes {
		await(d.t, "an empty outbox", func() bool { return n.shared.outbox.Stats().Pending.Events == 0 })
		want := int64(0)
		if waited {
			want = 2
		}
		if got := records(n.show(d.t, "eve"), "messages", "present"); got != want {
			d.t.Errorf("gateway %d shows %d records of eve, want %d", i, got, want)
		}
	}
}

// disposes removes the ciphertext of all that was erased.
func (d *drill) disposes(nodes [2]*running) {
	d.t.Helper()
	done, err := nodes[0].Dispose(d.t.Context(), legal, false, nil)
	if err != nil || done.Destructions < 4 || done.Records < 60 || done.Deleted == 0 {
		d.t.Errorf("disposed of %+v, %v", done, err)
	}
	left, err := nodes[0].Dispose(d.t.Context(), legal, true, nil)
	if err != nil || left.Destructions != 0 {
		d.t.Errorf("still to be disposed of: %+v, %v", left, err)
	}
}

// goesOn checks, on both gateways, what a restore must leave.
func (d *drill) goesOn(nodes [2]*running, journal string) {
	d.t.Helper()
	for i, n := range nodes {
		d.stands(fmt.Sprint("afterwards on gateway ", i), n)
		if b, err := os.ReadFile(n.cfg.Journal.Path); err != nil || !strings.HasPrefix(string(b), journal) {
			d.t.Errorf("gateway %d has another journal, %v", i, err)
		}
	}
	found, err := nodes[0].RestoreCheck(d.t.Context(), legal, "")
	if err != nil || found.Lines < 4 || found.Behind+uint64(found.Subjects+found.Classes+found.Kept) != 0 {
		d.t.Errorf("a check after the start found %+v, %v", found, err)
	}
	sameAsRebuilt(d.t, nodes[0])
	await(d.t, "the same counts on both", func() bool {
		var counts [2]string
		for i, n := range nodes {
			page, err := n.Query(d.t.Context(), legal, "pools", "", 0)
			if err != nil {
				d.t.Fatal(err)
			}
			counts[i] = fmt.Sprint(page.Rows)
		}
		return counts[0] == counts[1] && counts[0] != "[]"
	})
}

// A lockedBuffer holds what a gateway logs.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// stop stops both gateways and returns their journal, which is the same.
func (d *drill) stop(nodes [2]*running) string {
	d.t.Helper()
	journal := d.sameJournals(nodes[:]...)
	for _, n := range nodes {
		n.stop()
	}
	return journal
}

// sameJournals waits until both have the same journal.
func (d *drill) sameJournals(nodes ...*running) string {
	d.t.Helper()
	var journals [2]string
	await(d.t, "the same journal on both", func() bool {
		for i, n := range nodes {
			b, err := os.ReadFile(n.cfg.Journal.Path)
			if err != nil {
				d.t.Fatal(err)
			}
			journals[i] = string(b)
		}
		return journals[0] == journals[1] && strings.Count(journals[0], "\n") >= 4
	})
	return journals[0]
}

func (d *drill) putLogBack() {
	d.t.Helper()
	if err := d.log.PutBack(d.logged); err != nil {
		d.t.Fatal(err)
	}
}

func (d *drill) putViewsBack() {
	d.t.Helper()
	for i, dir := range d.dirs {
		views := dir + "/data/views"
		err := os.RemoveAll(views)
		if err := errors.Join(err, os.CopyFS(views, os.DirFS(filepath.Join(d.kept, strconv.Itoa(i))))); err != nil {
			d.t.Fatal(err)
		}
	}
}

// putJournalBack gives the first gateway its file as it was.
func (d *drill) putJournalBack() {
	d.t.Helper()
	c := d.config(d.dirs[0])
	if err := os.WriteFile(c.Journal.Path, []byte(d.journals[0]), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// TestVaultIsRestoredUnderRunningGateways: neither opens anything until what came
// back is destroyed again, which the check lists; an erasure right after the restore
// does so by itself, before it names anything.
//
// Proves: INV-3
func TestVaultIsRestoredUnderRunningGateways(t *testing.T) {
	t.Parallel()
	d, nodes := newDrill(t)
	d.erase(nodes)
	restore := func() {
		d.vault.RestoreData(d.vaulted)
		await(t, "Vault answers", func() bool { _, err := nodes[0].ring.Status(t.Context()); return err == nil })
	}
	restore()
	time.Sleep(ledger.LeaseTime)
	if _, err := exportOf(t, nodes[1], "dora"); !errors.Is(err, ledger.ErrCustodianBehind) {
		t.Errorf("before the check an export ends with %v", err)
	}
	found, err := nodes[0].RestoreCheck(t.Context(), legal, "")
	if err != nil || found.Behind != 4 || found.Subjects != 1 || found.Classes < 3 || found.Rescued == 0 {
		t.Errorf("the check found %+v, %v", found, err)
	}
	d.stands("after the check", nodes[1])

	restore()
	erased(t, nodes[0], another)
	found, err = nodes[1].RestoreCheck(t.Context(), legal, "")
	if err != nil || found.Lines != 5 || found.Behind+uint64(found.Subjects+found.Classes+found.Kept) != 0 {
		t.Errorf("a check after another erasure found %+v, %v", found, err)
	}
	d.stands("after another erasure", nodes[1])
}

// TestALongerJournalFileStopsBothGateways: from the moment on that one gateway finds
// that its journal has lines which the log lost, neither opens or erases anything,
// while both record; once the lines stand both go on by themselves. The other one had
// lost its journal, which is filled again.
//
// Proves: INV-3
func TestALongerJournalFileStopsBothGateways(t *testing.T) {
	t.Parallel()
	d, nodes := newDrill(t)
	d.erase(nodes)
	journal := d.stop(nodes)
	d.putLogBack()
	d.removeFollowers()
	lost := d.config(d.dirs[1])
	if err := os.Remove(lost.Journal.Path); err != nil {
		t.Fatal(err)
	}
	d.log.SetHooks(esdbtest.Hooks{BeforeCommit: func(_ context.Context, c esdbtest.Call) error {
		if c.Method == esdbtest.MethodAppend && c.Stream == "lethe.main.journal" {
			return esdbtest.Unavailable()
		}
		return nil
	}})
	if l, err := Open(t.Context(), d.config(d.dirs[0]), Options{}); l != nil || !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("it starts without its lines in the log: %v", err)
	}
	two := serve(t, lost)
	d.stopped("the lines are missing", two)
	d.log.SetHooks(esdbtest.Hooks{})
	one := serve(t, d.config(d.dirs[0]))
	for i, r := range []*running{one, two} {
		await(t, "what was kept opens again", func() bool { _, err := exportOf(t, r, "dora"); return err == nil })
		d.opens(fmt.Sprint("the lines stand, gateway ", i), r)
		await(t, "a whole journal", func() bool {
			b, err := os.ReadFile(r.cfg.Journal.Path)
			return err == nil && string(b) == journal
		})
	}
}

// stopped checks that a gateway opens and erases nothing, says why, and records.
func (d *drill) stopped(when string, r *running) {
	d.t.Helper()
	if _, err := exportOf(d.t, r, "dora"); !errors.Is(err, domain.ErrForked) {
		d.t.Errorf("%s: an export ends with %v", when, err)
	}
	if done, err := r.Erase(d.t.Context(), legal, api.EraseRequest{ID: "dora"}); !errors.Is(err, domain.ErrForked) || done.Request != "" {
		d.t.Errorf("%s: an erasure is %+v, %v", when, done, err)
	}
	c := dial(d.t, r.Gateway, "eve")
	before := r.shared.recording.Counts().Records.Load()
	c.talk(d.t, 5)
	await(d.t, "it records", func() bool { return r.shared.recording.Counts().Records.Load() > before })
	doctor, err := r.Doctor(d.t.Context(), legal)
	if err != nil || !slices.ContainsFunc(doctor.Findings, func(f api.Finding) bool { return f.Subject == "journal" && f.Level == "error" }) {
		d.t.Errorf("%s: doctor says %+v, %v", when, doctor, err)
	}
}

// TestAContradictingJournalStopsBothGateways: log and Vault were put back, and a
// gateway whose journal was lost erased somebody before the one with the whole
// journal came.
//
// Proves: INV-3
func TestAContradictingJournalStopsBothGateways(t *testing.T) {
	t.Parallel()
	d, nodes := newDrill(t)
	d.erase(nodes)
	d.stop(nodes)
	d.vault.RestoreData(d.vaulted)
	d.putLogBack()
	d.removeFollowers()
	lost := d.config(d.dirs[1])
	if err := os.Remove(lost.Journal.Path); err != nil {
		t.Fatal(err)
	}
	two := serve(t, lost)
	erased(t, two, another)
	one := serve(t, d.config(d.dirs[0]))
	time.Sleep(ledger.LeaseTime)
	for i, r := range []*running{one, two} {
		d.stopped(fmt.Sprint("before the check, gateway ", i), r)
	}
	if _, err := two.RestoreCheck(t.Context(), legal, ""); !errors.Is(err, domain.ErrForked) {
		t.Errorf("a check where that file is not: %v", err)
	}
	found, err := one.RestoreCheck(t.Context(), legal, "")
	if err != nil || found.Put != 4 || found.Subjects != 1 || found.Classes < 2 {
		t.Fatalf("the check found %+v, %v", found, err)
	}
	for i, r := range []*running{one, two} {
		await(t, "what was kept opens again", func() bool { _, err := exportOf(t, r, "dora"); return err == nil })
		d.opens(fmt.Sprint("after the check, gateway ", i), r)
	}
	d.sameJournals(one, two)
}
