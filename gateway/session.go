package gateway

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// severGrace is what a severed connection has to reach a frame boundary.
	severGrace = 250 * time.Millisecond
	// lostGrace is what the remaining peer of a lost one has to close its side.
	lostGrace = time.Second
)

// A body is what a session can be wound down by.
type body interface {
	// wind says goodbye to both peers with the code, or only stops sending where it
	// is 0. It MUST NOT block.
	wind(code int)
	// kill cuts TCP. It MUST NOT block.
	kill()
}

// A session is the life of one connection, from its admission to Closed. Whoever
// runs it calls finish when its last goroutine has ended.
type session struct {
	g       *Gateway
	route   *route
	rec     Recording
	network netip.Prefix
	node    node // the roster's
	// lives and expires are when it ends, in Unix ns; 0 is never.
	lives, expires int64

	// Written by the pumps, read by the sweeper. busy: a read's worth is being
	// recorded or written, so silence is not idleness.
	lastByte, lastData        atomic.Int64
	busy                      [2]atomic.Bool
	idle                      atomic.Bool
	messages, controls, bytes [2]atomic.Int64

	ended atomic.Bool // the gateway ends it; goodbye is the code

	mu       sync.Mutex // protects what follows, and the turns of Idled and Resumed
	body     body
	goodbye  int
	code     int
	why      CloseReason
	caused   bool
	finished bool
	deadline int64 // of timer, Unix ns
	timer    *time.Timer
}

// pending is the body of a session whose handshake is under way.
type pending struct{ cancel context.CancelFunc }

func (p pending) wind(int) { p.cancel() }
func (p pending) kill()    { p.cancel() }

// live puts the session under its pool's bounds. It reports false if the session
// was ended during the handshake.
func (s *session) live(b body, now time.Time) bool {
	s.lastByte.Store(now.UnixNano())
	s.lastData.Store(now.UnixNano())
	if m := s.route.MaxLifetime; m > 0 {
		s.lives = now.Add(m - rand.N(m/10+1)).UnixNano() //nolint:gosec // spreads load, guards nothing
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended.Load() {
		return false
	}
	s.body = b
	s.g.roster.add(s, s.next())
	return true
}

// cause notes why the session ends; the first cause stands.
func (s *session) cause(code int, why CloseReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.caused {
		s.code, s.why, s.caused = code, why, true
	}
}

// end closes the connection with the code (0: without a close frame) and cuts it
// after grace. Later calls can only shorten the grace.
func (s *session) end(code int, why CloseReason, grace time.Duration) {
	recorded := code
	if code == 0 {
		recorded = CodeAbnormal
	}
	s.cause(recorded, why)
	s.cutAfter(grace)
	s.mu.Lock()
	again := s.ended.Load()
	if !again {
		s.goodbye = code
		s.ended.Store(true)
	}
	b := s.body
	s.mu.Unlock()
	if !again && b != nil {
		b.wind(code)
	}
}

// sever ends the session of an erased person (ARCHITECTURE §3).
func (s *session) sever() {
	s.end(CodeSevered, Severed, severGrace)
	s.mu.Lock()
	rec, open := s.rec, !s.finished
	s.mu.Unlock()
	if open && rec != nil {
		rec.Interrupt() // what waits for the ledger is discarded with the fence
	}
}

// cutAfter arms the one timer that a session has, and only once it is ending.
func (s *session) cutAfter(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.g.cfg.Clock().Add(d).UnixNano()
	switch {
	case s.finished:
	case s.timer == nil:
		s.deadline, s.timer = at, time.AfterFunc(d, s.cut)
	case at < s.deadline:
		s.deadline = at
		s.timer.Reset(d)
	}
}

// cut kills the connection, and frees a pump that waits for the ledger.
func (s *session) cut() {
	s.mu.Lock()
	b, rec, finished := s.body, s.rec, s.finished
	s.mu.Unlock()
	if finished {
		return
	}
	if b != nil {
		b.kill()
	}
	if rec != nil {
		rec.Interrupt()
	}
}

// finish ends the session: Closed is called, the place in the pool is free.
func (s *session) finish() {
	s.mu.Lock()
	s.finished = true
	if s.timer != nil {
		s.timer.Stop()
	}
	code, why := s.code, s.why
	if !s.caused {
		code, why = CodeAbnormal, LostClient
	}
	rec := s.rec
	s.mu.Unlock()
	defer s.route.release(s.network)
	defer s.g.roster.remove(s, why)
	if rec != nil {
		rec.Closed(s.g.cfg.Clock(), code, why, [2]int64{s.bytes[In].Load(), s.bytes[Out].Load()})
	}
}

// touch notes that bytes arrived.
func (s *session) touch(now time.Time) { s.lastByte.Store(now.UnixNano()) }

// data notes that a data frame arrived, and ends an idle spell.
func (s *session) data(now time.Time) {
	s.lastData.Store(now.UnixNano())
	if s.idle.Load() {
		s.resume(now)
	}
}

func (s *session) resume(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle.Swap(false) && !s.finished {
		s.rec.Resumed(now)
	}
}

// check is called by the sweeper; it returns when to look again.
func (s *session) check(now int64) int64 {
	if s.ended.Load() {
		return now + int64(time.Minute)
	}
	if s.busy[In].Load() || s.busy[Out].Load() {
		// Waiting for the ledger or for a slow peer is not idleness, and what waits
		// behind it could not be read yet.
		s.lastByte.Store(now)
		s.lastData.Store(now)
	}
	switch {
	case s.lives != 0 && now >= s.lives:
		s.end(CodeGoingAway, LivedTooLong, s.route.CloseTimeout)
	case s.expires != 0 && now >= s.expires:
		s.end(CodeTokenExpired, TokenExpired, s.route.CloseTimeout)
	case s.route.IdleTimeout > 0 && now-s.lastByte.Load() >= int64(s.route.IdleTimeout):
		s.end(CodeGoingAway, IdleTooLong, s.route.CloseTimeout)
	case !s.idle.Load() && now-s.lastData.Load() >= int64(s.route.IdleAfter):
		s.fallIdle(now)
	}
	return max(s.next(), now+int64(s.g.roster.tick))
}

// fallIdle records an idle spell, unless data came meanwhile: then the pump, which
// stores lastData before it looks at idle, or this sees the other's.
func (s *session) fallIdle(now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return
	}
	s.idle.Store(true)
	last := s.lastData.Load()
	if now-last < int64(s.route.IdleAfter) {
		s.idle.Store(false)
		return
	}
	s.rec.Idled(time.Unix(0, last).UTC())
}

// next returns when the session wants to be looked at.
func (s *session) next() int64 {
	due := s.lastByte.Load() + int64(time.Hour)
	if !s.idle.Load() {
		due = min(due, s.lastData.Load()+int64(s.route.IdleAfter))
	}
	if s.route.IdleTimeout > 0 {
		due = min(due, s.lastByte.Load()+int64(s.route.IdleTimeout))
	}
	for _, at := range []int64{s.lives, s.expires} {
		if at != 0 {
			due = min(due, at)
		}
	}
	return due
}
