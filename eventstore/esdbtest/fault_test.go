package esdbtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/metadata"
)

// with1 starts a server and a kit on it.
func with1(t *testing.T, o Options) *kit {
	t.Helper()
	o.Clock = time.Now
	s := Start(t, o)
	k := newKit(t, "F", s, dial(t, s))
	drivers()["F01"](k) // connects, so that short deadlines are those of calls alone
	return k
}

// on is a kit for another server, with the same events.
func (k *kit) on(s *Server) *kit {
	out := newKit(k.t, k.id, s, dial(k.t, s))
	out.mu, out.ids, out.labels = k.mu, k.ids, k.labels
	return out
}

// within bounds the calls of a kit.
func (k *kit) within(d time.Duration) *kit {
	ctx, cancel := context.WithTimeout(k.ctx, d)
	k.t.Cleanup(cancel)
	out := *k
	out.ctx = ctx
	return &out
}

func (k *kit) leading() *kit {
	out := *k
	out.ctx = metadata.AppendToOutgoingContext(k.ctx, "requires-leader", "true")
	return &out
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if !strings.HasPrefix(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestFaultsOfWrites lets each fault happen before and after the commit, and
// repeats the append: what was lost is written then, what was applied is found.
func TestFaultsOfWrites(t *testing.T) {
	faults := map[string]struct {
		hook func(context.Context, Call) error
		want string
	}{
		"close":       {Answer(ErrCloseConnection), "Unavailable"},
		"aborted":     {Answer(Aborted()), "Aborted"},
		"unavailable": {Answer(Unavailable()), `Unavailable "Server Is Not Ready"`},
		"not-leader":  {Answer(NotLeader("127.0.0.1", 1)), `NotFound "Leader info available" {exception=not-leader leader-endpoint-host=127.0.0.1 leader-endpoint-port=1}`},
		"no leader":   {Answer(NoLeader()), `Unknown "No leader info available in response"`},
		"hang":        {Hang, "DeadlineExceeded"},
	}
	for name, f := range faults {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after=%t", name, after), func(t *testing.T) {
				k := with1(t, Options{})
				once := Times(1, MethodAppend, f.hook)
				if after {
					k.s.SetHooks(Hooks{AfterCommit: once})
				} else {
					k.s.SetHooks(Hooks{BeforeCommit: once})
				}
				patience := 5 * time.Second
				if name == "hang" {
					patience = 300 * time.Millisecond
				}
				want(t, "first", k.within(patience).app(k.st("a"), "NoStream", "e0", "e1"), f.want)
				found := map[bool]string{false: "not-found({a}) EOF", true: "#0 #1 EOF"}[after]
				want(t, "in the log", k.read(stream(k.st("a"))), found)
				want(t, "again", k.app(k.st("a"), "NoStream", "e0", "e1"), "ok rev=1")
				want(t, "once", k.read(stream(k.st("a"))), "#0 #1 EOF")
			})
		}
	}
}

// TestCommitAfterTheCallerGaveUp: an outcome that is unknown can still come true.
func TestCommitAfterTheCallerGaveUp(t *testing.T) {
	k := with1(t, Options{})
	go1 := make(chan struct{})
	k.s.SetHooks(Hooks{BeforeCommit: func(context.Context, Call) error { <-go1; return nil }})
	want(t, "given up", k.within(500*time.Millisecond).app(k.st("a"), "NoStream", "e0"), "DeadlineExceeded")
	want(t, "not yet", k.read(stream(k.st("a"))), "not-found({a}) EOF")
	close(go1)
	deadline := time.Now().Add(3 * time.Second)
	for k.read(stream(k.st("a"))) != "#0 EOF" && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	want(t, "later", k.read(stream(k.st("a"))), "#0 EOF")
}

// TestRepetitionsOfADeletedStream: whether a stream comes back is decided by the
// first id of the append alone.
func TestRepetitionsOfADeletedStream(t *testing.T) {
	k := with1(t, Options{})
	k.three()
	k.soft(k.st("a"), "Any")
	want(t, "begins as what was deleted", k.app(k.st("a"), "NoStream", "e0", "e1", "n2"), "WEV{cur20=2")
	want(t, "begins anew", k.app(k.st("a"), "NoStream", "n0", "e1"), "ok rev=4")
}

