package recorder

import (
	"errors"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway"
)

// A recording implements gateway.Recording. Idle, it is a few hundred bytes: the
// rows of a chunk are borrowed while there is something in them. What a message
// touches stands together.
type recording struct {
	capture  *capture
	recorder *Recorder

	mu       sync.Mutex // protects what follows
	chunk    *chunk     // nil while nothing waits
	control  uint64
	index    uint32 // of the connection's next event
	chunks   uint32 // how many chunks were begun
	openedAt time.Time

	worker     *worker
	sever      func()
	connection domain.ConnectionID
	command    domain.CommandID
	ref        domain.SubjectRef
	block      domain.BlockID

	missing missing // belongs to the pool's gap

	stopMu  sync.Mutex    // protects what follows; Interrupt takes no other lock
	stopped bool          // Interrupt was called
	stop    chan struct{} // made when somebody waits
}

// errInterrupted ends a connection whose recording cannot go on.
var errInterrupted = errors.New("recording was interrupted")

// Messages implements gateway.Recording. It does not allocate once the pool of
// chunks is warm, and blocks only while the queue is full.
func (r *recording) Messages(dir gateway.Direction, list []gateway.Message) (recorded int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range list {
		if err := r.message(dir, &list[i]); err != nil {
			return i, err
		}
	}
	return len(list), nil
}

// message adds one message; the caller holds the lock.
func (r *recording) message(dir gateway.Direction, m *gateway.Message) error {
	c := r.chunk
	if c != nil && !c.holds(m.At, r.capture.width) {
		if err := r.handOver(); err != nil {
			return err
		}
		c = nil
	}
	if c == nil {
		c = r.begin(m.At)
	}
	c.columns.Add(m.At, domain.Direction(dir), opcode(m.Opcode), uint64(m.Size)) //nolint:gosec // sizes are not negative
	c.bytes += m.Size
	if c.columns.Len() >= r.capture.records {
		return r.handOver()
	}
	return nil
}

// begin borrows a chunk for what arrived at us.
func (r *recording) begin(us int64) *chunk {
	r.chunk = r.recorder.newChunk(us, r.capture)
	r.chunks++
	r.capture.dirty.add(dirty{recording: r, chunk: r.chunks, due: min(us+r.capture.interval.Microseconds(), r.chunk.till)})
	return r.chunk
}

// opcode stores the opcode of a data message less one (FORMAT §5).
func opcode(op gateway.Opcode) domain.Opcode {
	if op == gateway.Text {
		return domain.Text
	}
	return domain.Binary
}

// handOver queues the chunk. The caller holds the lock, so that the chunks of
// one connection stay in order.
func (r *recording) handOver() error {
	c := r.chunk
	if c == nil {
		return nil
	}
	r.chunk = nil
	j := job{recording: r, chunk: c, index: r.index, at: time.UnixMicro(c.columns.Base()), messages: int64(c.columns.Len()), bytes: c.bytes}
	r.index += uint32(len(r.capture.classes)) //nolint:gosec // a handful of classes
	r.recorder.counts.Messages.Add(uint64(c.columns.Len()))
	return r.queue(j)
}

// queue waits for room, unless the pool lets traffic pass: then what finds none is
// missing. The caller holds the lock. What Interrupt cuts off is lost with its
// connection, and counted.
func (r *recording) queue(j job) error {
	if r.capture.gap != nil {
		return r.pass(j)
	}
	select {
	case r.worker.jobs <- j:
		return nil
	default:
	}
	stop, err := r.waiting()
	if err != nil {
		return err
	}
	r.recorder.counts.Waits.Add(1)
	select {
	case r.worker.jobs <- j:
		return nil
	case <-stop:
		return errInterrupted
	}
}

// waiting makes the channel that Interrupt closes.
func (r *recording) waiting() (<-chan struct{}, error) {
	r.stopMu.Lock()
	defer r.stopMu.Unlock()
	if r.stopped {
		return nil, errInterrupted
	}
	if r.stop == nil {
		r.stop = make(chan struct{})
	}
	return r.stop, nil
}

// Interrupt implements gateway.Recording.
func (r *recording) Interrupt() {
	r.stopMu.Lock()
	defer r.stopMu.Unlock()
	if r.stopped {
		return
	}
	r.stopped = true
	if r.stop != nil {
		close(r.stop)
	}
}

// Control implements gateway.Recording.
func (r *recording) Control(gateway.Direction) {
	r.mu.Lock()
	r.control++
	r.mu.Unlock()
}
