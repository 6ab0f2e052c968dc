package gateway

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// An Identity says who connects. It is handed to Recorder.Admit and kept nowhere
// else: not logged, not stored, not counted.
type Identity struct {
	// ExternalID is what the operator calls the person (FORMAT §1): valid UTF-8, 1
	// to 512 bytes, no control characters, not normalised; empty when nobody is
	// identified.
	ExternalID string
}

// Anonymous reports whether nobody was identified.
func (i Identity) Anonymous() bool { return i.ExternalID == "" }

// A Connection is what Admit is told of a connection about to be made.
type Connection struct {
	// Pool is the id of its pool.
	Pool string
	// Sever ends the connection because its person was erased: with close code
	// 4410 at the next frame boundary, or without one by cutting TCP after 250 ms.
	// Any goroutine may call it, any number of times, from the moment Admit is
	// called until after Closed; it never blocks. Of a connection that is not open
	// yet it ends the handshake.
	Sever func()
}

// Origin is where a connection came from. It is personal data.
type Origin struct {
	// IP is the client's address, as far as trusted proxies vouch for it.
	IP netip.Addr
	// UserAgent and Origin are those request headers, at most 512 bytes each.
	UserAgent, Origin string
	// TLS is the version of the client's connection (crypto/tls), 0 for none.
	TLS uint16
}

// Why Admit may refuse. Any other error is answered 503 and counted as "ledger".
var (
	// ErrKeysUnavailable: the custodian does not answer; 503.
	ErrKeysUnavailable = errors.New("keys unavailable")
	// ErrErased: the person was erased and the pool refuses who returns; 403.
	ErrErased = errors.New("refused after an erasure")
	// ErrLedgerFull: the ledger takes no new connections; 503.
	ErrLedgerFull = errors.New("ledger full")
)

// A Recorder opens a Recording for each connection.
type Recorder interface {
	// Admit MUST return only when the person can be recorded; the upstream has not
	// been contacted yet. It MUST heed ctx, which ends with the handshake's time.
	Admit(ctx context.Context, id Identity, c Connection) (Recording, error)
	// Refused counts a refusal; pool is empty where no pool has the path. It MUST
	// NOT block.
	Refused(pool string, reason Refusal)
}

// A Message is what is recorded of one message.
type Message struct {
	// At is the arrival of its first frame's header, in Unix microseconds.
	At int64
	// Size is the sum of the payload lengths of its frames (FORMAT §5).
	Size int64
	// Opcode is Text or Binary.
	Opcode Opcode
}

// A Recording takes what happens on one connection. Messages and Control are
// called by two goroutines at once, one a direction; Idled and Resumed by any, but
// in turn; Closed last. Only Messages and Closed may block.
type Recording interface {
	// Opened is called once, after the upstream accepted and before the client is
	// told so. An error refuses the connection with 503.
	Opened(at time.Time, o Origin) error
	// Messages records the messages of one read, in their order, before the last
	// header of any of them is forwarded. It MUST NOT allocate, and MUST NOT keep
	// list. While it blocks the direction is not read. With an error, which ends
	// the connection with 1011, it says how many were recorded: those go on.
	Messages(dir Direction, list []Message) (recorded int, err error)
	// Control counts one ping, pong or close frame.
	Control(dir Direction)
	// Idled says that no data frame has crossed since at; Resumed that one has now.
	Idled(at time.Time)
	Resumed(at time.Time)
	// Interrupt makes Messages that blocks, and every later one, return an error.
	// It is called when the connection is cut while the ledger does not move.
	Interrupt()
	// Closed is called exactly once for every Recording, opened or not, and nothing
	// after it. Code is the first close frame's, 1005 if that had none, 1006 if
	// there was none. Bytes are those forwarded, headers included, by Direction.
	Closed(at time.Time, code int, reason CloseReason, bytes [2]int64)
}

// Unrecorded is the Recorder of a gateway whose ledger is off: it admits
// everybody and forgets at once.
type Unrecorded struct{}

// Admit implements Recorder.
func (Unrecorded) Admit(context.Context, Identity, Connection) (Recording, error) {
	return unrecorded{}, nil
}

// Refused implements Recorder.
func (Unrecorded) Refused(string, Refusal) {}

type unrecorded struct{}

func (unrecorded) Opened(time.Time, Origin) error                    { return nil }
func (unrecorded) Messages(_ Direction, list []Message) (int, error) { return len(list), nil }
func (unrecorded) Control(Direction)                                 {}
func (unrecorded) Idled(time.Time)                                   {}
func (unrecorded) Resumed(time.Time)                                 {}
func (unrecorded) Interrupt()                                        {}
func (unrecorded) Closed(time.Time, int, CloseReason, [2]int64)      {}