func TestMetadataWithAnythingWrongCountsAsEmpty(t *testing.T) {
	for body, kept := range map[string]int64{`{"$tb":2}`: 2, `{"$tb":2,"$maxCount":0}`: 0, `{"$tb":2,"$maxAge":-1}`: 0, `{"$tb":-1}`: 0, `{"$tb":2,"$acl":{"$r":7}}`: 0} {
		if m := parseMeta([]byte(body)); m.truncateBefore != kept {
			t.Errorf("%s: truncated before %d, want %d", body, m.truncateBefore, kept)
		}
	}
}

func TestEqualAppendInFlightIsDropped(t *testing.T) {
	k := with1(t, Options{CommitDelay: time.Millisecond})
	first, arrived, go1 := make(chan string, 1), make(chan struct{}), make(chan struct{})
	k.s.SetHooks(Hooks{BeforeCommit: Times(1, MethodAppend, func(context.Context, Call) error { close(arrived); <-go1; return nil })})
	go func() { first <- k.app(k.st("a"), "NoStream", "e0", "e1") }()
	<-arrived
	want(t, "second", k.within(300*time.Millisecond).app(k.st("a"), "NoStream", "e0", "e1"), "DeadlineExceeded")
	close(go1)
	want(t, "first", <-first, "ok rev=1")
	want(t, "after both", k.app(k.st("a"), "NoStream", "e0", "e1"), "ok rev=1")
	if n := k.s.Cluster().Dropped(); n != 1 {
		t.Errorf("%d appends dropped, want 1", n)
	}
}

func TestStopLosesWhatIsInFlight(t *testing.T) {
	k := with1(t, Options{})
	arrived, go1, done := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	k.s.SetHooks(Hooks{BeforeCommit: func(context.Context, Call) error { close(arrived); <-go1; return nil }})
	go func() { done <- k.app(k.st("a"), "NoStream", "e0") }()
	<-arrived
	stopped := make(chan struct{})
	go func() { k.s.Stop(); close(stopped) }()
	want(t, "in flight", <-done, "Unavailable")
	close(go1)
	<-stopped
	want(t, "while down", k.within(5*time.Second).app(k.st("a"), "NoStream", "e0"), "Unavailable")
	old := k.s.URL()
	k.s.SetHooks(Hooks{})
	if err := k.s.Restart(); err != nil {
		t.Fatal(err)
	}
	if k.s.URL() != old {
		t.Errorf("restarted at %s, was %s", k.s.URL(), old)
	}
	again := k.on(k.s)
	want(t, "after the restart", again.read(stream(k.st("a"))), "not-found")
	want(t, "after the restart", again.app(k.st("a"), "NoStream", "e0"), "ok rev=0")
}

func TestRestartHasANewInstance(t *testing.T) {
	k := with1(t, Options{})
	before, _ := k.s.Instance()
	if err := k.s.Restart(); err != nil {
		t.Fatal(err)
	}
	after, runs := k.s.Instance()
	if before == after || !runs {
		t.Errorf("instance %s, then %s (running %t)", before, after, runs)
	}
}

func TestFreeze(t *testing.T) {
	k := with1(t, Options{})
	k.must(k.st("a"), "NoStream", "e0")
	k.s.Freeze()
	want(t, "frozen", k.within(150*time.Millisecond).app(k.st("a"), 0, "e1"), "DeadlineExceeded")
	want(t, "frozen for a new connection", k.on(k.s).within(150*time.Millisecond).read(stream(k.st("a"))), "DeadlineExceeded")
	k.s.Thaw()
	want(t, "thawed", k.app(k.st("a"), 0, "e1"), "ok rev=1")
}

