package lethe_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/lxzan/gws"

	lethe "github.com/lethe-ledger/lethe"
	"github.com/lethe-ledger/lethe/gateway"
	"github.com/lethe-ledger/lethe/gateway/api"
)

// A greeter is an application: it answers each message.
type greeter struct{ gws.BuiltinEventHandler }

func (greeter) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	_ = c.WriteString("hello, " + m.Data.String())
}

// A server of your own that embeds Lethe: its WebSocket connections are recorded,
// and a person can be erased.
func ExampleLethe_Handler() {
	dir, err := os.MkdirTemp("", "lethe-example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cfg := lethe.UpstreamConfig("ws://127.0.0.1:9") // no upstream is used
	cfg.SetData(dir + "/data")
	cfg.SetListen("127.0.0.1:0")
	cfg.Admin.Address = "127.0.0.1:0"
	cfg.Policy.Pools[0].Flush.Interval = 100 * time.Millisecond

	ctx, stop := context.WithCancel(context.Background())
	ledger, err := lethe.Open(ctx, cfg, lethe.Options{Version: "example"})
	if err != nil {
		panic(err)
	}
	ready, done := make(chan struct{}), make(chan error)
	go func() { done <- ledger.Serve(ctx, func(lethe.Addresses) { close(ready) }) }()
	<-ready

	handler, err := ledger.Handler("default", greeter{}, gateway.HandlerOptions{})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/chat", handler)
	server := httptest.NewServer(mux)

	answer := make(chan string, 1)
	client, _, err := gws.NewClient(listener{answer: answer}, &gws.ClientOption{Addr: "ws" + server.URL[4:] + "/chat?user=ada"})
	if err != nil {
		panic(err)
	}
	go client.ReadLoop()
	if err := client.WriteString("ada"); err != nil {
		panic(err)
	}
	fmt.Println(<-answer)

	by := api.Caller{Principal: "counsel", Role: api.RoleLegal, Purpose: "data-subject-request"}
	for messages := int64(0); messages < 2; time.Sleep(50 * time.Millisecond) { // the flush interval
		shown, err := ledger.SubjectShow(ctx, by, "ada")
		if err != nil {
			panic(err)
		}
		for _, h := range shown.Holdings {
			if h.Class == "messages" {
				messages = h.Records
			}
		}
	}
	fmt.Println("2 messages recorded")
	erased, err := ledger.Erase(ctx, by, api.EraseRequest{ID: "ada", Ground: "A17-1-b"})
	if err != nil {
		panic(err)
	}
	fmt.Println(erased.State)

	server.Close()
	stop()
	if err := <-done; err != nil {
		panic(err)
	}
	if err := ledger.Close(context.Background()); err != nil {
		panic(err)
	}
	// Output:
	// hello, ada
	// 2 messages recorded
	// keys-destroyed
}

type listener struct {
	gws.BuiltinEventHandler
	answer chan string
}

func (l listener) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer m.Close()
	l.answer <- m.Data.String()
}
