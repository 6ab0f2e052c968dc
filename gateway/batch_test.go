package gateway

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// A stingy recording takes a number of messages and then no more.
type stingy struct {
	unrecorded
	left  int
	calls int
	at    []int64
	told  strings.Builder // m for a message, c for a control frame
}

func (s *stingy) Messages(_ Direction, list []Message) (int, error) {
	s.calls++
	for i, m := range list {
		if s.left == 0 {
			return i, errors.New("full")
		}
		s.left--
		s.at = append(s.at, m.At)
		s.told.WriteByte('m')
	}
	return len(list), nil
}

func (s *stingy) Control(Direction) { s.told.WriteByte('c') }

func stinted(t *testing.T, left int) (*half, *stingy) {
	t.Helper()
	h, rec := pumped(t), &stingy{left: left}
	h.s.rec = rec
	return h, rec
}

// TestAReadIsRecordedAtOnce: 40 messages with a ping behind the 20th are three
// calls and a rest, in order.
func TestAReadIsRecordedAtOnce(t *testing.T) {
	h, rec := stinted(t, 1000)
	one, ping := frame(true, 0x82, make([]byte, 20)), frame(true, 0x89, nil)
	p := slices.Concat(bytes.Repeat(one, 20), ping, bytes.Repeat(one, 20))
	h.chunk(h.load(p))
	h.giveBack()
	if want := strings.Repeat("m", 20) + "c" + strings.Repeat("m", 20); rec.told.String() != want {
		t.Errorf("told %s, want %s", rec.told.String(), want)
	}
	if rec.calls != 4 {
		t.Errorf("%d calls for 40 messages, %d a batch", rec.calls, batchSize)
	}
	if m, b := h.s.messages[In].Load(), h.s.bytes[In].Load(); m != 40 || b != int64(len(p)) {
		t.Errorf("%d messages, %d of %d bytes", m, b, len(p))
	}
}

// TestWhatIsNotRecordedStaysBack: of a read whose messages are recorded up to
// some point, exactly those go on, and of a fragmented one all but its end.
func TestWhatIsNotRecordedStaysBack(t *testing.T) {
	one := frame(true, 0x82, make([]byte, 20))
	for _, left := range []int{0, 1, 7, batchSize - 1, batchSize, batchSize + 1, 2*batchSize - 1} {
		h, rec := stinted(t, left)
		h.chunk(h.load(bytes.Repeat(one, 2*batchSize)))
		h.giveBack()
		if got := h.s.bytes[In].Load(); got != int64(left*len(one)) || len(rec.at) != left {
			t.Errorf("%d recorded of %d allowed, %d bytes went on, want %d", len(rec.at), left, got, left*len(one))
		}
		if got := h.s.messages[In].Load(); got != int64(left) {
			t.Errorf("counted %d of %d", got, left)
		}
		if !h.deaf || !h.s.ended.Load() {
			t.Error("the connection goes on")
		}
	}
	h, _ := stinted(t, 1)
	begun := frame(true, 0x01, make([]byte, 9))
	h.chunk(h.load(slices.Concat(one, begun, frame(true, 0x80, make([]byte, 5)))))
	h.giveBack()
	if got, want := h.s.bytes[In].Load(), int64(len(one)+len(begun)); got != want {
		t.Errorf("%d bytes went on, want %d", got, want)
	}
}

// TestAMessageKeepsTheTimeOfItsFirstHeader: also where it ends in a later read.
func TestAMessageKeepsTheTimeOfItsFirstHeader(t *testing.T) {
	h, rec := stinted(t, 10)
	now := time.Unix(1000, 0)
	h.s.g.cfg.Clock = func() time.Time { now = now.Add(time.Second); return now }
	one := frame(true, 0x82, make([]byte, 20))
	h.chunk(h.load(slices.Concat(one, frame(true, 0x01, make([]byte, 9)))))
	h.giveBack()
	h.chunk(h.load(slices.Concat(frame(true, 0x80, make([]byte, 9)), one)))
	h.giveBack()
	if want := []int64{1001e6, 1001e6, 1002e6}; !slices.Equal(rec.at, want) {
		t.Errorf("arrived at %v, want %v", rec.at, want)
	}
}
