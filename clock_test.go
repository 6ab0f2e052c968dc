package lethe

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore/embedded"
)

// A fakeTime is a wall clock and a monotonic one.
type fakeTime struct {
	at   time.Time
	mono time.Duration
}

func newFakeTime() *fakeTime { return &fakeTime{at: time.Now()} }

func (f *fakeTime) now() time.Time { return f.at }

// pass lets both clocks go on.
func (f *fakeTime) pass(d time.Duration) { f.at, f.mono = f.at.Add(d), f.mono+d }

// unsynced is a clock that the kernel does not vouch for.
func unsynced(f *fakeTime) *clock {
	c := newClock(f.now)
	c.synced = func() bool { return false }
	c.elapsed = func() time.Duration { return f.mono }
	return c
}

func TestTheClockIsTrusted(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*fakeTime, *clock)
		trusted bool
	}{
		"in a new ledger":                    {func(_ *fakeTime, c *clock) { c.vouch(true) }, true},
		"at a start that nobody vouches for": {func(_ *fakeTime, c *clock) { c.vouch(false) }, false},
		"nine minutes later":                 {func(f *fakeTime, c *clock) { c.vouch(false); f.pass(9 * time.Minute) }, false},
		"ten minutes later":                  {func(f *fakeTime, c *clock) { c.vouch(false); f.pass(10 * time.Minute) }, true},
		"where the kernel says so":           {func(_ *fakeTime, c *clock) { c.vouch(false); c.synced = func() bool { return true } }, true},
		"after a jump of the wall clock": {func(f *fakeTime, c *clock) {
			c.vouch(true)
			jump(f, time.Hour)
		}, false},
		"confirmed by the time": {func(f *fakeTime, c *clock) {
			c.vouch(false)
			c.confirm(f.at.Add(-59 * time.Second))
		}, true},
		"confirmed by another time": {func(f *fakeTime, c *clock) {
			c.vouch(false)
			c.confirm(f.at.Add(-time.Minute))
		}, false},
		"confirmed behind a jump": {func(f *fakeTime, c *clock) {
			jump(f, time.Hour)
			c.confirm(f.at)
		}, true},
		"confirmed before a jump": {func(f *fakeTime, c *clock) {
			c.confirm(f.at)
			jump(f, time.Hour)
		}, false},
		"confirmed, and apart from the log's": {func(f *fakeTime, c *clock) {
			c.besides(func() error { return ledger.ErrClocksApart })
			c.confirm(f.at)
		}, false},
		"ten minutes after a jump": {func(f *fakeTime, c *clock) {
			c.vouch(true)
			jump(f, time.Hour)
			_ = c.trusted()
			f.pass(10 * time.Minute)
		}, true},
	} {
		f := newFakeTime()
		c := unsynced(f)
		test.prepare(f, c)
		if err := c.trusted(); (err == nil) != test.trusted {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// jump moves the wall clock only.
func jump(f *fakeTime, d time.Duration) { f.at = f.at.Add(d) }

// The log vouches for the time if its last time.noted is at most ten minutes old.
func TestTheLogVouchesForTheTime(t *testing.T) {
	for _, test := range []struct {
		age     time.Duration
		trusted bool
	}{{5 * time.Minute, true}, {9 * time.Minute, true}, {11 * time.Minute, false}, {48 * time.Hour, false}, {-time.Hour, false}} {
		dir := t.TempDir()
		now := time.Now()
		c := UpstreamConfig("ws://127.0.0.1:1")
		c.SetData(dir + "/data")
		l, err := Open(t.Context(), c, Options{Logger: zerolog.Nop(), Clock: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		node, err := l.ledger.OpenNode(t.Context(), domain.Name("version", "test"))
		if err != nil {
			t.Fatal(err)
		}
		if err := node.Time(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		later := &fakeTime{at: now.Add(test.age)}
		judge := unsynced(later)
		store, err := embedded.Open(dir+"/data/log", embedded.Options{Clock: later.now})
		if err != nil {
			t.Fatal(err)
		}
		if err := judge.readLog(t.Context(), store, c.Ledger); err != nil {
			t.Fatal(err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if err := judge.trusted(); (err == nil) != test.trusted {
			t.Errorf("a time noted %v ago: %v", test.age, err)
		}
	}
}
