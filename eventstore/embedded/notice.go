package embedded

import "sync"

// A notice tells readers how far the log is durable and wakes those who wait for
// more. It queues nothing: who is woken reads the log.
type notice struct {
	mu   sync.Mutex
	last uint64
	more chan struct{} // closed when last moves
}

func (n *notice) init(last uint64) {
	n.last, n.more = last, make(chan struct{})
}

// set moves the end to last, which is not before the one it had.
func (n *notice) set(last uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last == n.last {
		return
	}
	n.last = last
	close(n.more)
	n.more = make(chan struct{})
}

// get returns the end and what is closed when it moves.
func (n *notice) get() (last uint64, more <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last, n.more
}

// publish shows readers everything up to position last.
func (s *Store) publish(last uint64) { s.durable.set(last) }

// end is the last position that readers may see.
func (s *Store) end() uint64 {
	last, _ := s.durable.get()
	return last
}
