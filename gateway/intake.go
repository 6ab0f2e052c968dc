package gateway

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// Sizes of a read. A plain TCP connection borrows a buffer only once there is
// something to read; one under TLS holds its own, smaller one.
const (
	readSize = 16 << 10
	heldSize = 4 << 10
)

// A buffer is one read's worth, with room in front for what the last read left,
// and for what is recorded of it.
type buffer struct {
	bytes [maxCarry + readSize]byte
	batch batch
}

// A heldBuffer is the smaller one.
type heldBuffer struct {
	bytes [maxCarry + heldSize]byte
	batch batch
}

// An intake reads one connection. It belongs to one goroutine.
type intake struct {
	src     net.Conn
	raw     syscall.RawConn // of src; nil unless plain TCP
	buffers *sync.Pool      // of *buffer
	first   []byte          // read ahead during the handshake
	held    *heldBuffer     // of a src that is not plain
	carried int
	carry   [maxCarry]byte // what Walker.Next left over

	fill func(fd uintptr) bool // bound once: no allocation per read
	got  *buffer
	n    int
	err  error
}

func (i *intake) init(src net.Conn, buffers *sync.Pool) {
	i.src, i.raw, i.buffers = src, rawOf(src), buffers
	i.fill = i.fillOnce
	if i.raw == nil {
		i.held = &heldBuffer{}
	}
}

// read waits for bytes and returns how many stand in space behind its first
// maxCarry bytes, until giveBack.
func (i *intake) read() (int, error) {
	switch {
	case len(i.first) > 0:
		i.got = i.buffers.Get().(*buffer) //nolint:errcheck,forcetypeassert // the pool holds nothing else
		n := copy(i.got.bytes[maxCarry:], i.first)
		if i.first = i.first[n:]; len(i.first) == 0 {
			i.first = nil
		}
		return n, nil
	case i.raw == nil:
		n, err := i.src.Read(i.held.bytes[maxCarry:])
		if n > 0 {
			err = nil // the next read meets it again
		}
		return n, err
	}
	if err := i.raw.Read(i.fill); err != nil {
		return 0, err
	}
	if i.err != nil {
		i.giveBack()
	}
	return i.n, i.err
}

// fillOnce reads once if there is something to read. An idle connection thereby
// holds no buffer.
func (i *intake) fillOnce(fd uintptr) bool {
	b := i.buffers.Get().(*buffer) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	n, err := syscall.Read(int(fd), b.bytes[maxCarry:])
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(int(fd), b.bytes[maxCarry:])
	}
	if errors.Is(err, syscall.EAGAIN) {
		i.buffers.Put(b)
		return false
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	i.got, i.n, i.err = b, max(n, 0), err
	return true
}

// space is the buffer of the last read.
func (i *intake) space() []byte {
	if i.got == nil {
		return i.held.bytes[:]
	}
	return i.got.bytes[:]
}

// batch is where the messages of the last read are gathered, until giveBack.
func (i *intake) batch() *batch {
	if i.got == nil {
		return &i.held.batch
	}
	return &i.got.batch
}

func (i *intake) giveBack() {
	if i.got != nil {
		i.buffers.Put(i.got)
		i.got = nil
	}
}

// joined returns what the last read left over and the n bytes of this one.
func (i *intake) joined(n int) []byte {
	p := i.space()[maxCarry-i.carried : maxCarry+n]
	copy(p, i.carry[:i.carried])
	return p
}

// leave keeps rest, at most maxCarry bytes, for the next read.
func (i *intake) leave(rest []byte) { i.carried = copy(i.carry[:], rest) }

// discard reads until src ends or is cut.
func (i *intake) discard() {
	for {
		_, err := i.read()
		i.giveBack()
		if err != nil {
			return
		}
	}
}