func TestGoAwayLetsCallsEnd(t *testing.T) {
	k := with1(t, Options{})
	k.must(k.st("a"), "NoStream", "e0")
	l := k.listen(stream(k.st("a")))
	want(t, "before", l.take(3), "conf #0 caught-up")
	k.s.GoAway()
	want(t, "another call", k.app(k.st("a"), 0, "e1"), "ok rev=1")
	want(t, "the old subscription", l.take(1), "#1")
	k.s.GoAway()
	want(t, "a third server", k.app(k.st("a"), 1, "e2"), "ok rev=2")
}

func TestHundredCallsAConnection(t *testing.T) {
	k := with1(t, Options{})
	var open []*listener
	for range 100 {
		l := k.listen(with(all(), end))
		want(t, "subscription", <-l.tokens, "conf")
		open = append(open, l)
	}
	want(t, "the next call", k.within(150*time.Millisecond).app(k.st("a"), "NoStream", "e0"), "DeadlineExceeded")
	want(t, "another connection", k.another().app(k.st("a"), "NoStream", "e0"), "ok rev=0")
	open[0].stop()
	want(t, "when one has ended", k.app(k.st("a"), 0, "e1"), "ok rev=1")
}

func TestSubscriptionsHangWhileAppendsSucceed(t *testing.T) {
	k := with1(t, Options{})
	s, a := k.listen(stream(k.st("a"))), k.listen(with(all(), end))
	want(t, "stream", s.take(1), "conf")
	want(t, "all", a.take(2), "conf caught-up")
	k.s.HangSubscriptions(true)
	k.must(k.st("a"), "NoStream", "e0")
	want(t, "hanging", s.take(0)+" "+a.take(0), "nothing nothing")
	late := k.listen(stream(k.st("a")))
	if got := late.take(1); got != "conf" {
		t.Errorf("catching up while hanging: %q", got)
	}
	k.s.HangSubscriptions(false)
	want(t, "released", s.take(2)+" "+a.take(1), "#0 caught-up e0")
	want(t, "caught up", late.take(2), "#0 caught-up")
}

func TestSubscriptionEndsByHook(t *testing.T) {
	k := with1(t, Options{})
	k.s.SetHooks(Hooks{Deliver: func(_ context.Context, _ Call, _ string, revision int64) error {
		if revision == 2 {
			return TooSlow()
		}
		return nil
	}})
	k.three()
	want(t, "subscription", k.listen(stream(k.st("a"))).take(4), `conf #0 #1 end(Aborted "Operation timed out: Consumer too slow`)
}

func TestPartOfABatchIsShown(t *testing.T) {
	k := with1(t, Options{})
	k.s.SetHooks(Hooks{Shown: func(Call) int { return 2 }})
	p := k.mark()
	want(t, "append", k.app(k.st("a"), "NoStream", run("e", 0, 5)...), "ok rev=4")
	want(t, "stream", k.read(stream(k.st("a"))), "#0 #1 EOF")
	want(t, "all", k.read(with(all(), at(p, p))), "mark e0 e1 EOF")
	want(t, "decided by the whole", k.app(k.st("a"), 1, "n0"), "WEV{cur20=4")
	k.s.ShowAll()
	want(t, "shown", k.read(stream(k.st("a"))), "#0..#4 EOF")
}

func TestPhantoms(t *testing.T) {
	k := with1(t, Options{})
	k.three()
	k.s.Phantoms(k.st("a"), 2)
	want(t, "refused by what nobody else has", k.app(k.st("a"), 2, "n0"), "WEV{cur20=4")
	want(t, "seen", k.read(stream(k.st("a"))), "#0..#4 EOF")
	want(t, "acknowledges nothing", k.app(k.st("a"), 4, "n0"), "Aborted")
	k.s.CatchUp()
	want(t, "lost", k.read(stream(k.st("a"))), "#0..#2 EOF")
	want(t, "accepted", k.app(k.st("a"), 2, "n0"), "ok rev=3")
}

