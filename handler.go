package lethe

import (
	"errors"
	"net/http"

	"github.com/lxzan/gws"

	"github.com/lethe-ledger/lethe/gateway"
)

// ErrNotServing says that Serve has not accepted connections yet, or has ended.
var ErrNotServing = errors.New("the ledger is not serving")

// Handler records the connections of a server of your own, on gws: mount what it
// returns in your mux. The pool is one of the policy's, with `handler: true` among
// the node settings; identification, limits, drain and everything recorded are the
// gateway's. It is to be called once Serve has told its addresses.
func (l *Lethe) Handler(pool string, app gws.Event, o gateway.HandlerOptions) (http.Handler, error) {
	e := l.edge.Load()
	if e == nil {
		return nil, ErrNotServing
	}
	return e.gateway.Handler(pool, app, o)
}
