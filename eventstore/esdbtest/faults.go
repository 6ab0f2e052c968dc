package esdbtest

import (
	"net"
	"strconv"

	"github.com/google/uuid"
)

// Freeze stops the server as SIGSTOP does: connections stay open and nothing
// answers. Thaw lets it go on where it was.
func (s *Server) Freeze() { s.frozen.set(true) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.frozen.set(false) }

// HangSubscriptions keeps every subscription of the server from sending, or lets
// them go on; all other calls are answered as ever.
func (s *Server) HangSubscriptions(on bool) { s.live.set(on) }

// Disconnect breaks every connection; new ones are taken.
func (s *Server) Disconnect() { s.conns.closeAll() }

// GoAway tells every connection to end when its calls have ended. New connections
// are taken.
func (s *Server) GoAway() {
	s.mu.Lock()
	r := s.running
	if r == nil {
		s.mu.Unlock()
		return
	}
	old, queue := r.calls, newQueue(r.split.addr)
	r.calls = s.newCalls()
	r.split.replace(queue)
	go r.calls.Serve(queue) //nolint:errcheck // ends with the error of the closed listener
	s.mu.Unlock()
	go old.GracefulStop()
}

// ShowAll shows what Hooks.Shown has kept back.
func (s *Server) ShowAll() {
	l, _ := s.view()
	l.release()
}

// Phantoms cuts the server off together with n events of stream that nobody else
// has: a leader that wrote them when it was already alone. It goes on answering
// reads, refuses appends by what it has, and acknowledges none. CatchUp makes it
// lose them.
func (s *Server) Phantoms(stream string, n int) {
	events := make([]proposal, n)
	for i := range events {
		events[i] = proposal{id: uuid.New(), kind: "phantom", data: []byte{}}
	}
	l, _ := s.view()
	private := l.fork()
	private.append(stream, expectAny, events, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.private = private
}

func (s *Server) host() string {
	host, _, _ := net.SplitHostPort(s.Address())
	return host
}

func (s *Server) port() int {
	_, port, _ := net.SplitHostPort(s.Address())
	n, _ := strconv.Atoi(port)
	return n
}
