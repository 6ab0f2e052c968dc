package gateway

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"time"
)

// A half pumps one direction of a tap. Its goroutine owns it, but for the outlet,
// which has a lock.
type half struct {
	intake
	outlet
	t     *tap
	dir   Direction
	w     Walker
	began int64 // arrival of the message in progress, Unix µs
	deaf  bool  // what src still sends is not for dst
}

func (h *half) init(t *tap, dir Direction, src, dst net.Conn, rules Rules) {
	h.t, h.dir, h.w = t, dir, NewWalker(rules)
	h.intake.init(src, &t.g.buffers)
	h.outlet.init(&t.session, dst, dir == In)
}

// run pumps until src ends. The last half to leave finishes the session.
func (h *half) run() {
	defer h.leave()
	for {
		n, err := h.read()
		if err != nil {
			h.gone()
			return
		}
		h.chunk(n)
		h.giveBack()
	}
}

// leave ends the half's goroutine. A panic ends the connection, not the process.
func (h *half) leave() {
	if v := recover(); v != nil {
		h.s.panicked(v)
	}
	if h.t.running.Add(-1) > 0 {
		return
	}
	_, _ = h.src.Close(), h.dst.Close()
	h.t.finish()
}

// panicked logs where, but not what: the value can hold anything.
func (s *session) panicked(v any) {
	s.g.cfg.Log.Error().Str("pool", s.route.ID).Str("type", fmt.Sprintf("%T", v)).Bytes("stack", debug.Stack()).Msg("connection panicked")
	s.end(CodeInternal, Panicked, lostGrace)
}

// What ends a walk, besides a Violation and an error of the Recording.
var (
	errClosing = errors.New("peer sent a close frame")
	errEnding  = errors.New("gateway ends the connection")
)

// chunk walks, records and forwards the n bytes of a read. This is the inner step:
// it allocates nothing.
func (h *half) chunk(n int) {
	if h.deaf {
		return
	}
	h.s.busy[h.dir].Store(true)
	defer h.s.busy[h.dir].Store(false)
	now := h.s.g.cfg.Clock()
	h.s.touch(now)
	p := h.joined(n)
	cut, err := h.walk(p, now)
	h.deaf = err != nil
	if err == nil {
		h.intake.leave(p[cut:])
	}
	sent, werr := h.forward(p[:cut], err == nil && !h.w.AtBoundary(), errors.Is(err, errClosing))
	h.s.bytes[h.dir].Add(int64(sent))
	switch {
	case werr != nil:
		h.deaf = true
		h.unwritable(werr)
		return
	case err != nil:
		h.stop(err)
	}
	if h.s.ended.Load() {
		h.sayClose()
	}
}

// walk returns how much of p may go on: whole headers, recorded, and payload. With
// an error it ends with a frame.
func (h *half) walk(p []byte, now time.Time) (int, error) {
	b := h.batch()
	b.begin(now)
	cut, err := h.frames(p, b)
	if before, failed := h.s.record(h.dir, b, cut); failed != nil {
		return before, failed
	}
	return cut, err
}

// frames notes the frames of p. What the batch holds then is still to be recorded.
func (h *half) frames(p []byte, b *batch) (cut int, err error) {
	for {
		n, f, ok, err := h.w.Next(p[cut:])
		if err != nil || !ok {
			return cut + n, err
		}
		header := cut + n - f.Len
		if h.s.ended.Load() {
			return header, errEnding
		}
		if before, err := h.s.note(h.dir, &f, b, header, &h.began); err != nil {
			return before, err
		}
		cut += n
		if f.Opcode == Close {
			return cut + int(f.Payload), errClosing
		}
	}
}

// stop ends the connection for what walk met.
func (h *half) stop(err error) {
	switch {
	case errors.Is(err, errEnding):
	case errors.Is(err, errClosing):
		if h.t.halves[In].isShut() && h.t.halves[Out].isShut() {
			h.s.cutAfter(lostGrace) // the closing handshake is through
		}
	default:
		h.s.broken(h.dir, err)
	}
}

// broken ends the session because dir met a Violation or could not be recorded.
func (s *session) broken(dir Direction, err error) {
	var v Violation
	if errors.As(err, &v) {
		s.end(v.Code(), [2]CloseReason{ViolatedByClient, ViolatedByUpstream}[dir], s.route.CloseTimeout)
		return
	}
	s.end(CodeInternal, LedgerFailed, s.route.CloseTimeout)
}

// unwritable ends the connection because dst is slow or gone.
func (h *half) unwritable(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		h.s.end(CodeTryLater, [2]CloseReason{SlowUpstream, SlowClient}[h.dir], lostGrace)
		return
	}
	h.s.end(0, [2]CloseReason{LostUpstream, LostClient}[h.dir], lostGrace)
}

// gone passes the end of src on. Without a close frame before it, that is the end
// of the connection.
func (h *half) gone() {
	if h.deaf || h.s.ended.Load() {
		h.mu.Lock() // whoever says goodbye is not to be cut short
		defer h.mu.Unlock()
		h.goodbye()
		closeWrite(h.dst)
		return
	}
	h.s.end(0, [2]CloseReason{LostClient, LostUpstream}[h.dir], lostGrace)
}
