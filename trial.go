package lethe

import (
	"context"
	"net/http"

	"github.com/lethe-ledger/lethe/gateway"
	"github.com/lethe-ledger/lethe/gateway/console"
)

// startTrial starts the chat that is the upstream of a gateway without
// configuration.
func (e *edge) startTrial(ctx context.Context) (err error) {
	if e.lethe.cfg.trial {
		e.chat, err = console.StartChat(ctx)
	}
	return err
}

func (e *edge) stopTrial() error {
	if e.chat == nil {
		return nil
	}
	return e.chat.Close()
}

// settings are the gateway's, with the chat as the upstream of a trial.
func (e *edge) settings() (gateway.Settings, error) {
	s, err := e.config.Load().gatewaySettings(e.lethe.servedPolicy(e.config.Load()))
	if err != nil || e.chat == nil {
		return s, err
	}
	for i := range s.Pools {
		s.Pools[i].Upstreams = []string{e.chat.URL()}
		s.Pools[i].Origins = []string{"http://" + e.listener.admin.Addr().String()}
	}
	return s, nil
}

// mountTrial serves the page that shows the ledger living, and tells its address.
func (e *edge) mountTrial(mux *http.ServeMux, admin AdminFile) error {
	if e.chat == nil {
		return nil
	}
	page, err := console.Page(console.PageInfo{
		Gateway: "ws://" + e.listener.gateway.Addr().String(), Command: "lethe --data " + e.lethe.cfg.Data,
	})
	if err != nil {
		return err
	}
	mux.Handle("/", page)
	e.page = console.PageURL(admin.Address, admin.Token)
	return nil
}
