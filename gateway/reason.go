package gateway

import "net/http"

// A Refusal says why a connection was not made. Its name is a fact of
// connection.refused and a label of a metric: it says nothing of a person.
type Refusal uint8

// Why a handshake ends.
const (
	RefusedDraining Refusal = iota
	RefusedBusy
	RefusedNoPool
	RefusedHandshake
	RefusedOrigin
	RefusedFull
	RefusedAddress
	RefusedRate
	RefusedToken
	RefusedKeys
	RefusedErased
	RefusedLedger
	RefusedUnreachable
	RefusedTimeout
	RefusedInvalid
	RefusedUpstream
	refusals // how many there are
)

// A wire is how something refused reads to the client.
type wire struct {
	name     string
	status   int
	sentence string
}

// refusalTable is the one table from refusals to the wire.
var refusalTable = [refusals]wire{
	RefusedDraining:    {"draining", http.StatusServiceUnavailable, "Shutting down"},
	RefusedBusy:        {"busy", http.StatusServiceUnavailable, "Too many handshakes at once"},
	RefusedNoPool:      {"no-pool", http.StatusNotFound, "No such path"},
	RefusedHandshake:   {"handshake", http.StatusBadRequest, "Not a WebSocket handshake"},
	RefusedOrigin:      {"origin", http.StatusForbidden, "Origin not allowed"},
	RefusedFull:        {"full", http.StatusServiceUnavailable, "Too many connections"},
	RefusedAddress:     {"address", http.StatusTooManyRequests, "Too many connections from this address"},
	RefusedRate:        {"rate", http.StatusTooManyRequests, "Too many handshakes a second"},
	RefusedToken:       {"token", http.StatusUnauthorized, "Token not valid"},
	RefusedKeys:        {"keys", http.StatusServiceUnavailable, "Keys unavailable"},
	RefusedErased:      {"erased", http.StatusForbidden, "Refused"},
	RefusedLedger:      {"ledger", http.StatusServiceUnavailable, "Ledger unavailable"},
	RefusedUnreachable: {"unreachable", http.StatusBadGateway, "Upstream not reachable"},
	RefusedTimeout:     {"timeout", http.StatusGatewayTimeout, "Upstream did not answer in time"},
	RefusedInvalid:     {"invalid", http.StatusBadGateway, "Upstream answered with an invalid handshake"},
	RefusedUpstream:    {"upstream", http.StatusBadGateway, "Upstream refused"},
}

// String returns the refusal's name, [a-z-]+.
func (r Refusal) String() string { return refusalTable[r].name }

// A CloseReason says why a connection ended. Its name is a fact of
// connection.closed and a label of a metric.
type CloseReason uint8

// Why a connection ends.
const (
	ClosedByClient CloseReason = iota
	ClosedByUpstream
	LostClient
	LostUpstream
	ViolatedByClient
	ViolatedByUpstream
	SlowClient
	SlowUpstream
	IdleTooLong
	LivedTooLong
	TokenExpired
	Severed
	Drained
	LedgerFailed
	HandshakeFailed
	Panicked
	closeReasons // how many there are
)

var closeNames = [closeReasons]string{
	"client", "upstream", "client-lost", "upstream-lost", "client-violation", "upstream-violation", "client-slow", "upstream-slow",
	"idle", "lifetime", "token-expired", "erased", "drained", "ledger", "handshake", "panic",
}

// String returns the reason's name, [a-z-]+.
func (r CloseReason) String() string { return closeNames[r] }
