package esdbtest

import (
	"crypto/tls"
	"errors"
	"time"
)

// Version is the version that the server reports unless Options say otherwise.
const Version = "23.10.8"

// Options are those of a server or of all servers of a cluster.
type Options struct {
	// Clock gives events their time and decides about $maxAge. It is required.
	Clock func() time.Time
	// Version is reported to callers; Version if empty.
	Version string
	// TLS makes the server speak TLS only; nil for plain text.
	TLS *tls.Config
	// Accounts switches authentication on: who may do what then follows from
	// groups and access control lists, as on a secured server. The accounts admin
	// and ops exist beside those listed, both with the password "changeit".
	// A client sends its credentials over TLS only.
	Accounts []Account
	// CommitDelay is how long every write is in flight before it is decided. An
	// append that equals one in flight is dropped and never answered.
	CommitDelay time.Duration
	// ScavengeDelay is how long a scavenge is in progress before it takes effect.
	ScavengeDelay time.Duration
	// NoLastScavenge leaves GET /admin/scavenge/last out, which releases of
	// 23.10 do not have: what a scavenge came to is then told only by the stream
	// $scavenges-<id>.
	NoLastScavenge bool
}

func (o Options) check() (Options, error) {
	if o.Clock == nil {
		return o, errors.New("esdbtest: a clock is required")
	}
	if o.Version == "" {
		o.Version = Version
	}
	return o, nil
}

// maxStreams is how many calls one connection may have open; a further one waits
// in the client until another ends.
const maxStreams = 100
