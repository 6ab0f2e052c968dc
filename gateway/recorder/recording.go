package recorder

import (
	"errors"
	"sync"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway"
)

// A recording implements gateway.Recording. Idle, it is a few hundred bytes: the
// columns of a chunk are borrowed while there is something in them.
type recording struct {
	recorder   *Recorder
	capture    *capture
	worker     *worker
	sever      func()
	connection domain.ConnectionID
	command    domain.CommandID
	ref        domain.SubjectRef
	block      domain.BlockID

	mu       sync.Mutex // protects what follows
	chunk    *chunk     // nil while nothing waits
	index    uint32     // of the connection's next event
	control  uint64
	openedAt time.Time
	chunks   uint32 // how many chunks were begun

	stopMu  sync.Mutex    // protects what follows; Interrupt takes no other lock
	stopped bool          // Interrupt was called
	stop    chan struct{} // made when somebody waits
}

// errInterrupted ends a connection whose recording cannot go on.
var errInterrupted = errors.New("recording was interrupted")

// Message implements gateway.Recording. It does not allocate once the pool of
// chunks is warm, and blocks only while the queue is full.
func (r *recording) Message(dir gateway.Direction, op gateway.Opcode, at time.Time, size int64) error {
	us := at.UnixMicro()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chunk != nil && !r.chunk.holds(us) {
		if err := r.handOver(); err != nil {
			return err
		}
	}
	if r.chunk == nil {
		r.chunk = r.recorder.newChunk(us, r.capture)
		r.chunks++
		r.capture.dirty.add(dirty{recording: r, chunk: r.chunks, due: min(us+r.capture.interval.Microseconds(), r.chunk.till)})
	}
	r.chunk.columns.Add(us, domain.Direction(dir), opcode(op), uint64(size)) //nolint:gosec // sizes are not negative
	if r.chunk.columns.Len() >= r.capture.records {
		return r.handOver()
	}
	return nil
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
	j := job{recording: r, chunk: c, index: r.index}
	r.index += uint32(len(r.capture.classes)) //nolint:gosec // a handful of classes
	r.recorder.counts.Messages.Add(uint64(c.columns.Len()))
	return r.queue(j)
}

// queue waits for room; the caller holds the lock. What Interrupt cuts off is lost with its connection, and
// counted.
func (r *recording) queue(j job) error {
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
