package postgres_test

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
)

// proxy stands between a client and the server, and fails as networks do.
type proxy struct {
	listener net.Listener
	server   string // its socket

	// mu protects what follows.
	mu      sync.Mutex
	commits int
	// commit is how the commits end that at is told of, before they are passed on; it
	// says what becomes of them.
	commit []byte
	at     func(n int) fate
	frozen chan struct{} // closed when nothing passes any more
	open   []net.Conn
	passed sync.WaitGroup
}

type fate int

const (
	pass       fate = iota
	lost            // the connection breaks before COMMIT reaches the server
	unanswered      // it breaks when the server has committed and said so
	frozen          // nothing passes any more, on any connection; none breaks
)

// Batches of rows end with Parse of a statement without a name, other
// transactions with a plain query.
var (
	ofRows   = []byte("\x00COMMIT\x00")
	ofOthers = []byte("Q\x00\x00\x00\x0bcommit\x00")
)

func newProxy(t *testing.T, commit []byte, at func(n int) fate) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	p := &proxy{listener: l, server: shared.Socket(), commit: commit, at: at, frozen: make(chan struct{})}
	p.passed.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, c := range p.open {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.passed.Wait()
	})
	return p
}

// url is the address of a database through the proxy.
func (p *proxy) url(direct string) string {
	database, _, _ := strings.Cut(strings.TrimPrefix(direct, "postgres://postgres@/"), "?")
	return "postgres://postgres@" + p.listener.Addr().String() + "/" + database + "?sslmode=disable"
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.open = append(p.open, client, server)
		p.mu.Unlock()
		w := &wire{proxy: p, client: client, server: server}
		p.passed.Go(w.up)
		p.passed.Go(w.down)
	}
}

func (p *proxy) meet() fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commits++
	f := p.at(p.commits)
	if f == frozen {
		close(p.frozen)
	}
	return f
}

func (p *proxy) isFrozen() bool {
	select {
	case <-p.frozen:
		return true
	default:
		return false
	}
}

// wire is one connection through the proxy.
type wire struct {
	proxy          *proxy
	client, server net.Conn
	mu             sync.Mutex
	cutAnswer      bool
}

func (w *wire) end() {
	_ = w.client.Close()
	_ = w.server.Close()
}

func (w *wire) up() {
	var tail []byte
	commit := w.proxy.commit
	buf := make([]byte, 1<<16)
	for {
		n, err := w.client.Read(buf)
		if err != nil {
			_ = w.server.Close()
			return
		}
		seen := append(tail, buf[:n]...)
		tail = append([]byte(nil), seen[max(0, len(seen)-len(commit)+1):]...)
		if bytes.Contains(seen, commit) {
			switch w.proxy.meet() {
			case lost:
				w.end()
				return
			case unanswered:
				w.mu.Lock()
				w.cutAnswer = true
				w.mu.Unlock()
			case frozen, pass:
			}
		}
		if w.proxy.isFrozen() {
			return
		}
		if _, err := w.server.Write(buf[:n]); err != nil {
			_ = w.client.Close()
			return
		}
	}
}

func (w *wire) down() {
	buf := make([]byte, 1<<16)
	for {
		n, err := w.server.Read(buf)
		if err != nil && !w.proxy.isFrozen() {
			_ = w.client.Close()
		}
		if err != nil || w.proxy.isFrozen() {
			return
		}
		w.mu.Lock()
		cut := w.cutAnswer && bytes.Contains(buf[:n], []byte("COMMIT\x00"))
		w.mu.Unlock()
		if cut {
			w.end()
			return
		}
		if _, err := w.client.Write(buf[:n]); err != nil {
			_ = w.server.Close()
			return
		}
	}
}
