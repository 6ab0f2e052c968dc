package esdbtest

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// TestPutBack: what was written behind the copy is gone, and its revisions are given
// again; the copy stays what it is.
func TestPutBack(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{Clock: time.Now})
	c := client(t, s.URL())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	write := func(data string, behind esdb.ExpectedRevision) {
		t.Helper()
		var err error
		for range 50 { // the server may just have come back
			if _, err = c.AppendToStream(ctx, "a", esdb.AppendToStreamOptions{ExpectedRevision: behind}, esdb.EventData{EventType: "t", Data: []byte(data)}); err == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatal(err)
	}
	read := func() (all string) {
		t.Helper()
		r, err := c.ReadStream(ctx, "a", esdb.ReadStreamOptions{From: esdb.Start{}}, 10)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for {
			e, err := r.Recv()
			if errors.Is(err, io.EOF) {
				return all
			}
			if err != nil {
				t.Fatal(err)
			}
			all += string(e.Event.Data)
		}
	}
	write("1", esdb.NoStream{})
	stood := s.Copy()
	write("2", esdb.Revision(0))
	for range 2 {
		if err := s.PutBack(stood); err != nil {
			t.Fatal(err)
		}
		write("3", esdb.Revision(0))
		if all := read(); all != "13" {
			t.Errorf("the stream holds %q", all)
		}
	}
}
