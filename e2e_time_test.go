package lethe_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// A calendar is a clock that a test moves; it goes on by itself, too.
type calendar struct{ ahead atomic.Int64 }

func (c *calendar) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *calendar) pass(d time.Duration) { c.ahead.Add(int64(d)) }

// An inside is a ledger that serves in this process.
type inside struct {
	*lethe.Lethe
	lethe.Addresses
	t *testing.T
	*calendar
}

var counsel = api.Caller{Principal: "counsel", Role: api.RoleLegal, Purpose: "data-subject-request"}

// openInside serves a configuration under a clock of the test's own.
func openInside(t *testing.T, h *home, clock *calendar) *inside {
	t.Helper()
	c, err := lethe.LoadConfig(h.config)
	if err != nil {
		t.Fatal(err)
	}
	c.SetListen("127.0.0.1:0")
	c.Admin.Address = "127.0.0.1:0"
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	l, err := lethe.Open(t.Context(), c, lethe.Options{Logger: log, Clock: clock.now, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan lethe.Addresses, 1), make(chan error, 1)
	go func() { ended <- l.Serve(ctx, func(a lethe.Addresses) { ready <- a }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serving ended with %v", err)
		}
		if err := l.Close(context.Background()); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	in := &inside{Lethe: l, t: t, calendar: clock}
	select {
	case in.Addresses = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("serving: %v", err)
	}
	return in
}

// visit talks as a person and hangs up; n messages go each way.
func (in *inside) visit(user string, n int) {
	in.t.Helper()
	c := join(in.t, in.Gateway, user)
	c.talk(in.t, n)
	c.hangUp(in.t)
}

// days counts the message records of a person that are readable, by day, as
// subject show lists them and as an export opens them.
func (in *inside) days(user string) map[string][2]int64 {
	in.t.Helper()
	show, err := in.SubjectShow(in.t.Context(), counsel, user)
	if err != nil {
		in.t.Fatal(err)
	}
	days := map[string][2]int64{}
	for _, h := range show.Holdings {
		if h.Class == "messages" && h.Readable == "present" {
			n := days[h.Bucket]
			n[0] += h.Records
			days[h.Bucket] = n
		}
	}
	rows, err := exportedRows(in.t, in, user)
	if err != nil {
		in.t.Fatal(err)
	}
	for _, row := range rows {
		n := days[row.At[:len("2006-01-02")]]
		n[1]++
		days[row.At[:len("2006-01-02")]] = n
	}
	return days
}

// want waits until a person's days are these.
func (in *inside) want(when, user string, want map[string]int64) {
	in.t.Helper()
	var got map[string][2]int64
	for range 100 {
		if got = in.days(user); sameDays(got, want) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	in.t.Errorf("%s: shown and exported by day %v, want %v", when, got, want)
}

func sameDays(got map[string][2]int64, want map[string]int64) bool {
	for day, n := range want {
		if got[day] != [2]int64{n, n} {
			return false
		}
	}
	return len(got) == len(want)
}

// expire destroys what is due.
func (in *inside) expire() {
	in.t.Helper()
	if _, err := in.RetentionRun(in.t.Context(), counsel, false); err != nil {
		in.t.Fatal(err)
	}
}

const aDay = 24 * time.Hour

// noon begins a test in the middle of a day, so that no visit crosses midnight.
func noon() *calendar {
	c, now := &calendar{}, time.Now().UTC()
	c.pass(now.Truncate(aDay).Add(36 * time.Hour).Sub(now))
	return c
}

// TestARangeErased leaves the days beside it readable until their own expiry, and
// not longer.
//
// Proves: INV-3, INV-8
func TestARangeErased(t *testing.T) {
	h := newHome(t)
	h.onLoopback(t, newEchoing(t).url, "interval: 2s", "interval: 200ms")
	in := openInside(t, h, noon())
	days := make([]string, 4)
	for i := range days {
		days[i] = in.now().UTC().Format(time.DateOnly)
		in.visit("ada", 10+i)
		in.visit("bob", 5)
		if i < len(days)-1 {
			in.pass(aDay)
		}
	}
	in.want("before", "ada", map[string]int64{days[0]: 20, days[1]: 22, days[2]: 24, days[3]: 26})

	day := func(i int) time.Time {
		at, err := time.Parse(time.DateOnly, days[i])
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	done, err := in.Erase(t.Context(), counsel, api.EraseRequest{ID: "ada", Classes: []string{"messages"}, From: day(1), Before: day(3)})
	if err != nil || done.State != "keys-destroyed" || done.Receipt.Buckets != 4 { // two days, in both tiers
		t.Fatalf("the erasure: %+v, %v", done, err)
	}
	in.want("after the erasure", "ada", map[string]int64{days[0]: 20, days[3]: 26})
	in.want("after the erasure", "bob", map[string]int64{days[0]: 10, days[1]: 10, days[2]: 10, days[3]: 10})

	in.pass(26 * aDay) // from day 3 to day 29: messages are kept for 30
	in.expire()
	in.want("on its last day", "ada", map[string]int64{days[0]: 20, days[3]: 26})
	in.pass(aDay)
	in.expire()
	in.want("past its period", "ada", map[string]int64{days[3]: 26})
	in.want("past its period", "bob", map[string]int64{days[1]: 10, days[2]: 10, days[3]: 10})
	in.pass(3 * aDay)
	in.expire()
	in.want("past the last period", "ada", map[string]int64{})
	in.rebuilt()
}

// rebuilt compares all views with their rebuild.
func (in *inside) rebuilt() {
	in.t.Helper()
	built, err := in.Rebuild(in.t.Context(), counsel, nil, nil)
	if err != nil {
		in.t.Fatal(err)
	}
	if len(built.Rebuilt) < 6 {
		in.t.Errorf("%d views were rebuilt", len(built.Rebuilt))
	}
	for _, v := range built.Rebuilt {
		if v.Digest != v.LiveDigest || len(v.Digest) != 64 {
			in.t.Errorf("view %s differs from its rebuild: %+v", v.Name, v)
		}
	}
}
