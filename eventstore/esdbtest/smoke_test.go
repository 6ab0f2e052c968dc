package esdbtest

import (
	"context"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

func client(t *testing.T, url string) *esdb.Client {
	t.Helper()
	conf, err := esdb.ParseConnectionString(url)
	if err != nil {
		t.Fatal(err)
	}
	conf.Logger = esdb.NoopLogging()
	c, err := esdb.NewClient(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestSmoke(t *testing.T) {
	s := Start(t, Options{Clock: time.Now})
	c := client(t, s.URL())
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	sub, err := c.SubscribeToAll(ctx, esdb.SubscribeToAllOptions{From: esdb.Start{}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		var want esdb.ExpectedRevision = esdb.NoStream{}
		if i > 0 {
			want = esdb.Revision(uint64(i - 1))
		}
		if _, err := c.AppendToStream(ctx, "a", esdb.AppendToStreamOptions{ExpectedRevision: want}, esdb.EventData{EventType: "t", Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; n < 3; {
		e := sub.Recv()
		if e.SubscriptionDropped != nil {
			t.Fatal(e.SubscriptionDropped.Error)
		}
		if e.EventAppeared != nil && e.EventAppeared.Event.StreamID == "a" {
			n++
		}
	}
	if _, err := c.SetStreamMetadata(ctx, "a", esdb.AppendToStreamOptions{}, func() esdb.StreamMetadata { m := esdb.StreamMetadata{}; m.SetTruncateBefore(1); return m }()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []esdb.Direction{esdb.Forwards, esdb.Backwards} {
		var from esdb.StreamPosition = esdb.Start{}
		var fromAll esdb.AllPosition = esdb.Start{}
		if dir == esdb.Backwards {
			from, fromAll = esdb.End{}, esdb.End{}
		}
		r, err := c.ReadStream(ctx, "a", esdb.ReadStreamOptions{Direction: dir, From: from}, 10)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			if _, err := r.Recv(); err != nil {
				break
			}
			n++
		}
		all, err := c.ReadAll(ctx, esdb.ReadAllOptions{Direction: dir, From: fromAll}, 100)
		if err != nil {
			t.Fatal(err)
		}
		m := 0
		for {
			if _, err := all.Recv(); err != nil {
				break
			}
			m++
		}
		if n != 2 || m != 6 {
			t.Errorf("%d of the stream, %d of all", n, m)
		}
	}
	if _, err := c.TombstoneStream(ctx, "a", esdb.TombstoneStreamOptions{ExpectedRevision: esdb.Any{}}); err != nil {
		t.Fatal(err)
	}
}
