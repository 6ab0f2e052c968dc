package lethe

import (
	"slices"
	"testing"

	"github.com/lxzan/gws"

	"github.com/lethe-ledger/lethe/domain"
)

// TestGatewaysFollowAPolicyWhileTheyServe: a revision that another process makes
// says what is captured of connections to come, on every gateway and without a
// restart; live ones go on, and so does what is recorded of them.
func TestGatewaysFollowAPolicyWhileTheyServe(t *testing.T) {
	t.Parallel()
	s := newSite(t, "inmem")
	nodes := []*running{serve(t, s.config(t.TempDir())), serve(t, s.config(t.TempDir()))}
	ada := dial(t, nodes[0].Gateway, "ada")
	ada.talk(t, 10)
	await(t, "20 records of ada", func() bool { return records(nodes[0].show(t, "ada"), "messages", "present") == 20 })

	other := s.config(t.TempDir())
	pool := &other.Policy.Pools[0]
	pool.Capture = slices.DeleteFunc(slices.Clone(pool.Capture), func(c domain.Class) bool { return c == "messages" })
	pool.Path = "/chat"
	third, err := Open(t.Context(), other, Options{ApplyPolicy: true})
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := third.PolicyInForce()
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		await(t, "the revision", func() bool {
			have, _, err := n.PolicyInForce()
			return err == nil && have == want
		})
		id := []string{"bob", "eve"}[i]
		await(t, "the path of before is refused", func() bool { return tryDial(t, n.Gateway+"/", "nobody") == nil })
		c := tryDial(t, n.Gateway+"/chat", id)
		if c == nil {
			t.Fatalf("gateway %d does not serve the new path", i)
		}
		c.talk(t, 10)
		await(t, "the life cycle of "+id, func() bool { return records(n.show(t, id), "lifecycle", "present") > 0 })
	}
	ada.talk(t, 10)
	await(t, "40 records of ada", func() bool { return records(nodes[1].show(t, "ada"), "messages", "present") == 40 })
	for _, id := range []string{"bob", "eve"} {
		if n := len(messagesOf(t, nodes[0].Lethe, id)); n != 0 {
			t.Errorf("%d events of messages of %s are in the log", n, id)
		}
	}
}

// tryDial is nil where the gateway has no such path.
func tryDial(t *testing.T, gateway, user string) *client {
	t.Helper()
	c := &client{got: make(chan string, 1024), closed: make(chan error, 1)}
	conn, _, err := gws.NewClient(c, &gws.ClientOption{Addr: gateway + "?user=" + user})
	if err != nil {
		return nil
	}
	c.conn = conn
	go conn.ReadLoop()
	t.Cleanup(func() { _ = conn.NetConn().Close() })
	return c
}
