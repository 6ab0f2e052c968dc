package console

import (
	"sync"
	"time"

	"github.com/lxzan/gws"
)

// A member is one connection of a Chat. Its reading goroutine (Chat.run) owns it;
// the writing one takes from the queue.
type member struct {
	name   string
	socket *gws.Conn
	queue  chan []byte
	once   sync.Once
	gone   chan struct{} // closed by end
}

func newMember(name string, socket *gws.Conn, queue int) *member {
	return &member{name: name, socket: socket, queue: make(chan []byte, queue), gone: make(chan struct{})}
}

// cut ends the connection without a word. It never waits: a close frame would
// queue behind a write that is stuck.
func (m *member) cut() { _ = m.socket.NetConn().Close() }

// end cuts the connection and lets the writing goroutine go.
func (m *member) end() {
	m.cut()
	m.once.Do(func() { close(m.gone) })
}

// offer queues a message, or cuts off who has let too many wait.
func (m *member) offer(b []byte) {
	select {
	case m.queue <- b:
	default:
		m.cut()
	}
}

// write sends what is queued until the member is gone. A peer that takes nothing
// for the time of stall is cut off; a timer, because gws sets no deadline.
func (m *member) write(stall time.Duration) {
	late := time.AfterFunc(stall, m.cut)
	late.Stop()
	defer late.Stop()
	for {
		select {
		case <-m.gone:
			return
		case b := <-m.queue:
			late.Reset(stall)
			err := m.socket.WriteMessage(gws.OpcodeText, b)
			late.Stop()
			if err != nil {
				return // gws has closed, and the reading goroutine sees it
			}
		}
	}
}

// room is the gws.Event of a Chat.
type room struct {
	gws.BuiltinEventHandler
	chat *Chat
}

// OnPing answers with the ping's payload (RFC 6455 §5.5.3); the built-in handler
// leaves it out.
func (room) OnPing(socket *gws.Conn, payload []byte) { _ = socket.WritePong(payload) }

// OnMessage passes text on; anything else is refused with 1003.
func (r room) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close() //nolint:errcheck // gives a buffer back
	if message.Opcode != gws.OpcodeText {
		_ = socket.WriteClose(1003, nil)
		return
	}
	r.chat.say(socket, string(message.Bytes()))
}

// silent keeps what gws would print from stderr: its errors name addresses.
type silent struct{}

func (silent) Error(...any) {}