func cluster(t *testing.T, n int) (*Cluster, []*kit) {
	t.Helper()
	c, err := NewCluster(n, Options{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	first := newKit(t, "C", c.Servers()[0], dial(t, c.Servers()[0]))
	kits := []*kit{first}
	for _, s := range c.Servers()[1:] {
		kits = append(kits, first.on(s))
	}
	return c, kits
}

func TestFollowers(t *testing.T) {
	c, k := cluster(t, 3)
	leader := c.Leader()
	refusal := fmt.Sprintf(`NotFound "Leader info available" {exception=not-leader leader-endpoint-host=127.0.0.1 leader-endpoint-port=%d}`, leader.port())
	want(t, "forwarded", k[1].app(k[1].st("a"), "NoStream", "e0"), "ok rev=0")
	want(t, "append requires the leader", k[1].leading().app(k[1].st("a"), 0, "e1"), refusal)
	want(t, "read requires the leader", k[2].leading().read(stream(k[2].st("a"))), refusal)
	k[2].s.Stall()
	k[0].must(k[0].st("a"), 0, "e1")
	want(t, "stale", k[2].read(stream(k[2].st("a"))), "#0 EOF")
	want(t, "not stale", k[1].read(stream(k[1].st("a"))), "#0 #1 EOF")
	k[2].s.CatchUp()
	want(t, "caught up", k[2].read(stream(k[2].st("a"))), "#0 #1 EOF")
	c.Elect(nil)
	want(t, "no leader, required", k[1].leading().app(k[1].st("a"), 1, "e2"), `Unknown "No leader info available in response"`)
	want(t, "no leader", k[1].app(k[1].st("a"), 1, "e2"), "Unavailable")
}

func TestDeposedLeader(t *testing.T) {
	c, k := cluster(t, 3)
	k[0].must(k[0].st("a"), "NoStream", "e0")
	l := k[0].listen(stream(k[0].st("a")))
	want(t, "subscription", l.take(3), "conf #0 caught-up")
	c.Depose(c.Servers()[1])
	want(t, "new leader", k[1].leading().app(k[1].st("a"), 0, "e1"), "ok rev=1")
	want(t, "old data from who believes to lead", k[0].leading().read(stream(k[0].st("a"))), "#0 EOF")
	want(t, "refuses to write", k[0].app(k[0].st("a"), 1, "e2"), fmt.Sprintf(`NotFound "Leader info available" {exception=not-leader leader-endpoint-host=127.0.0.1 leader-endpoint-port=%d}`, c.Servers()[1].port()))
	want(t, "delivers nothing", l.take(0), "nothing")
	k[0].s.CatchUp()
	want(t, "delivers", l.take(1), "#1")
	want(t, "a follower now", k[0].leading().read(stream(k[0].st("a"))), "NotFound")
}

// TestFrozenLeaderIsDeposed: what it had taken before it froze is not written when
// it wakes up after another was elected.
func TestFrozenLeaderIsDeposed(t *testing.T) {
	c, k := cluster(t, 2)
	k[0].must(k[0].st("a"), "NoStream", "e0")
	arrived, go1, done := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	k[0].s.SetHooks(Hooks{BeforeCommit: func(context.Context, Call) error { close(arrived); <-go1; return nil }})
	go func() { done <- k[0].app(k[0].st("a"), 0, "e1") }()
	<-arrived
	k[0].s.Freeze()
	close(go1)
	want(t, "forwarded to a frozen leader", k[1].app(k[1].st("a"), 0, "n1"), "Aborted")
	c.Depose(k[1].s)
	want(t, "new leader", k[1].app(k[1].st("a"), 0, "n1"), "ok rev=1")
	k[0].s.Thaw()
	want(t, "woken up", <-done, "NotFound")
	want(t, "old data", k[0].leading().read(stream(k[0].st("a"))), "#0 EOF")
	want(t, "log", k[1].tokens(with(all(), backFromEnd, limit(2))), "n1 e0")
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("use", func(t *testing.T) {
		k := with1(t, Options{})
		k.three()
		k.listen(stream(k.st("a"))).take(5)
		k.s.GoAway()
		k.s.Freeze()
		k.on(k.s).within(50 * time.Millisecond).read(stream(k.st("a")))
	})
	goleak.VerifyNone(t, before)
}

func TestAClockIsRequired(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("a server without a clock was started")
	}
}
