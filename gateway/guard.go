package gateway

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
)

// errOver is all that gws and the application learn of a connection that ended
// without a close frame of the peer.
var errOver = errors.New("connection ended")

// A guard is a connection of a Handler, as gws sees it: a net.Conn whose bytes
// were walked and recorded before they come out of Read, and before they go out of
// Write. The goroutine that runs it owns what belongs to reading; writing is under
// the outlet's lock.
type guard struct {
	session
	intake
	outlet
	net.Conn
	app    gws.Event
	framed bool // the handshake is written: what follows are frames
	told   bool // the application's OnClose was called

	w       Walker
	began   int64        // arrival of the message in progress, Unix µs
	ready   []byte       // walked, not yet read by gws
	deaf    bool         // nothing more comes out of Read
	echo    atomic.Int32 // code of the peer's close frame
	closing atomic.Bool  // gws or the application closed

	sent      Walker // under outlet.mu
	sentBegan int64
	sentBatch batch
}

func (g *guard) init(conn net.Conn, app gws.Event, ahead []byte, deflate bool) {
	g.Conn, g.app = conn, app
	g.intake.init(conn, &g.g.buffers)
	g.first = ahead
	g.outlet.init(&g.session, conn, false)
	g.w = NewWalker(Rules{Masked: true, Deflate: deflate, MaxMessage: g.route.MaxMessage, MaxFragments: g.route.MaxFragments})
	g.sent = NewWalker(Rules{Deflate: deflate})
}

// run reads until the connection ends, then sees to it that everybody knows.
func (g *guard) run(socket *gws.Conn) {
	defer g.over(socket)
	socket.ReadLoop()
}

// over is the end of run, come what may: a panic ends the connection, OnClose is
// called if gws did not, the peer gets the time to close its side, and the session
// is finished.
func (g *guard) over(socket *gws.Conn) {
	if v := recover(); v != nil {
		g.panicked(v)
	}
	defer func() {
		if v := recover(); v != nil { // OnClose itself
			g.panicked(v)
		}
		g.ready = nil
		g.giveBack()
		g.end(CodeGoingAway, ClosedByUpstream, lostGrace)
		g.discard()
		_ = g.Conn.Close()
		g.finish()
	}()
	g.tell(socket, errOver)
}

// tell calls the application's OnClose, the first time.
func (g *guard) tell(socket *gws.Conn, err error) {
	if !g.told {
		g.told = true
		g.app.OnClose(socket, err)
	}
}

// Read implements net.Conn for gws.
func (g *guard) Read(p []byte) (int, error) {
	for len(g.ready) == 0 {
		if g.deaf {
			return 0, errOver
		}
		g.giveBack()
		n, err := g.read()
		if err != nil {
			g.gone(err)
			return 0, errOver
		}
		g.chunk(n)
	}
	n := copy(p, g.ready)
	g.ready = g.ready[n:]
	return n, nil
}

// chunk walks and records the n bytes of a read.
func (g *guard) chunk(n int) {
	if g.closing.Load() || g.ended.Load() {
		return // what comes after our close frame is nobody's
	}
	g.busy[In].Store(true)
	defer g.busy[In].Store(false)
	now := g.g.cfg.Clock()
	g.touch(now)
	p := g.joined(n)
	cut, err := g.walk(p, now)
	g.ready = p[:cut]
	g.bytes[In].Add(int64(cut))
	switch {
	case err == nil:
		g.leave(p[cut:])
	case errors.Is(err, errClosing):
		g.deaf = true
	default:
		g.deaf = true
		g.broken(In, err)
	}
}

func (g *guard) walk(p []byte, now time.Time) (int, error) {
	b := g.batch()
	b.begin(now)
	cut, err := g.frames(p, b)
	if before, failed := g.record(In, b, cut); failed != nil {
		return before, failed
	}
	return cut, err
}

// frames notes the frames of p. What the batch holds then is still to be recorded.
func (g *guard) frames(p []byte, b *batch) (cut int, err error) {
	for {
		n, f, ok, err := g.w.Next(p[cut:])
		if err != nil || !ok {
			return cut + n, err
		}
		if before, err := g.note(In, &f, b, cut+n-f.Len, &g.began); err != nil {
			return before, err
		}
		cut += n
		if f.Opcode == Close {
			g.echo.Store(int32(f.Code)) //nolint:gosec // below 5000
			return cut + int(f.Payload), errClosing
		}
	}
}

// gone ends the session because nothing can be read. A deadline that the
// application set is its way to say idle.
func (g *guard) gone(err error) {
	g.deaf = true
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.end(CodeGoingAway, IdleTooLong, g.route.CloseTimeout)
		return
	}
	if !g.closing.Load() {
		g.end(0, LostClient, lostGrace)
	}
}

// Write implements net.Conn for gws, which writes whole frames. Once a close frame
// went out everything is refused, so what gws would tell the peer of an error of
// the network is not sent.
func (g *guard) Write(p []byte) (int, error) {
	if !g.framed {
		return g.Conn.Write(p)
	}
	err := g.send(p)
	if g.ended.Load() {
		g.sayClose()
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (g *guard) send(p []byte) error {
	g.outlet.mu.Lock()
	defer g.outlet.mu.Unlock()
	if g.shut || g.ended.Load() {
		return errOver
	}
	closing, err := g.noteSent(p)
	if err != nil {
		g.broken(Out, err)
		return errOver
	}
	if code := int(g.echo.Load()); closing && code != 0 && code != CodeNoStatus {
		p = appendClose(make([]byte, 0, 4), code, false, [4]byte{})
	}
	g.shut = closing
	if err := g.write(p); err != nil {
		g.shut = true
		if errors.Is(err, os.ErrDeadlineExceeded) {
			g.end(0, SlowClient, 0)
		} else {
			g.end(0, LostClient, lostGrace)
		}
		return errOver
	}
	g.bytes[Out].Add(int64(len(p)))
	return nil
}

// noteSent records the frames in p.
func (g *guard) noteSent(p []byte) (closing bool, err error) {
	b := &g.sentBatch
	b.begin(g.g.cfg.Clock())
	for cut := 0; ; {
		n, f, ok, err := g.sent.Next(p[cut:])
		if err != nil {
			return false, err
		}
		if cut += n; !ok {
			if cut < len(p) {
				return false, io.ErrShortWrite // gws never splits a header
			}
			_, err := g.record(Out, b, cut)
			return closing, err
		}
		if _, err := g.note(Out, &f, b, cut, &g.sentBegan); err != nil {
			return false, err
		}
		closing = closing || f.Opcode == Close
	}
}

// Close implements net.Conn for gws. It sends FIN and leaves the peer a moment to
// do the same, so that the close frame is not lost to a reset.
func (g *guard) Close() error {
	g.closing.Store(true)
	closeWrite(g.Conn)
	g.cutAfter(lostGrace)
	return nil
}

// wind implements body.
func (g *guard) wind(code int) { g.outlet.wind(code) }

// kill implements body.
func (g *guard) kill() { kill(g.Conn) }
