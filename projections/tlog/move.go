package tlog

import (
	"fmt"

	"github.com/lethe-ledger/lethe/domain"
)

// Move says where the events that the head covers end in a copy of the event log:
// at e. The leaves stay: a leaf is of the event, not of its place. It writes
// nothing where the head says so already. Errors: ErrActive, else
// domain.ErrUnavailable.
func (l *Log) Move(e domain.Recorded) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.alone(); err != nil {
		return err
	}
	next := l.head
	next.Position, next.Event, next.Stream, next.Revision = e.Position, e.ID(), e.Stream(), e.Revision
	if next == l.head {
		return nil
	}
	if err := l.writeHead(next); err != nil {
		return fmt.Errorf("moving the leaf entries: %w", err)
	}
	l.head = next
	return nil
}
