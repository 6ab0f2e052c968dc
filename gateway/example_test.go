package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/lxzan/gws"

	"github.com/lethe-ledger/lethe/gateway"
)

// Echo is a server of one's own: it sends back what it gets.
type Echo struct{ gws.BuiltinEventHandler }

func (Echo) OnMessage(s *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	_ = s.WriteMessage(m.Opcode, m.Bytes())
}

// A server written with gws puts its handler behind the gateway's: connections
// are then limited, identified and recorded like those of a tap.
func ExampleHandler() {
	g, err := gateway.New(
		gateway.Config{Recorder: gateway.Unrecorded{}, Clock: time.Now}, // a ledger's Recorder in earnest
		gateway.Settings{
			Pools:    []gateway.Pool{{ID: "echo", Path: "/echo", MaxConnections: 1000, IdleTimeout: 5 * time.Minute}},
			Identify: []gateway.Rule{{JWT: &gateway.JWT{Key: []byte("a secret of at least 32 bytes....")}}},
		})
	if err != nil {
		fmt.Println(err)
		return
	}
	echo, err := g.Handler("echo", Echo{}, gateway.HandlerOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/echo", echo)
	server := httptest.NewServer(mux)
	defer server.Close()

	got := make(chan string)
	client, _, err := gws.NewClient(&printer{got: got}, &gws.ClientOption{Addr: strings.Replace(server.URL, "http", "ws", 1) + "/echo"})
	if err != nil {
		fmt.Println(err)
		return
	}
	go client.ReadLoop()
	_ = client.WriteString("hello")
	fmt.Println(<-got)

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	fmt.Println("drained:", g.Drain(ctx))
	// Output:
	// hello
	// drained: <nil>
}

type printer struct {
	gws.BuiltinEventHandler
	got chan string
}

func (p *printer) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	p.got <- m.Data.String()
}
