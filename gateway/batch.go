package gateway

import (
	"fmt"
	"time"
)

// batchSize is how many messages are recorded at once, at most.
const batchSize = 16

// A batch gathers the messages of one read or write, so that the recording's lock
// is taken once for all of them. It belongs to the goroutine that walks.
type batch struct {
	n        int
	now      time.Time
	data     bool // a data frame was seen
	messages [batchSize]Message
	headers  [batchSize]int // where the last header of each begins
}

// begin empties the batch for what arrived now.
func (b *batch) begin(now time.Time) { b.n, b.now, b.data = 0, now, false }

// note takes one frame, whose header begins at the place at, before it goes on.
// began is the arrival of the message in progress in this direction. An error says
// that a message could not be recorded: only what is before cut may go on.
func (s *session) note(dir Direction, f *Header, b *batch, at int, began *int64) (cut int, err error) {
	if f.Opcode.control() {
		return s.control(dir, f, b, at)
	}
	if !b.data {
		b.data = true
		s.data(b.now)
	}
	if f.First {
		*began = b.now.UnixMicro()
	}
	if !f.Fin {
		return at, nil
	}
	b.messages[b.n], b.headers[b.n] = Message{At: *began, Size: f.Size, Opcode: f.Message}, at
	if b.n++; b.n < batchSize {
		return at, nil
	}
	return s.record(dir, b, at)
}

// control counts a control frame, behind the messages before it.
func (s *session) control(dir Direction, f *Header, b *batch, at int) (cut int, err error) {
	if cut, err := s.record(dir, b, at); err != nil {
		return cut, err
	}
	s.controls[dir].Add(1)
	s.rec.Control(dir)
	if f.Opcode == Close {
		s.cause(f.Code, [2]CloseReason{ClosedByClient, ClosedByUpstream}[dir])
		s.cutAfter(s.route.CloseTimeout)
	}
	return at, nil
}

// record records what the batch holds and empties it. It returns cut, or with an
// error the place of the first header that may not go on.
func (s *session) record(dir Direction, b *batch, cut int) (int, error) {
	if b.n == 0 {
		return cut, nil
	}
	n, err := s.rec.Messages(dir, b.messages[:b.n])
	b.n = 0 // also of what was refused: the connection ends
	s.messages[dir].Add(int64(n))
	if err != nil {
		return b.headers[n], fmt.Errorf("record message: %w", err)
	}
	return cut, nil
}
