package lethe

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// AdminFileName is the file below the data directory that tells the command where
// the admin API is, and the token that is valid while the process runs. It is
// readable for its owner only.
const AdminFileName = "admin.json"

// An AdminFile is what DIR/admin.json holds.
type AdminFile struct {
	Address string `json:"address"`
	Token   string `json:"token"`
}

// adminServer serves the API, the metrics, the health checks and, in a trial, the
// page that shows it living.
func (e *edge) adminServer() (*http.Server, error) {
	l := e.lethe
	mux := http.NewServeMux()
	replays := filepath.Join(l.cfg.Data, "tmp")
	if err := os.MkdirAll(replays, 0o700); err != nil {
		return nil, fmt.Errorf("making %s: %w", replays, err)
	}
	e.api = api.NewServer(l, api.ServerOptions{Logger: l.log, TempDir: replays})
	mux.Handle("/v1/", e.api)
	registry := prometheus.NewRegistry()
	if err := registry.Register(&collector{edge: e}); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("GET /healthz", e.api)
	mux.Handle("GET /readyz", e.api)
	admin := AdminFile{Address: "http://" + e.listener.admin.Addr().String(), Token: l.tokens.issueLocal()}
	if err := e.mountTrial(mux, admin); err != nil {
		return nil, err
	}
	if err := l.writeAdmin(admin); err != nil {
		return nil, err
	}
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, nil
}

func (l *Lethe) writeAdmin(admin AdminFile) error {
	b, err := json.Marshal(admin)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", AdminFileName, err)
	}
	path := filepath.Join(l.cfg.Data, AdminFileName)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", AdminFileName, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing %s: %w", AdminFileName, err)
	}
	return nil
}

func (l *Lethe) removeAdmin() {
	if err := os.Remove(filepath.Join(l.cfg.Data, AdminFileName)); err != nil && !os.IsNotExist(err) {
		l.log.Warn().Err(err).Msg("the admin file could not be removed; its token is void")
	}
}
