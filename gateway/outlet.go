package gateway

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// An outlet writes one connection: what is forwarded, and at most one close frame
// as the last thing.
type outlet struct {
	s      *session
	dst    net.Conn
	raw    syscall.RawConn // of dst; nil unless plain TCP
	masked bool            // dst is a server

	mu   sync.Mutex // protects what follows; held while dst is written to
	shut bool       // dst got a close frame, or cannot get one
	mid  bool       // dst is within a frame
	push func(fd uintptr) bool
	rest []byte // what push has to write
	err  error
}

func (o *outlet) init(s *session, dst net.Conn, masked bool) {
	o.s, o.dst, o.raw, o.masked = s, dst, rawOf(dst), masked
	o.push = o.pushOnce
}

// forward writes p. mid says that p ends within a frame, closing that it ends with
// a close frame. It reports how many bytes went out: none after a close frame.
func (o *outlet) forward(p []byte, mid, closing bool) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shut || len(p) == 0 {
		return 0, nil
	}
	o.mid, o.shut = mid, closing
	if err := o.write(p); err != nil {
		o.shut = true
		return 0, err
	}
	return len(p), nil
}

// write writes all of p. The deadline is armed only once dst does not take p at
// once, so a peer that keeps up costs no timer; mu is held.
func (o *outlet) write(p []byte) error {
	p, err := o.try(p)
	if err != nil || len(p) == 0 {
		return err
	}
	if err := o.dst.SetWriteDeadline(o.s.g.cfg.Clock().Add(o.s.route.WriteTimeout)); err != nil {
		return err
	}
	if _, err := o.dst.Write(p); err != nil {
		return err
	}
	return o.dst.SetWriteDeadline(time.Time{})
}

// try writes what a plain dst takes without waiting and returns the rest.
func (o *outlet) try(p []byte) ([]byte, error) {
	if o.raw == nil {
		return p, nil
	}
	o.rest, o.err = p, nil
	if err := o.raw.Write(o.push); err != nil {
		return nil, err
	}
	p, o.rest = o.rest, nil
	return p, o.err
}

func (o *outlet) pushOnce(fd uintptr) bool {
	n, err := syscall.Write(int(fd), o.rest)
	switch {
	case err == nil:
		o.rest = o.rest[n:]
	case !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR):
		o.err = err
	}
	return true
}

// wind ends what is sent to dst: with a close frame, or without one where the
// code is 0. It does not block.
func (o *outlet) wind(code int) {
	switch {
	case code == 0:
		closeWrite(o.dst)
	case o.raw != nil:
		o.sayClose()
	default:
		go o.sayClose() // TLS may block; cut ends it
	}
}

// sayClose says goodbye to dst. Who is writing calls this when done.
func (o *outlet) sayClose() {
	if o.mu.TryLock() {
		defer o.mu.Unlock()
		o.goodbye()
	}
}

// goodbye writes the gateway's own close frame to dst, if the gateway is ending
// the connection, and dst is at a frame boundary and has had none; mu is held.
func (o *outlet) goodbye() {
	if !o.s.ended.Load() || o.s.goodbye == 0 || o.shut || o.mid {
		return
	}
	o.shut = true
	frame := appendClose(make([]byte, 0, 8), o.s.goodbye, o.masked, newMask())
	if o.raw == nil {
		_ = o.write(frame)
	} else {
		_, _ = o.try(frame) // who does not read is cut after the grace
	}
	closeWrite(o.dst)
}

// isShut reports whether nothing more goes to dst; while somebody writes, no.
func (o *outlet) isShut() bool {
	if !o.mu.TryLock() {
		return false
	}
	defer o.mu.Unlock()
	return o.shut
}
