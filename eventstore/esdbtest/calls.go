package esdbtest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// SetHooks replaces the hooks of the server; calls under way keep those they
// have met.
func (s *Server) SetHooks(h Hooks) { s.hooks.Store(&h) }

// unary adds the trailers of a failure to its status.
func (s *Server) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	out, err := handle(ctx, req)
	if t := trailersOf(err); t != nil {
		if sent := grpc.SetTrailer(ctx, t); sent != nil {
			return nil, sent
		}
	}
	return out, err
}

func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if !info.IsClientStream {
		stream = asked{stream}
	}
	err := handle(srv, stream)
	stream.SetTrailer(trailersOf(err))
	return err
}

// asked is a call with one message from the caller, which is received to its end.
// A generated handler receives the message and no further, and the transport resets
// a call that is answered before its caller has ended it.
type asked struct{ grpc.ServerStream }

// RecvMsg receives the one message.
func (a asked) RecvMsg(m any) error {
	if err := a.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	switch err := a.ServerStream.RecvMsg(new(emptypb.Empty)); {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return status.Error(codes.Internal, "more than one message")
	default:
		return err
	}
}

// admit lets a call begin: the process runs, no hook objects, the caller has the
// right, and this server may answer.
func (s *Server) admit(ctx context.Context, c Call) error {
	if err := s.frozen.wait(ctx); err != nil {
		return err
	}
	if err := s.hook(ctx, s.hooks.Load().Arrived, c); err != nil {
		return err
	}
	if err := s.authorize(ctx, c); err != nil {
		return err
	}
	return s.mayAnswer(ctx, c)
}

// hook runs one, if it is set.
func (s *Server) hook(ctx context.Context, h func(context.Context, Call) error, c Call) error {
	if h == nil {
		return nil
	}
	return s.obey(ctx, h(ctx, c))
}

// obey breaks the connection where a hook asks for it.
func (s *Server) obey(ctx context.Context, err error) error {
	if !errors.Is(err, ErrCloseConnection) {
		return err
	}
	if from, ok := peer.FromContext(ctx); ok {
		s.conns.closeOf(from.Addr.String())
	}
	return Unavailable()
}

// mayAnswer: only a leader, or one who believes to be it, answers who requires
// the leader. Others forward writes and answer reads from what they have.
func (s *Server) mayAnswer(ctx context.Context, c Call) error {
	leader := s.cluster.Leader()
	s.mu.RLock()
	deposed, apart := s.deposed, s.private != nil
	s.mu.RUnlock()
	reads := c.Method == MethodRead || c.Method == MethodSubscribe
	switch {
	case leader == s || apart || (deposed && reads):
		return nil
	case !deposed && !requiresLeader(ctx) && reads:
		return nil
	case !deposed && !requiresLeader(ctx) && leader != nil:
		return leader.forwarded()
	case leader == nil && requiresLeader(ctx):
		return NoLeader()
	case leader == nil:
		return Unavailable()
	}
	return NotLeader(leader.host(), leader.port())
}

// forwarded: a write that a follower passes on is lost on a leader that does not
// answer.
func (s *Server) forwarded() error {
	if _, runs := s.Instance(); !runs || s.frozen.isShut() {
		return Aborted()
	}
	return nil
}

func requiresLeader(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("requires-leader") {
		if v == "true" || v == "True" {
			return true
		}
	}
	return false
}

// enter registers an append as in flight. One that equals another in flight is
// dropped: nothing answers it but its deadline.
func (s *Server) enter(ctx context.Context, a *appending) (func(), error) {
	var key strings.Builder
	key.WriteString(a.stream)
	for _, e := range a.events {
		key.WriteString(string(e.id[:]))
	}
	c := s.cluster
	c.mu.Lock()
	taken := c.flights[key.String()] && len(a.events) > 0
	if taken {
		c.dropped++
	} else {
		c.flights[key.String()] = true
	}
	c.mu.Unlock()
	if taken {
		return nil, Hang(ctx, Call{})
	}
	var once sync.Once
	return func() {
		once.Do(func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.flights, key.String())
		})
	}, nil
}

// beforeCommit is where a write waits. It answers which run of the server took
// the write.
func (s *Server) beforeCommit(ctx context.Context, c Call) (int, error) {
	s.mu.RLock()
	run := s.run
	s.mu.RUnlock()
	if d := s.cluster.options.CommitDelay; d > 0 {
		time.Sleep(d)
	}
	if err := s.hook(ctx, s.hooks.Load().BeforeCommit, c); err != nil {
		return 0, err
	}
	return run, s.frozen.wait(ctx)
}

// commit decides and writes, unless the server was stopped or deposed since.
func (s *Server) commit(run int, write func(*ledger) outcome) (outcome, error) {
	leader := s.cluster.Leader()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if run != s.run || (s.deposed && leader == nil) {
		return outcome{}, Unavailable()
	}
	if s.deposed {
		return outcome{}, NotLeader(leader.host(), leader.port())
	}
	if s.private == nil {
		return write(s.cluster.shared), nil
	}
	out := write(s.private.fork())
	if out.verdict == accept {
		return outcome{}, Aborted() // nobody follows, so nothing is ever replicated
	}
	return out, nil
}

// afterCommit is where an answer may be lost.
func (s *Server) afterCommit(ctx context.Context, c Call, out outcome) error {
	if out.verdict == wrong {
		return nil
	}
	return s.hook(ctx, s.hooks.Load().AfterCommit, c)
}

// partial is how many of n events are shown at first; nil for all.
func (s *Server) partial(c Call) func(int) int {
	h := s.hooks.Load().Shown
	if h == nil {
		return nil
	}
	return func(n int) int { return max(0, min(n, h(c))) }
}

func (s *Server) beforeDeliver(ctx context.Context, c Call, r *record) error {
	if err := s.live.wait(ctx); err != nil {
		return err
	}
	h := s.hooks.Load().Deliver
	if h == nil {
		return nil
	}
	return s.obey(ctx, h(ctx, c, r.stream, r.revision))
}
