package gateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A record is what the fake recorder keeps of one connection.
type record struct {
	mu         sync.Mutex
	id         Identity
	conn       Connection
	origin     Origin
	opened     int
	messages   [2][]message
	controls   [2]int
	idled      int
	resumed    int
	closed     int
	code       int
	why        CloseReason
	bytes      [2]int64
	done       chan struct{} // closed by Closed
	gate       chan struct{} // nil, or what each message waits for
	interrupt  chan struct{}
	interrupts sync.Once
	waiting    atomic.Int32 // Messages that block
	failOpen   error
	panics     bool
}

type message struct {
	op   Opcode
	size int64
}

func (r *record) Opened(_ time.Time, o Origin) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened++
	r.origin = o
	return r.failOpen
}

func (r *record) Messages(dir Direction, list []Message) (int, error) {
	for i, m := range list {
		if err := r.message(dir, m); err != nil {
			return i, err
		}
	}
	return len(list), nil
}

func (r *record) message(dir Direction, m Message) error {
	if r.gate != nil {
		r.waiting.Add(1)
		defer r.waiting.Add(-1)
		select {
		case <-r.gate:
		case <-r.interrupt:
			return errors.New("interrupted")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panics || m.At == 0 || r.closed > 0 {
		panic("told to, or a message without a time or after Closed")
	}
	r.messages[dir] = append(r.messages[dir], message{m.Opcode, m.Size})
	return nil
}

func (r *record) Control(dir Direction) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.controls[dir]++
}

func (r *record) Idled(time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idled++
}

func (r *record) Resumed(time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resumed++
}

func (r *record) Interrupt() { r.interrupts.Do(func() { close(r.interrupt) }) }

func (r *record) Closed(_ time.Time, code int, why CloseReason, bytes [2]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed++
	r.code, r.why, r.bytes = code, why, bytes
	if r.closed == 1 {
		close(r.done)
	}
}

func (r *record) counts() (in, out int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.messages[In]), len(r.messages[Out])
}

// A ledger is the fake Recorder.
type ledger struct {
	mu      sync.Mutex
	records []*record
	refused map[Refusal]int
	fail    error         // of Admit
	gate    chan struct{} // of every Message
	sever   bool          // sever within Admit
}

func newLedger() *ledger { return &ledger{refused: map[Refusal]int{}} }

func (l *ledger) Admit(_ context.Context, id Identity, c Connection) (Recording, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return nil, l.fail
	}
	r := &record{id: id, conn: c, done: make(chan struct{}), interrupt: make(chan struct{}), gate: l.gate}
	l.records = append(l.records, r)
	if l.sever {
		c.Sever()
	}
	return r, nil
}

func (l *ledger) Refused(_ string, why Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused[why]++
}

func (l *ledger) refusals(why Refusal) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused[why]
}

// last returns the newest record, once there is one.
func (l *ledger) last(t testing.TB) *record {
	t.Helper()
	var r *record
	eventually(t, "a connection", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.records) > 0 {
			r = l.records[len(l.records)-1]
		}
		return r != nil
	})
	return r
}

// ended waits for Closed and checks that it came once.
func (r *record) ended(t testing.TB) {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(5 * time.Second):
		t.Fatal("Closed was not called")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != 1 {
		t.Fatalf("Closed was called %d times", r.closed)
	}
}

// endedAs also checks code and reason.
func (r *record) endedAs(t testing.TB, code int, why CloseReason) {
	t.Helper()
	r.ended(t)
	if r.code != code || r.why != why {
		t.Fatalf("closed %d %v, want %d %v", r.code, r.why, code, why)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}
