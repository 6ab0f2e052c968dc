package recorder

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/gateway"
)

// Opened implements gateway.Recording: connection.opened for the classes of the
// life cycle, connection.origin for those of the network.
func (r *recording) Opened(at time.Time, o gateway.Origin) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.openedAt = at
	drafts := r.lifecycle(domain.ConnectionOpened, at, []domain.Fact{tlsFact(o.TLS)}, value{"opened_at", at})
	for _, c := range r.capture.classes {
		if !c.origin || !r.captures(c) {
			continue
		}
		d := r.draft(domain.ConnectionOrigin, at, c)
		d.Payload = c.payload(r.recorder.opt.MAC, value{"ip", o.IP}, value{"user_agent", o.UserAgent}, value{"origin", o.Origin})
		drafts = append(drafts, d)
	}
	return r.submit(drafts)
}

// tlsFact writes TLS 1.3 as 13; absent without TLS.
func tlsFact(version uint16) domain.Fact {
	if version < tls.VersionTLS10 {
		return domain.Fact{}
	}
	return domain.Int("tls", int64(version-tls.VersionTLS10)+10)
}

// Idled implements gateway.Recording.
func (r *recording) Idled(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.submit(r.lifecycle(domain.ConnectionIdled, at, nil, value{"idled_at", at})) // an interrupted connection is about to close
}

// Resumed implements gateway.Recording.
func (r *recording) Resumed(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.submit(r.lifecycle(domain.ConnectionResumed, at, nil, value{"resumed_at", at})) // as Idled
}

// Closed implements gateway.Recording. A connection that never opened leaves no
// event: its refusal is counted.
func (r *recording) Closed(at time.Time, code int, reason gateway.CloseReason, bytes [2]int64) {
	defer r.recorder.live.remove(r)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.openedAt.IsZero() {
		return
	}
	facts := []domain.Fact{domain.Int("close", int64(code)), domain.Name("reason", reason.String())}
	err := r.handOver()
	if err == nil {
		err = r.submit(r.lifecycle(domain.ConnectionClosed, at, facts,
			value{"closed_at", at},
			value{"duration", fmt.Sprintf("%.3fs", at.Sub(r.openedAt).Seconds())},
			value{"bytes", bytes[0] + bytes[1]},
			value{"close_reason", reason.String()},
			value{"control_frames", r.control}))
	}
	if err != nil {
		r.recorder.opt.Failed(fmt.Errorf("closing a connection of pool %s: %w", r.capture.pool, err))
	}
}

// captures reports whether a class is recorded for this connection.
func (r *recording) captures(c class) bool { return r.block.IsZero() || c.anonymous }

// lifecycle drafts one event for each class of the life cycle.
func (r *recording) lifecycle(typ domain.EventType, at time.Time, facts []domain.Fact, values ...value) []domain.Draft {
	var drafts []domain.Draft
	for _, c := range r.capture.classes {
		if !c.lifecycle || !r.captures(c) {
			continue
		}
		d := r.draft(typ, at, c, facts...)
		d.Payload = c.payload(r.recorder.opt.MAC, values...)
		drafts = append(drafts, d)
	}
	return drafts
}

// draft begins an event of this connection under the next index.
func (r *recording) draft(typ domain.EventType, at time.Time, c class, facts ...domain.Fact) domain.Draft {
	d := r.draftAt(r.index, typ, at, c, facts...)
	r.index++
	return d
}

func (r *recording) draftAt(index uint32, typ domain.EventType, at time.Time, c class, facts ...domain.Fact) domain.Draft {
	tier := domain.OwnTier
	if !r.block.IsZero() {
		tier = domain.AnonTier
	}
	all := append([]domain.Fact{domain.Name("pool", r.capture.pool), domain.UUID("connection", r.connection)}, facts...)
	return domain.Draft{
		ID: domain.Event(r.command, index), Type: typ, At: at, Scope: domain.Erasable, Ref: r.ref, Block: r.block,
		Class: c.id, Tier: tier, Facts: domain.NewFacts(all...), N: 1,
	}
}

// submit queues finished drafts behind the chunk that waits, so that a stream
// tells the connection's life in order.
func (r *recording) submit(drafts []domain.Draft) error {
	if len(drafts) == 0 {
		return nil
	}
	return r.queue(job{recording: r, drafts: drafts, at: drafts[0].At})
}

// A chunk is message metadata on its way from a connection to the ledger. It is 64
// bytes, which is what a processor fetches at once: of thousands of connections
// each finds its chunk out of the caches.
type chunk struct {
	columns domain.TrafficBuilder
	bytes   int64 // of the messages, as their sizes say
	till    int64 // Unix µs: where the hour or bucket ends that the chunk must not leave
}

// holds reports whether us is in the chunk's window, whose width is in µs.
func (c *chunk) holds(us, width int64) bool { return us < c.till && us >= c.till-width }

// firstRows is for how many messages a chunk has room at once.
const firstRows = 8

// newChunk borrows a chunk for the window that holds us.
func (r *Recorder) newChunk(us int64, c *capture) *chunk {
	fresh, _ := r.chunks.Get().(*chunk)
	if fresh == nil {
		fresh = &chunk{}
		fresh.columns.Grow(firstRows)
	}
	fresh.till = us - us%c.width + c.width
	return fresh
}

func (r *Recorder) release(c *chunk) {
	c.columns.Reset()
	c.bytes = 0
	r.chunks.Put(c)
}
