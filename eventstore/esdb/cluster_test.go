package esdb

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

// The leader is killed under writers and another one elected: nothing is lost or
// doubled, and everybody finds the new one.
func TestAKilledLeader(t *testing.T) {
	t.Parallel()
	c := cluster(t, 3, esdbtest.Options{CommitDelay: time.Millisecond})
	b := benchAt(t, c.URL())
	sub, err := b.store.SubscribeStream(b.ctx, stream(0), domain.NoStream)
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 6, 80
	all := make([][]domain.Sealed, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				es := sealed(stream(w), 2, 10)
				b.append(stream(w), domain.Revision(2*i-1), es)
				all[w] = append(all[w], es...)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	c.Servers()[0].Stop()
	c.Elect(nil)
	time.Sleep(300 * time.Millisecond)
	c.Elect(c.Servers()[1])
	b.follow(sub, 0, 2*each)
	wg.Wait()
	for w := range writers {
		b.holds(stream(w), all[w])
	}
}

// A frozen node delays nobody who looks for the leader.
func TestAFrozenNodeDoesNotHoldUpTheSearch(t *testing.T) {
	t.Parallel()
	c := cluster(t, 3, esdbtest.Options{})
	c.Servers()[2].Freeze()
	defer c.Servers()[2].Thaw()
	for range 5 {
		b := &bench{T: t, ctx: t.Context()}
		b.within(time.Second, func() { b.store = mustOpen(t, quiet(configOf(t, c.URL()))) })
		mustClose(t, b.store)
	}
}

// A leader that is frozen while another one is elected is left after one attempt.
func TestAFrozenLeaderIsLeft(t *testing.T) {
	t.Parallel()
	c := cluster(t, 3, esdbtest.Options{})
	b := benchAt(t, c.URL(), func(c *Config) { c.Deadlines.Attempt = time.Second })
	es := sealed(testStream, 2, 10)
	b.append(testStream, domain.NoStream, es[:1])
	old := c.Leader()
	old.Freeze()
	c.Elect(c.Servers()[1])
	b.within(12*time.Second, func() { b.append(testStream, 0, es[1:]) })
	old.Thaw()
	b.holds(testStream, es)
}

// A node that was deposed answers a leader's read with old data and refuses
// appends: what most nodes say about who leads counts, and it is not asked again.
func TestADeposedLeader(t *testing.T) {
	t.Parallel()
	c := cluster(t, 3, esdbtest.Options{})
	b := benchAt(t, c.URL())
	es := sealed(testStream, 3, 10)
	b.append(testStream, domain.NoStream, es[:1])
	old := c.Leader()
	c.Depose(c.Servers()[1])
	b.append(testStream, 0, es[1:2])
	b.holds(testStream, es[:2])
	old.CatchUp()
	b.append(testStream, 1, es[2:])
	b.holds(testStream, es)
}

// A subscription at a node that was deposed and does not know it goes on at the one
// that leads, from the last event delivered.
func TestASubscriptionLeavesADeposedLeader(t *testing.T) {
	t.Parallel()
	c := cluster(t, 3, esdbtest.Options{})
	b := benchAt(t, c.URL())
	es := sealed(testStream, 4, 10)
	b.append(testStream, domain.NoStream, es[:1])
	sub, err := b.store.SubscribeStream(b.ctx, testStream, domain.NoStream)
	if err != nil {
		t.Fatal(err)
	}
	b.follow(sub, 0, 1)
	old := c.Leader()
	c.Depose(c.Servers()[1])
	b.append(testStream, 0, es[1:2])
	b.within(5*time.Second, func() { b.follow(sub, 1, 1) })
	old.CatchUp()
	c.Elect(old)
	b.append(testStream, 1, es[2:])
	b.within(5*time.Second, func() { b.follow(sub, 2, 2) })
}

// A leader whom nobody follows any more acknowledges nothing: the others are asked
// who leads.
func TestALeaderThatReplicatesNothingIsLeft(t *testing.T) {
	t.Parallel()
	c := cluster(t, 3, esdbtest.Options{})
	b := benchAt(t, c.URL())
	es := sealed(testStream, 2, 10)
	b.append(testStream, domain.NoStream, es[:1])
	c.Leader().Phantoms("elsewhere", 1)
	c.Elect(c.Servers()[1])
	b.within(10*time.Second, func() { b.append(testStream, 0, es[1:]) })
	b.holds(testStream, es)
}

// A single address of a node that does not lead is told apart from an outage, and
// from a stream that is not there.
func TestAFollowersAddressAlone(t *testing.T) {
	t.Parallel()
	c := cluster(t, 3, esdbtest.Options{})
	leader := benchAt(t, c.URL())
	leader.append(testStream, domain.NoStream, sealed(testStream, 1, 10))
	b := benchAt(t, c.Servers()[1].URL(), hasty)
	_, err := b.store.Last(b.ctx, testStream)
	b.unavailable(err)
	_, err = b.store.Append(b.ctx, testStream, 0, sealed(testStream, 1, 10))
	b.unavailable(err)
	leader.holds(testStream, leader.sealedOf(testStream))
	if got := leader.read(testStream); len(got) != 1 {
		t.Fatalf("%d events: a follower forwarded an append", len(got))
	}
	for _, err := range b.store.ReadAll(b.ctx, domain.Start, eventstore.Forward, 0) {
		b.unavailable(err)
	}
	// The clients are on their way to the leader, and would abandon their connections
	// if it ended now (doc.go).
	mustClose(t, b.store)
	time.Sleep(300 * time.Millisecond)
}

func (b *bench) sealedOf(s domain.Stream) (out []domain.Sealed) {
	for _, e := range b.read(s) {
		out = append(out, e.Sealed)
	}
	return out
}

func TestVotesOnTheLeader(t *testing.T) {
	t.Parallel()
	no := vote{err: errors.New("away")}
	for name, c := range map[string]struct {
		votes []vote
		want  string
	}{
		"all agree":              {[]vote{{leader: "a"}, {leader: "a"}, {leader: "a"}}, "a"},
		"one believes in itself": {[]vote{{leader: "x"}, {leader: "a"}, {leader: "a"}}, "a"},
		"one is away":            {[]vote{no, {leader: "a"}, {leader: "a"}}, "a"},
		"one is left":            {[]vote{no, no, {leader: "a"}}, "a"},
		"nobody answers":         {[]vote{no, no, no}, ""},
		"a tie":                  {[]vote{{leader: "b"}, {leader: "a"}, no}, "a"},
	} {
		votes := make(chan vote, len(c.votes))
		for _, v := range c.votes {
			votes <- v
		}
		got, err := count(votes, len(c.votes))
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
