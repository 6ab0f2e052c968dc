package embedded

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

func isFullAnswer(err error) bool { return errors.Is(err, eventstore.ErrFull) }

// TestLogFaults fails each operation on the write-ahead log, undone and done, with
// a full and with a broken disk, while writers write. The process lives; nothing
// acknowledged is lost and nothing answered ErrFull is there, before and after the
// store is opened again.
func TestLogFaults(t *testing.T) {
	for _, f := range []fault{
		{op: "write", path: isWAL},
		{op: "write", path: isWAL, done: true},
		{op: "sync", path: isWAL},
		{op: "sync", path: isWAL, done: true},
		{op: "create", path: isWAL},
		{op: "create", path: isWAL, done: true},
		{op: "sync", path: isDir},
		{op: "write", path: isManifest},
		{op: "sync", path: isManifest},
	} {
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
			f.err = cause
			name := f.op + " " + map[bool]string{true: "done", false: "undone"}[f.done] + " " + cause.Error()
			t.Run(name, func(t *testing.T) { breakLog(t, f, vfs.NewMem(), "store") })
		}
	}
}

// TestLogFaultOnDisk does the same once on the machine's own file system.
func TestLogFaultOnDisk(t *testing.T) {
	breakLog(t, fault{op: "sync", path: isWAL, err: syscall.ENOSPC, done: true}, vfs.Default, t.TempDir())
}

func breakLog(t *testing.T, f fault, fs vfs.FS, dir string) {
	ffs := &faultFS{FS: fs}
	s := mustOpen(t, dir, Options{FS: ffs, MemTableBytes: minMemTable})
	l := newLoad()
	l.run(s, 8, 500, 20, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Large enough that the log is rotated and a memtable flushed.
		l.run(s, 8, 100_000, 4_000, nil)
	}()
	time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
	ffs.set(&f)
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("writers still wait")
	}
	if ffs.count() == 0 || len(l.errs) != 8 {
		t.Fatalf("the fault was met %d times and answered %d times: %v", ffs.count(), len(l.errs), l.errs)
	}
	for _, err := range l.errs {
		if !errors.Is(err, domain.ErrUnavailable) && !isFullAnswer(err) {
			t.Fatalf("answered %v", err)
		}
		if inLog := f.path("x.log"); inLog && isFullAnswer(err) != errors.Is(f.err, syscall.ENOSPC) {
			t.Fatalf("answered %v to %v", err, f.err)
		}
	}
	frozen(t, s, f)
	verify(t, s, l.acked, l.full)
	if err := s.Close(); !errors.Is(err, f.err) {
		t.Fatalf("close: %v, want %v", err, f.err)
	}
	ffs.set(nil)
	again := mustOpen(t, dir, Options{FS: ffs, MemTableBytes: minMemTable})
	verify(t, again, l.acked, l.full)
	l.adopt(t, again)
	l.run(again, 8, 500, 5, nil)
	verify(t, again, l.acked, l.full)
	mustClose(t, again)
}

// frozen asks that the store takes nothing more and says why.
func frozen(t *testing.T, s *Store, f fault) {
	t.Helper()
	want := domain.ErrUnavailable
	if errors.Is(f.err, syscall.ENOSPC) {
		want = eventstore.ErrFull
	}
	e := sample("lethe.test.late", 10)
	if _, err := s.Append(t.Context(), e.Stream(), domain.NoStream, []domain.Sealed{e}); !errors.Is(err, want) {
		t.Fatalf("append: %v, want %v", err, want)
	}
	if err := s.Delete(t.Context(), "lethe.test.writer-0"); err == nil {
		t.Fatal("deleted in a store that cannot write")
	}
}

// TestTableFaults fails the writing of tables: appends go on while memory lasts,
// then wait or are refused, and all is well again when the disk is.
func TestTableFaults(t *testing.T) {
	for _, f := range []fault{{op: "create", path: isTable}, {op: "write", path: isTable}, {op: "sync", path: isTable}} {
		for _, cause := range []error{syscall.ENOSPC, syscall.EIO} {
			f.err = cause
			t.Run(fmt.Sprintf("%s %v", f.op, cause), func(t *testing.T) { breakTables(t, f) })
		}
	}
}

func breakTables(t *testing.T, f fault) {
	ffs := &faultFS{FS: vfs.NewMem()}
	s := mustOpen(t, "store", Options{FS: ffs, MemTableBytes: minMemTable})
	ffs.set(&f)
	l := newLoad()
	l.run(s, 4, 100_000, 4_000, nil)
	if ffs.count() == 0 || len(l.errs) != 4 {
		t.Fatalf("the fault was met %d times and answered %d times", ffs.count(), len(l.errs))
	}
	for _, err := range l.errs {
		if isFullAnswer(err) != errors.Is(f.err, syscall.ENOSPC) {
			t.Fatalf("answered %v to %v", err, f.err)
		}
	}
	verify(t, s, l.acked, l.full)
	ffs.set(nil)
	e := sample("lethe.test.late", 10)
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		_, err := s.Append(t.Context(), e.Stream(), domain.NoStream, []domain.Sealed{e})
		if err == nil {
			break
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("still refused: %v", err)
		}
	}
	verify(t, s, l.acked, l.full)
	mustClose(t, s)
}

// TestReserve asks that appends stop before the disk is full, that disposal goes
// on, and that appends come back by themselves.
func TestReserve(t *testing.T) {
	ffs := &faultFS{FS: vfs.NewMem()}
	s := mustOpen(t, "store", Options{FS: ffs, Reserve: 1 << 20})
	defer mustClose(t, s)
	l := newLoad()
	l.run(s, 2, 100, 5, nil)
	ffs.free(1<<20 - 1)
	l.run(s, 2, 100, 5, nil)
	if len(l.full) != 2 {
		t.Fatalf("%d appends refused, want 2: %v", len(l.full), l.errs)
	}
	if err := s.Truncate(t.Context(), "lethe.test.writer-0", 3); err != nil {
		t.Fatal(err)
	}
	ffs.free(1 << 20)
	l.run(s, 1, 100, 5, nil)
	if len(l.full) != 2 || len(l.acked["lethe.test.writer-0"]) != 10 {
		t.Fatalf("%d refused, %d acknowledged", len(l.full), len(l.acked["lethe.test.writer-0"]))
	}
}

// TestPowerLoss takes copies of the disk while writers write, with nothing, some
// and all of what was not synced, and asks that what was acknowledged before is in
// each.
func TestPowerLoss(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := mustOpen(t, "store", Options{FS: fs})
	l := newLoad()
	for i := range 9 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.run(s, 8, 2_000, 40, nil)
		}()
		time.Sleep(time.Duration(rand.IntN(4_000)) * time.Microsecond)
		acked := l.snapshot()
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * (i % 3), RNG: rand.New(rand.NewPCG(1, uint64(i)))})
		<-done
		copied := mustOpen(t, "store", Options{FS: clone})
		verify(t, copied, acked, nil)
		mustClose(t, copied)
	}
	if len(l.errs) > 0 || len(l.acked) != 8 {
		t.Fatalf("%d writers, %v", len(l.acked), l.errs)
	}
	mustClose(t, s)
}
