package esdb

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/eventstore/esdbtest"
)

func cluster(t *testing.T, n int, o esdbtest.Options) *esdbtest.Cluster {
	t.Helper()
	inProcess(t)
	o.Clock = time.Now
	c, err := esdbtest.NewCluster(n, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// shown counts the events of the log that belong to a stream.
func (b *bench) shown(s domain.Stream) (n int) {
	b.Helper()
	for e, err := range b.store.ReadAll(b.ctx, domain.Start, eventstore.Forward, 0) {
		if err != nil {
			b.Fatal(err)
		}
		if e.Stream() == s {
			n++
		}
	}
	return n
}

// Only when every node has scavenged are the bytes gone, and each goes up to a
// point that was set after the call.
func TestScavengeOfEveryNode(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]esdbtest.Options{
		"asked for the last one": {ScavengeDelay: 20 * time.Millisecond},
		"read from its stream":   {ScavengeDelay: 20 * time.Millisecond, NoLastScavenge: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cluster(t, 3, o)
			b := benchAt(t, c.URL())
			b.append(testStream, domain.NoStream, sealed(testStream, 4, 10))
			b.append(stream(1), domain.NoStream, sealed(stream(1), 4, 10))
			if err := errors.Join(b.store.Delete(b.ctx, testStream), b.store.Truncate(b.ctx, stream(1), 2)); err != nil {
				t.Fatal(err)
			}
			if n := b.shown(testStream); n != 5 {
				t.Fatalf("%d events of the deleted stream before", n)
			}
			if err := b.store.Scavenge(b.ctx); err != nil {
				t.Fatal(err)
			}
			for i, s := range c.Servers() {
				if n := s.Scavenges(); n != scavengeRounds {
					t.Errorf("node %d was scavenged %d times", i, n)
				}
			}
			if gone, kept := b.shown(testStream), b.shown(stream(1)); gone != 1 || kept != 2 {
				t.Errorf("%d events of the deleted stream, %d of the cut one", gone, kept)
			}
		})
	}
}

func TestScavengesThatDoNotReachEveryDisk(t *testing.T) {
	t.Parallel()
	t.Run("a node is away", func(t *testing.T) {
		t.Parallel()
		c := cluster(t, 3, esdbtest.Options{})
		b := benchAt(t, c.URL(), hasty)
		c.Servers()[2].Stop()
		b.unavailable(b.store.Scavenge(b.ctx))
		for i, s := range c.Servers()[:2] {
			if n := s.Scavenges(); n != 0 {
				t.Errorf("node %d was scavenged in vain", i)
			}
		}
	})
	t.Run("a node is named twice", func(t *testing.T) {
		t.Parallel()
		server := esdbtest.Start(t, esdbtest.Options{Clock: time.Now})
		b := newBenchOn(t, server, func(c *Config) { c.Nodes = []string{server.Address(), server.Address()} })
		b.unavailable(b.store.Scavenge(b.ctx))
	})
	t.Run("a node restarts meanwhile", func(t *testing.T) {
		t.Parallel()
		b := newBenchOn(t, esdbtest.Start(t, esdbtest.Options{Clock: time.Now, ScavengeDelay: 300 * time.Millisecond}))
		time.AfterFunc(100*time.Millisecond, b.restart)
		b.unavailable(b.store.Scavenge(b.ctx))
	})
	t.Run("another node answers at the address", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		if err := b.store.scavengeNode(b.ctx, b.server.Address(), uuid.New()); err == nil {
			t.Fatal("no error")
		}
	})
	t.Run("it fails", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.server.SetHooks(esdbtest.Hooks{Scavenge: func() error { return errors.New("disk") }})
		b.within(patience, func() { b.unavailable(b.store.Scavenge(b.ctx)) })
	})
	t.Run("no nodes are known", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.store.Nodes = nil
		b.unavailable(b.store.Scavenge(b.ctx))
	})
}

// Another one that is in progress may have begun before the deletion: it is waited
// for, and does not count.
func TestAScavengeThatIsInProgress(t *testing.T) {
	t.Parallel()
	inProcess(t)
	b := newBenchOn(t, esdbtest.Start(t, esdbtest.Options{Clock: time.Now, ScavengeDelay: 200 * time.Millisecond}))
	resp, err := http.Post(b.server.Admin()+"/admin/scavenge", "", nil) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := b.store.Scavenge(b.ctx); err != nil {
		t.Fatal(err)
	}
	if n := b.server.Scavenges(); n != scavengeRounds+1 {
		t.Errorf("%d scavenges", n)
	}
}
